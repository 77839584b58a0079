//! Draining: no new players, all players notified, running games played to their end; and ways to end it sooner.

use std::os::unix::process::ExitStatusExt as _;

use nix::sys::signal::Signal;
use testkit::{Muster, Setup, Wire, proc, wait_until};

/// A player who has joined.
fn join(muster: &Muster) -> Wire {
    let mut wire = Wire::greeted(muster.address());
    assert!(wire.ask("READY\n").starts_with("QUEUED "));
    wire
}

/// A running match on the only port.
fn play(muster: &Muster) {
    for mut player in [join(muster), join(muster)] {
        assert!(player.rest().last().unwrap().starts_with("ASSIGN "));
    }
}

fn pull_the_string(muster: &Muster, order: &str) {
    muster.order(*muster.ports().start(), order);
}

/// The last lines: the server drains, and when to retry.
fn assert_refused(rest: &[String]) {
    let last = rest.last().unwrap();
    assert!(last.starts_with("ERR 421 DRAINING ") && last.contains(" retry_ms="), "{last}");
}

fn drain(muster: &Muster) {
    muster.signal(Signal::SIGTERM);
    muster.log().wait_for(&["draining"]);
}

/// A game that ends when it is asked to, on a ring of one port.
fn puppet(behaviour: &[&str]) -> Setup {
    let keys = "players = 2\nwarm = 0\nstop_grace = \"400ms\"\nstart_timeout = \"1m\"";
    Setup::default().ports(1).puppet("duel", behaviour, keys)
}

#[test]
fn a_drain_dismisses_players_and_lets_running_games_finish() {
    let mut muster = puppet(&[]).start();
    play(&muster);
    let mut present = Wire::greeted(muster.address());
    let mut asking = Wire::greeted(muster.address());
    // Two whose match waits for the port, and one who has no partner.
    let mut waiting = [join(&muster), join(&muster), join(&muster)];
    drain(&muster);
    for player in &mut waiting {
        assert_refused(&player.rest());
    }
    // A connected client may ask for the status, but not join.
    assert_eq!(asking.ask("STATUS\n"), "STATUS queue=duel waiting=0 games=1 ports_free=0");
    asking.say("READY\n");
    assert_refused(&asking.rest());
    let new = Wire::open(muster.address()).rest();
    assert_eq!(new.len(), 1, "{new:?}");
    assert_refused(&new);
    // The game is still played, and ends by itself.
    let games = muster.games();
    assert!(games.len() == 1 && proc::is_alive(games[0]));
    pull_the_string(&muster, "exit 0");
    assert_eq!(present.rest(), ["BYE reason=shutdown"]);
    assert_eq!(muster.wait_for_exit().code(), Some(0));
    muster.log().wait_for(&["match finished", "match=1", "exit status 0"]);
    assert!(!proc::is_alive(games[0]));
}

/// Players of a starting match are still assigned, as that takes only a moment.
#[test]
fn a_drain_does_not_cancel_a_starting_match() {
    let mut muster = puppet(&["held"]).start();
    let mut players = [join(&muster), join(&muster)];
    muster.log().wait_for(&["received ", "\"start\""]);
    drain(&muster);
    pull_the_string(&muster, "say {\"type\":\"started\"}");
    for player in &mut players {
        assert!(player.rest().last().unwrap().starts_with("ASSIGN "));
    }
    pull_the_string(&muster, "exit 0");
    assert_eq!(muster.wait_for_exit().code(), Some(0));
}

/// A player of a starting match leaves during the drain: the other one is dismissed, as there is no player to wait for.
#[test]
fn a_player_requeued_during_a_drain_is_dismissed() {
    let mut muster = puppet(&["held"]).start();
    let [ada, mut bob] = [join(&muster), join(&muster)];
    muster.log().wait_for(&["received ", "\"start\""]);
    drain(&muster);
    ada.reset();
    assert_refused(&bob.rest());
    assert_eq!(muster.wait_for_exit().code(), Some(0));
}

#[test]
fn a_drain_without_games_ends_at_once() {
    let mut muster = Setup::default().duel("warm = 2").start();
    muster.log().wait_for_count(2, &["game ready"]);
    let games = muster.games();
    assert_eq!(games.len(), 2);
    let mut player = join(&muster);
    muster.signal(Signal::SIGINT);
    assert_refused(&player.rest());
    assert_eq!(muster.wait_for_exit().code(), Some(0));
    assert!(!games.into_iter().any(proc::is_alive));
}

#[test]
fn a_game_that_outlasts_the_drain_timeout_is_stopped() {
    let setup = puppet(&["stubborn"]).config("[shutdown]\ndrain_timeout = \"200ms\"");
    let mut muster = setup.start();
    play(&muster);
    muster.signal(Signal::SIGTERM);
    // It receives `stop` and ignores it; then it is killed.
    muster.log().wait_for(&["received ", "\"stop\""]);
    assert_eq!(muster.wait_for_exit().code(), Some(0));
    muster.log().wait_for(&["match stopped", "match=1", "signal 15"]);
}

#[test]
fn a_second_signal_ends_the_drain_at_once() {
    for signals in [[Signal::SIGTERM, Signal::SIGTERM], [Signal::SIGTERM, Signal::SIGINT]] {
        let mut muster = puppet(&["stubborn"]).start();
        play(&muster);
        let games = muster.games();
        muster.signal(signals[0]);
        muster.log().wait_for(&["draining"]);
        assert!(games.iter().all(|&game| proc::is_alive(game)));
        muster.signal(signals[1]);
        let status = muster.wait_for_exit();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
        muster.log().wait_for(&["match stopped", "match=1", "signal 9"]);
        assert!(!games.into_iter().any(proc::is_alive));
    }
}

/// Signals that do nothing yet end nothing either.
#[test]
fn other_signals_do_not_end_the_daemon() {
    let muster = Setup::default().duel("warm = 0").start();
    let mut player = join(&muster);
    for signal in [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGPIPE, Signal::SIGCHLD] {
        muster.signal(signal);
        assert!(player.is_open(), "{signal}");
    }
    wait_until("the player", || muster.status("duel").0 == 1);
}
