//! The messages to Muster about players who are absent, have left, and are expected again. No socket, no clock.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::net::SocketAddr;
use std::time::Duration;

use game_child::echo::Echo;
use game_child::{Match, Session};
use protocol::{FromGame, Seat, Secret};

const SILENCE: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(5);

fn seat(slot: usize, token: u8) -> Seat {
    Seat { slot, name: format!("player-{slot}"), token: Secret::from_bytes([token; 16]) }
}

fn address(slot: usize) -> SocketAddr {
    ([10, 0, 0, 1], 5000 + u16::try_from(slot).unwrap()).into()
}

/// A match whose two players are in, and which takes others into open slots.
fn session() -> Session<Echo> {
    let setup = Match::new("17".into(), vec![seat(0, 1), seat(1, 2)], 20_000, 600_000).unwrap();
    let game = Echo::new(&setup);
    let mut session = Session::new(setup, game, SILENCE).with_rejoin_wait(WAIT).with_backfill(true);
    for slot in 0..2 {
        enter(&mut session, Duration::ZERO, slot, &seat(slot, u8::try_from(slot).unwrap() + 1));
    }
    session
}

fn enter(session: &mut Session<Echo>, now: Duration, from: usize, seat: &Seat) {
    let hello = format!("HELLO 17 {}", seat.token);
    session.handle_datagram(now, address(from), hello.as_bytes());
    assert_eq!(reports(session), [FromGame::Joined { slot: seat.slot }]);
}

fn reports(session: &mut Session<Echo>) -> Vec<FromGame> {
    std::iter::from_fn(|| session.poll_message()).collect()
}

/// Lets time pass with the second player in it.
fn pass(session: &mut Session<Echo>, until: Duration) -> Vec<FromGame> {
    session.handle_datagram(until, address(1), b"PING");
    session.handle_timeout(until);
    reports(session)
}

#[test]
fn a_slot_is_open_once_its_player_is_not_waited_for() {
    let mut session = session();
    assert_eq!(pass(&mut session, SILENCE), [FromGame::Left { slot: 0 }]);
    assert_eq!(pass(&mut session, SILENCE + WAIT), [FromGame::Backfill { slots: vec![0] }]);
    // Expected again, the slot is taken; not any more when the player does not come.
    let now = SILENCE + WAIT;
    assert!(session.handle_rejoin(now, &seat(0, 9)));
    assert_eq!(reports(&mut session), [FromGame::Backfill { slots: vec![] }]);
    let hello_max = Duration::from_secs(20);
    assert_eq!(pass(&mut session, now + hello_max / 2), []);
    assert_eq!(pass(&mut session, now + hello_max), [FromGame::Backfill { slots: vec![0] }]);
    // Late, and still the player: the token is valid until there is another one.
    let hello = format!("HELLO 17 {}", seat(0, 9).token);
    session.handle_datagram(now + hello_max, address(2), hello.as_bytes());
    let back = [FromGame::Joined { slot: 0 }, FromGame::Backfill { slots: vec![] }];
    assert_eq!(reports(&mut session), back);
}

#[test]
fn who_was_only_silent_is_back_with_any_word() {
    let mut session = session();
    assert_eq!(pass(&mut session, SILENCE), [FromGame::Left { slot: 0 }]);
    session.handle_datagram(SILENCE, address(0), b"PING");
    assert_eq!(reports(&mut session), [FromGame::Joined { slot: 0 }]);
    assert_eq!(pass(&mut session, SILENCE + WAIT), []);
}

#[test]
fn a_token_that_is_shown_counts_and_the_one_before_does_not() {
    let mut session = session();
    assert!(session.handle_rejoin(Duration::ZERO, &seat(0, 9)));
    assert_eq!(reports(&mut session), [FromGame::Left { slot: 0 }]);
    let old = format!("HELLO 17 {}", seat(0, 1).token);
    session.handle_datagram(Duration::ZERO, address(0), old.as_bytes());
    session.handle_datagram(Duration::ZERO, address(0), b"PING");
    assert_eq!(reports(&mut session), []);
    enter(&mut session, Duration::ZERO, 2, &seat(0, 9));
    assert!(!session.handle_rejoin(Duration::ZERO, &seat(0, 2)), "the other player's token");
    assert!(!session.handle_rejoin(Duration::ZERO, &seat(2, 3)), "no such slot");
}
