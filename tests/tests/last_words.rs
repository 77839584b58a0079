//! The last messages of games: a result, then the exit.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use client::Assignment;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Log, Muster, SOON, Setup, proc, wait_until};

/// Faults row 22: a result, then the exit at once. 1,000 of 1,000 are kept.
#[test]
fn a_thousand_results_are_recorded() {
    results_are_kept(1000, "exit", "exit status 0");
}

/// Faults row 22: a result, then death by the game's own hand.
#[test]
fn results_of_games_that_kill_themselves_are_recorded() {
    results_are_kept(100, "signal", "signal 9");
}

fn results_are_kept(count: usize, end: &str, how: &str) {
    let keys = "players = 1\nwarm = 4";
    // All players and the status client have one address.
    let setup =
        Setup::default().ports(64).log("info").config("[limits]\nclients_per_address = 2000");
    let muster = setup.hostile("quick", &["result", end], keys).start();
    // Waiting players cost the daemon little; games that all run at the same time would cost more.
    let mut players: Vec<_> = (0..count).map(|_| muster.join("quick", "ada")).collect();
    for player in &mut players {
        player.assignment(SOON).unwrap();
    }
    muster.wait_until_idle("quick", 4);
    let log = muster.log();
    assert_eq!(log.wait_for_count(count, &["match finished", how]).len(), count);
    let results = log.wait_for_count(count, &["match result", "\"last\":true"]);
    let matches: BTreeSet<&str> = results.iter().map(|line| Log::field(line, "match")).collect();
    assert_eq!((results.len(), matches.len()), (count, count), "each result once");
}

/// Faults row 22: a result and the exit may be noticed in either order. The daemon is stopped while both happen: first
/// with the signals of the exits pending before the results, then with the results first.
#[test]
fn a_result_is_recorded_in_any_order_of_events() {
    let muster = ordered_games(8);
    for result_first in [false, true] {
        let (other, wanted) = (Player::join(&muster), Player::join(&muster));
        let end_other = || {
            kill(Pid::from_raw(other.pid), Signal::SIGKILL).unwrap();
            wait_until("the death of one", || proc::state(other.pid) == Some('Z'));
        };
        let end_wanted = || {
            muster.order(wanted.assigned.port, "end");
            wait_until("the end of the other", || proc::state(wanted.pid) == Some('Z'));
        };
        muster.while_stopped(|| match result_first {
            false => (end_other(), end_wanted()),
            true => (end_wanted(), end_other()),
        });
        let id = format!("match={} ", wanted.assigned.match_id);
        muster.log().wait_for(&["match finished", &id, "exit status 0"]);
        let results = muster.log().wait_for_count(1, &["match result", &id, "\"last\":true"]);
        assert_eq!(results.len(), 1, "{results:?}");
    }
    muster.wait_until_idle("ordered", 0);
}

/// Faults row 24: 500 games exit at once, with one signal for all. Each is reaped, each result is kept, each port is
/// released.
#[test]
fn five_hundred_exits_at_once_are_reaped() {
    let count = 500;
    let muster = ordered_games(512);
    let mut waiting: Vec<_> = (0..count).map(|_| muster.join("ordered", "ada")).collect();
    let games: Vec<Assignment> =
        waiting.iter_mut().map(|lobby| lobby.assignment(SOON).unwrap()).collect();
    let pids = muster.games();
    assert_eq!(pids.len(), count);
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    muster.while_stopped(|| {
        for game in &games {
            socket.send_to(b"end", (Ipv4Addr::LOCALHOST, game.port)).unwrap();
        }
        wait_until("the end of all", || pids.iter().all(|pid| proc::state(*pid) == Some('Z')));
    });
    muster.wait_until_idle("ordered", 0);
    for line in ["match result", "match finished", "port free"] {
        assert_eq!(muster.log().wait_for_count(count, &[line]).len(), count, "{line}");
    }
    let port = |line: &String| Log::field(line, "port").to_owned();
    let ports: BTreeSet<String> =
        muster.log().lines_with(&["port free"]).iter().map(port).collect();
    assert_eq!(ports.len(), count, "each port once");
}

/// Games that send a result and exit on request.
fn ordered_games(ports: u16) -> Muster {
    let keys = "players = 1\nwarm = 0";
    // Their players are all of one address, and never come in.
    let limits = "[limits]\nseats_per_address = 0";
    let setup = Setup::default().ports(ports).log("info").config(limits);
    setup.hostile("ordered", &["result", "ordered"], keys).start()
}

struct Player {
    assigned: Assignment,
    pid: i32,
}

impl Player {
    fn join(muster: &Muster) -> Self {
        let assigned = muster.join("ordered", "ada").assignment(SOON).unwrap();
        let id = format!("match={} ", assigned.match_id);
        let line = muster.log().wait_for(&["match assigned", &id]);
        Self { assigned, pid: Log::field(&line, "pid").parse().unwrap() }
    }
}
