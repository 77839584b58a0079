//! The daemon is killed with SIGKILL, its keeper starts another, and that one goes on where the first left off.

use client::Lobby;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::Reply;
use tests::{Log, Muster, SOON, Setup, proc, wait_for, wait_until};

fn kept() -> Setup {
    Setup::default().kept("30s").ports(6)
}

/// Kills the daemon and waits for the next one.
fn crash(muster: &Muster) {
    let first = muster.pid();
    let crashes = muster.log().lines_with(&["back after a crash"]).len();
    muster.signal(Signal::SIGKILL);
    muster.log().wait_for_count(crashes + 1, &["back after a crash"]);
    wait_for("another daemon", || Some(muster.pid()).filter(|pid| *pid != first));
}

/// A player who joins, and its key.
fn join(muster: &Muster, queue: &str, name: &str) -> (Lobby, String) {
    let mut lobby = muster.connect();
    let place = lobby.join(Some(queue), Some(name), SOON).unwrap();
    (lobby, place.resume)
}

/// Row 37: games play on, players return to their places in their order, and what games say is heard.
#[test]
fn games_play_on_and_players_return() {
    let muster = kept()
        .puppet("pair", &[], "players = 2\nwarm = 1")
        .puppet("trio", &[], "players = 3\nwarm = 0")
        .start();
    let mut pair = ["ada", "bob"].map(|name| muster.join("pair", name));
    let assigned = pair.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    let port = assigned[0].port;
    let line = muster.log().wait_for(&["match assigned match=1 "]);
    let pid: i32 = Log::field(&line, "pid").parse().unwrap();
    let trio = ["cyd", "dan"].map(|name| join(&muster, "trio", name));
    muster.log().wait_for_count(2, &["game ready "]);
    for _ in 0..3 {
        crash(&muster);
        assert!(proc::is_alive(pid));
        // An upgrade in place in between changes nothing.
        muster.upgrade(None).unwrap();
    }
    // What it says while nobody hears it is heard.
    let mut back: Vec<Lobby> = trio
        .iter()
        .map(|(_, key)| {
            let mut lobby = muster.connect();
            let told = lobby.resume(key, SOON).unwrap();
            assert!(matches!(told, Reply::Queued { .. }), "{told}");
            lobby
        })
        .collect();
    back.push(muster.join("trio", "eve"));
    for (slot, lobby) in back.iter_mut().enumerate() {
        assert_eq!(lobby.assignment(SOON).unwrap().slot, slot);
    }
    muster.order(port, r#"say {"type":"result","winner":1}"#);
    muster.log().wait_for(&["match result match=1 ", "\"winner\":1"]);
    muster.order(port, "exit 3");
    muster.log().wait_for(&["game ended ", "match=1 ", "exit status 3"]);
}

/// A game that ends while there is no daemon is known to have ended, and its port comes back.
#[test]
fn a_game_that_ends_meanwhile_gives_its_port_back() {
    let muster = kept().puppet("pair", &[], "players = 2\nwarm = 0").start();
    let mut pair = ["ada", "bob"].map(|name| muster.join("pair", name));
    pair.iter_mut().for_each(|lobby| drop(lobby.assignment(SOON).unwrap()));
    let line = muster.log().wait_for(&["match assigned match=1 "]);
    let pid = Pid::from_raw(Log::field(&line, "pid").parse().unwrap());
    // The keeper stands still meanwhile, so that both are news to the next daemon.
    let keeper = Pid::from_raw(muster.first_pid());
    kill(keeper, Signal::SIGSTOP).unwrap();
    muster.signal(Signal::SIGKILL);
    kill(pid, Signal::SIGKILL).unwrap();
    kill(keeper, Signal::SIGCONT).unwrap();
    muster.log().wait_for(&["back after a crash"]);
    muster.log().wait_for(&["game ended ", "match=1 "]);
    wait_until("every port back", || muster.status("pair") == (0, 0, 6));
}

/// Row 37: killed at any moment of starts and assignments. In the end everybody who returns is served, and every port
/// comes back.
#[test]
fn killed_at_any_moment_it_recovers() {
    let muster = kept().puppet("pair", &[], "players = 2\nwarm = 1").start();
    for round in 0..5 {
        let players = ["ada", "bob"].map(|name| join(&muster, "pair", name));
        crash(&muster);
        let mut back = players.map(|(_, key)| {
            let mut lobby = muster.connect();
            lobby.resume(&key, SOON).map(|reply| (lobby, reply))
        });
        for returned in &mut back {
            let (lobby, reply) =
                returned.as_mut().unwrap_or_else(|error| panic!("{round}: {error}"));
            let port = match reply {
                Reply::Assign { port, .. } => *port,
                _ => lobby.assignment(SOON).unwrap().port,
            };
            muster.order(port, "exit 0");
        }
    }
    wait_until("every port but the warm game's back", || {
        let (waiting, games, free) = muster.status("pair");
        waiting == 0 && games <= 1 && free >= 5
    });
}
