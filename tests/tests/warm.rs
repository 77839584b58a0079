//! Games that were started ahead of their players.

use std::collections::BTreeSet;

use testkit::{Log, Muster, SOON, Setup, proc, wait_until};

/// The processes of the games that said `ready`, in the order of their launch.
fn warm_pids(muster: &Muster, count: usize) -> Vec<String> {
    let mut ready = muster.log().wait_for_count(count, &["game ready"]);
    ready.sort_by_key(|line| Log::field(line, "game").parse::<u64>().unwrap());
    ready.iter().map(|line| Log::field(line, "pid").to_owned()).collect()
}

/// This many are kept warm, and no more. A match takes the oldest warm game, and a new one is launched in its place.
#[test]
fn a_match_takes_a_warm_game_which_is_replaced() {
    let muster = Setup::default().puppet("one", &[], "players = 1\nwarm = 3").start();
    let before = warm_pids(&muster, 3);
    assert_eq!(muster.status("one"), (0, 3, 5), "waiting, games, free ports");
    let mut ports = Vec::new();
    for number in 1..=3 {
        ports.push(muster.join("one", "ada").assignment(SOON).unwrap().port);
        let assigned = muster.log().wait_for(&["match assigned", &format!("match={number} ")]);
        assert_eq!(Log::field(&assigned, "pid"), before[number - 1]);
        assert_eq!(warm_pids(&muster, 3 + number).len(), 3 + number);
    }
    assert_eq!(muster.status("one"), (0, 6, 2), "three are played and three are warm");
    ports.into_iter().for_each(|port| muster.order(port, "exit 0"));
    muster.wait_until_idle("one", 3);
}

/// A burst of players takes what is warm and launches the rest.
#[test]
fn more_matches_than_warm_games_are_served() {
    let muster = Setup::default().puppet("one", &[], "players = 1\nwarm = 2").start();
    warm_pids(&muster, 2);
    let mut waiting: Vec<_> = (0..8).map(|_| muster.join("one", "ada")).collect();
    let ports: BTreeSet<u16> =
        waiting.iter_mut().map(|lobby| lobby.assignment(SOON).unwrap().port).collect();
    assert_eq!(ports, muster.ports().collect());
    ports.into_iter().for_each(|port| muster.order(port, "exit 0"));
    muster.wait_until_idle("one", 2);
}

/// With every port used by warm games of a mode without players, one of them makes room for a match of another mode. It
/// receives `stop`, and exits.
#[test]
fn a_warm_game_is_stopped_for_another_mode() {
    let setup = Setup::default().ports(2).puppet("idle", &[], "players = 1\nwarm = 2");
    let muster = setup.puppet("busy", &[], "players = 1\nwarm = 0").start();
    warm_pids(&muster, 2);
    let assigned = muster.join("busy", "ada").assignment(SOON).unwrap();
    muster.log().wait_for(&["game stopping game=1 ", "its port is needed for another mode"]);
    muster.log().wait_for(&["output game=1 ", ": received {\"type\":\"stop\""]);
    assert_eq!(muster.status("idle"), (0, 1, 0));
    // Once there is room again, it is used again.
    muster.order(assigned.port, "exit 0");
    muster.log().wait_for_count(3, &["game ready", "mode=idle"]);
    muster.wait_until_idle("idle", 2);
}

/// As above, with a warm game that ignores it: `stop` at once, SIGTERM at half the grace time, SIGKILL at its end; then
/// the match has its port.
#[test]
fn a_warm_game_that_ignores_stop_is_killed_for_another_mode() {
    let keys = "players = 1\nwarm = 1\nstop_grace = \"2s\"";
    let setup = Setup::default().ports(1).hostile("idle", &["stubborn"], keys);
    let muster = setup.puppet("busy", &[], "players = 1\nwarm = 0").start();
    let pid = warm_pids(&muster, 1).remove(0).parse().unwrap();
    let assigned = muster.join("busy", "ada").assignment(SOON).unwrap();
    assert!(!proc::is_alive(pid));
    muster.log().wait_for(&["match assigned match=1 "]);
    let text = muster.log().text();
    let in_order = [
        "its port is needed for another mode",
        "got {\"type\":\"stop\",\"grace_ms\":2000}",
        "got SIGTERM",
        "match assigned match=1 mode=busy",
    ];
    let places = in_order.map(|part| text.find(part));
    assert!(places.is_sorted() && places[0].is_some(), "{places:?} of {in_order:?} in\n{text}");
    muster.order(assigned.port, "exit 0");
}

/// A warm game that dies is replaced, without effect on players.
#[test]
fn a_warm_game_that_dies_is_replaced() {
    let muster = Setup::default().puppet("one", &[], "players = 1\nwarm = 1").start();
    let pid: i32 = warm_pids(&muster, 1).remove(0).parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    muster.log().wait_for(&["game failed game=1 ", "ended with signal 9"]);
    let assigned = muster.join("one", "ada").assignment(SOON).unwrap();
    wait_until("a new warm one", || muster.status("one").1 == 2);
    muster.order(assigned.port, "exit 0");
    muster.wait_until_idle("one", 1);
}
