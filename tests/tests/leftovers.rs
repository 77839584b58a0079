//! Leftover processes of games.

use testkit::{Log, Muster, SOON, Setup, proc, wait_until};

/// Faults row 21: a process that did nothing to hide.
#[test]
fn a_child_is_killed() {
    nothing_is_left("child", 1);
}

/// Faults row 21: a double fork with a session of its own between.
#[test]
fn a_daemonized_child_is_killed() {
    nothing_is_left("daemon", 1);
}

/// Faults row 21: a daemon that closed everything except for the port.
#[test]
fn a_process_that_holds_the_port_is_killed() {
    nothing_is_left("only-socket", 1);
}

/// Faults row 21: a daemon whose environment does not say whose it is.
#[test]
fn a_process_without_environment_is_killed() {
    nothing_is_left("nameless", 1);
}

/// Faults row 21: a process, its child, the child of that and so on, in sessions of their own. When one dies, the next
/// loses its parent.
#[test]
fn several_generations_are_killed() {
    nothing_is_left("generations", 4);
}

/// Faults row 21: processes that fork and die while they are searched: a list of processes is outdated when it is read.
#[test]
fn processes_that_fork_when_the_game_dies_are_killed() {
    let keys = "players = 1\nwarm = 0";
    let muster = Setup::default().ports(1).hostile("bad", &["leaves-fleeing"], keys).start();
    for number in 1..=20 {
        muster.join("bad", "ada").assignment(SOON).unwrap();
        muster.log().wait_for_count(number, &["port free"]);
        let left: Vec<i32> =
            muster.games().into_iter().filter(|&pid| proc::is_alive(pid)).collect();
        assert_eq!(left, [0; 0], "after match {number}");
    }
    muster.wait_until_idle("bad", 0);
    assert_eq!(muster.log().lines_with(&["port busy"]), [""; 0]);
}

/// On a ring of one port, two matches follow each other. Each game leaves processes that hold the port; they must be
/// dead before the port is released, or the second game could not bind it.
fn nothing_is_left(what: &str, count: usize) {
    let keys = "players = 1\nwarm = 0";
    let muster = Setup::default().ports(1).hostile("bad", &["leaves", what], keys).start();
    for number in 1..=2 {
        let assigned = muster.join("bad", "ada").assignment(SOON).unwrap();
        assert_eq!(assigned.match_id, number.to_string());
        muster.log().wait_for_count(number, &["port free"]);
        let mine = format!("match={number}:");
        let left = muster.log().wait_for_count(count, &["output game=", &mine, "left pid="]);
        for line in left {
            assert!(!proc::is_alive(pid(&line)), "{line}");
        }
        muster.log().wait_for(&["match result", &format!("match={number} ")]);
        muster.log().wait_for(&["match finished", &format!("match={number} "), "exit status 0"]);
    }
    muster.wait_until_idle("bad", 0);
    assert_eq!(muster.log().lines_with(&["port busy"]), [""; 0]);
}

/// Faults row 21: a helper of a running game lives as long as the game, whatever other games end, even if its parent is
/// dead; and it dies with its game.
#[test]
fn a_helper_of_a_running_game_is_not_a_leftover() {
    let keys = "players = 1\nwarm = 0";
    let muster = Setup::default()
        .hostile("long", &["keeps-helper"], keys)
        .hostile("short", &["leaves", "daemon"], keys)
        .start();
    let long = muster.join("long", "ada").assignment(SOON).unwrap();
    let helper = pid(&muster.log().wait_for(&["output game=1", "left pid="]));
    is_an_orphan(&muster, helper);
    for number in 2..=3 {
        muster.join("short", "bob").assignment(SOON).unwrap();
        let mine = format!("output game={number} ");
        let left = pid(&muster.log().wait_for(&[&mine, "left pid="]));
        muster.log().wait_for_count(number - 1, &["port free"]);
        assert!(!proc::is_alive(left) && proc::is_alive(helper));
    }
    muster.order(long.port, "end");
    muster.log().wait_for(&["port free", &format!("port={}", long.port)]);
    assert!(!proc::is_alive(helper));
    muster.wait_until_idle("long", 0);
}

/// Waits until the daemon is its parent.
fn is_an_orphan(muster: &Muster, pid: i32) {
    wait_until("the helper's parent is gone", || {
        proc::status(pid, "PPid").is_some_and(|parent| parent == muster.pid().to_string())
    });
}

fn pid(line: &str) -> i32 {
    Log::field(line, "pid").parse().unwrap()
}
