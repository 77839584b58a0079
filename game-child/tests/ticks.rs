//! The ticks of a game, without a clock: on schedule, counted when they are missed, and only for games that want them.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use std::time::Duration;

use game_child::{Game, Match, Outbox, Session, Tick};
use protocol::{Seat, Secret};

const PERIOD: Duration = Duration::from_millis(10);

/// Wants ticks from a player's first word until its second, and remembers them.
#[derive(Default)]
struct Ticking {
    is_on: bool,
    ticks: Vec<(Duration, Tick)>,
}

impl Game for Ticking {
    fn handle_words(&mut self, _now: Duration, _slot: usize, _words: &str, _outbox: &mut Outbox) {
        self.is_on = !self.is_on;
    }

    fn handle_tick(&mut self, now: Duration, tick: Tick, _outbox: &mut Outbox) {
        self.ticks.push((now, tick));
    }

    fn tick_period(&self) -> Option<Duration> {
        self.is_on.then_some(PERIOD)
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn session() -> Session<Ticking> {
    let token = Secret::from_bytes([1; 16]);
    let seats = vec![Seat { slot: 0, name: "ada".into(), token }];
    let setup = Match::new("17".into(), seats, 10_000, 3_600_000).unwrap();
    let mut session = Session::new(setup, Ticking::default(), ms(3_600_000));
    say(&mut session, ms(0), &format!("HELLO 17 {token}"));
    session
}

fn say(session: &mut Session<Ticking>, now: Duration, words: &str) {
    session.handle_datagram(now, ([127, 0, 0, 1], 1).into(), words.as_bytes());
}

#[test]
fn ticks_come_on_schedule_however_late_they_are_handled() {
    let mut session = session();
    say(&mut session, ms(3), "on");
    for nth in 1..=100 {
        let due = ms(3) + PERIOD * nth;
        assert_eq!(session.next_deadline(), due);
        session.handle_timeout(due - ms(1));
        // Always late, by up to nearly a period: the next one is due when it would have been.
        let now = due + ms(u64::from(nth) % 10);
        session.handle_timeout(now);
        assert_eq!(session.game().ticks.last(), Some(&(now, Tick { due, missed: 0 })));
        assert_eq!(session.game().ticks.len(), nth as usize);
    }
}

#[test]
fn missed_ticks_are_counted() {
    let mut session = session();
    say(&mut session, ms(0), "on");
    session.handle_timeout(ms(57));
    assert_eq!(session.game().ticks, [(ms(57), Tick { due: ms(10), missed: 4 })]);
    assert_eq!(session.next_deadline(), ms(60));
    session.handle_timeout(ms(60));
    assert_eq!(session.game().ticks[1], (ms(60), Tick { due: ms(60), missed: 0 }));
    session.handle_timeout(ms(80));
    assert_eq!(session.game().ticks[2], (ms(80), Tick { due: ms(70), missed: 1 }));
    assert_eq!(session.next_deadline(), ms(90));
}

#[test]
fn a_game_that_wants_no_ticks_is_not_woken() {
    let mut session = session();
    let hello_max = ms(10_000);
    assert_eq!(session.next_deadline(), hello_max);
    say(&mut session, ms(0), "on");
    session.handle_timeout(ms(10));
    say(&mut session, ms(12), "off");
    assert_eq!(session.next_deadline(), hello_max);
    session.handle_timeout(hello_max);
    assert_eq!(session.game().ticks.len(), 1);
    assert_eq!(session.next_deadline(), ms(3_600_000));
    say(&mut session, ms(20_000), "on");
    assert_eq!(session.next_deadline(), ms(20_010), "the schedule starts again");
}
