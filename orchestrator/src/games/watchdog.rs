//! The watchdog of the launcher: after an order it sends a ping, and counts the time without an answer.
//!
//! An unanswered order proves nothing: a template can take long to load, and leftovers can resist. A ping is answered
//! at once by a launcher that works. Pings are sent only while an order may not have been received, so an idle daemon
//! is not woken.

use std::time::Duration;

use crate::clock::Instant;

/// The time from an order to the first check, and between two checks.
const STEP: Duration = Duration::from_millis(500);

/// The number of checks in a row without an answer after which the launcher is given up. The longest delay is a
/// template that does not answer, for a second each; an overloaded machine adds to that. With the step before the ping
/// these are four seconds, one less than the default `ready_timeout` of games: so a failure of the launcher does not
/// count as theirs.
const SILENCE_MAX: u32 = 7;

/// The maximum of that number: it doubles with each launcher that was given up, so that a slow launcher succeeds in the
/// end.
const SILENCE_MAX_MAX: u32 = 8 * SILENCE_MAX;

/// Counts the silence of one launcher after another.
#[derive(Debug)]
pub(super) struct Watchdog {
    phase: Phase,
    look_at: Option<Instant>,
    /// Checks in a row without an answer since the last ping.
    silent: u32,
    silence_max: u32,
}

/// The state of the launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has received all orders.
    Synchronized,
    /// An order was sent.
    OrderSent,
    /// A ping was sent, and perhaps orders after that.
    Pinged { has_later_order: bool },
    /// It does not answer.
    GivenUp,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Wait,
    /// Send a ping.
    Ask,
    /// Kill the launcher.
    GiveUp,
}

impl Watchdog {
    /// A watchdog without a launcher.
    pub(super) fn new() -> Self {
        Self { phase: Phase::Synchronized, look_at: None, silent: 0, silence_max: SILENCE_MAX }
    }

    /// Starts to monitor another launcher, which has received orders at its start.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.phase == Phase::GivenUp {
            self.silence_max = (self.silence_max * 2).min(SILENCE_MAX_MAX);
        }
        (self.phase, self.look_at, self.silent) = (Phase::OrderSent, Some(now + STEP), 0);
    }

    /// Stops monitoring.
    pub(super) fn rest(&mut self) {
        self.look_at = None;
    }

    /// Notes that an order is sent.
    pub(super) fn tell(&mut self, now: Instant) {
        self.phase = match self.phase {
            Phase::Synchronized | Phase::OrderSent => Phase::OrderSent,
            Phase::Pinged { .. } => Phase::Pinged { has_later_order: true },
            Phase::GivenUp => return,
        };
        self.look_at.get_or_insert(now + STEP);
    }

    /// Notes a message from the launcher.
    pub(super) fn hear(&mut self) {
        self.silent = 0;
    }

    /// Notes the answer to a ping.
    pub(super) fn hear_answer(&mut self) {
        self.phase = match self.phase {
            Phase::Pinged { has_later_order: false } => Phase::Synchronized,
            Phase::Pinged { has_later_order: true } => Phase::OrderSent,
            other => other,
        };
    }

    /// The time of the next check.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Checks the launcher, if it is time. While answers are awaited, pings are sent again and again.
    pub(super) fn look(&mut self, now: Instant, awaits: bool) -> Verdict {
        if self.look_at.is_none_or(|at| at > now) {
            return Verdict::Wait;
        }
        // A step from now: if the daemon itself was stopped, that was no silence of the launcher.
        self.look_at = Some(now + STEP);
        match self.phase {
            Phase::Synchronized if !awaits => {
                self.look_at = None;
                Verdict::Wait
            }
            Phase::Synchronized | Phase::OrderSent => {
                (self.phase, self.silent) = (Phase::Pinged { has_later_order: false }, 0);
                Verdict::Ask
            }
            Phase::Pinged { .. } => {
                self.silent += 1;
                if self.silent < self.silence_max {
                    return Verdict::Wait;
                }
                (self.phase, self.look_at) = (Phase::GivenUp, None);
                Verdict::GiveUp
            }
            Phase::GivenUp => Verdict::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watchdog, and a time that advances from check to check.
    struct Test {
        watchdog: Watchdog,
        now: Instant,
    }

    impl Test {
        fn begin() -> Self {
            let mut this = Self { watchdog: Watchdog::new(), now: Instant::now() };
            this.watchdog.begin(this.now);
            this
        }

        fn look(&mut self, awaits: bool) -> Verdict {
            self.now = self.watchdog.look_at().expect("a check is due").max(self.now);
            self.watchdog.look(self.now, awaits)
        }

        /// Checks until the launcher is given up, and returns the number of waits.
        fn looks_until_given_up(&mut self) -> u32 {
            let mut waited = 0;
            loop {
                match self.look(false) {
                    Verdict::Wait => waited += 1,
                    Verdict::Ask => panic!("asked twice"),
                    Verdict::GiveUp => return waited,
                }
            }
        }
    }

    #[test]
    fn an_answering_launcher_is_not_pinged_while_nothing_is_awaited() {
        let mut test = Test::begin();
        assert_eq!(test.look(false), Verdict::Ask);
        test.watchdog.hear_answer();
        assert_eq!(test.look(false), Verdict::Wait);
        assert_eq!(test.watchdog.look_at(), None);
        test.watchdog.tell(test.now);
        assert_eq!(test.look(false), Verdict::Ask);
    }

    #[test]
    fn an_answering_launcher_is_pinged_again_while_answers_are_awaited() {
        let mut test = Test::begin();
        for _ in 0..100 {
            assert_eq!(test.look(true), Verdict::Ask);
            test.watchdog.hear_answer();
        }
    }

    #[test]
    fn an_order_after_a_ping_is_followed_by_another_ping() {
        let mut test = Test::begin();
        assert_eq!(test.look(false), Verdict::Ask);
        test.watchdog.tell(test.now);
        test.watchdog.hear_answer();
        assert_eq!(test.look(false), Verdict::Ask);
    }

    #[test]
    fn a_silent_launcher_is_killed_once_and_its_successors_get_more_time() {
        let mut test = Test::begin();
        for most in [7, 14, 28, 56, 56] {
            assert_eq!(test.look(false), Verdict::Ask);
            assert_eq!(test.looks_until_given_up(), most - 1);
            test.watchdog.tell(test.now);
            assert_eq!(test.watchdog.look_at(), None, "it is given up once");
            test.watchdog.begin(test.now);
        }
    }

    #[test]
    fn any_message_shows_that_the_launcher_is_alive() {
        let mut test = Test::begin();
        assert_eq!(test.look(true), Verdict::Ask);
        for _ in 0..100 {
            assert_eq!(test.look(true), Verdict::Wait);
            test.watchdog.hear();
        }
    }

    #[test]
    fn time_in_which_the_daemon_was_stopped_does_not_count() {
        let mut test = Test::begin();
        assert_eq!(test.look(true), Verdict::Ask);
        test.now = test.now + Duration::from_secs(3600);
        assert_eq!(test.look(true), Verdict::Wait);
        test.watchdog.hear_answer();
        assert_eq!(test.look(true), Verdict::Ask);
    }
}
