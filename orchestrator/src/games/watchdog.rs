//! Whether the launcher still hears: what it is told is followed by a question, and its silence is counted.
//!
//! An order that is not answered is no evidence: a template may take as long as it likes to load, and what a game
//! left behind may resist. A question is answered at once by a launcher that goes on with its orders. It is asked
//! only while there is an order that it may not have heard, so a daemon at rest is not woken.

use std::time::Duration;

use crate::clock::Instant;

/// How long after an order, and after one look, the next look is.
const STEP: Duration = Duration::from_millis(500);

/// Looks in a row at which nothing was heard, before the launcher is given up. What holds it up most is a template
/// that does not answer, for a second each; a machine that is too busy may add to that. With the step before the
/// question these are four seconds, one less than games have by default to be ready: so what the launcher does not do
/// is not counted as their failure.
const SILENCE_MAX: u32 = 7;

/// The same for a launcher whose predecessors were given up: twice as many for each, so that a launcher which is only
/// slow gets there in the end; but no more than this.
const SILENCE_MAX_MAX: u32 = 8 * SILENCE_MAX;

/// Counts the silence of one launcher after another.
#[derive(Debug)]
pub(super) struct Watchdog {
    phase: Phase,
    look_at: Option<Instant>,
    /// Looks in a row at which nothing had been heard since it was asked.
    silent: u32,
    silence_max: u32,
}

/// What is known of the launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It has heard all that it was told.
    Heard,
    /// It was told something.
    Told,
    /// It was asked whether it has heard, and perhaps told more after that.
    Asked { is_told_more: bool },
    /// It does not answer.
    GivenUp,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Wait,
    /// Ask it.
    Ask,
    /// End it.
    GiveUp,
}

impl Watchdog {
    /// Before there is a launcher.
    pub(super) fn new() -> Self {
        Self { phase: Phase::Heard, look_at: None, silent: 0, silence_max: SILENCE_MAX }
    }

    /// There is another launcher, which was told something at its birth.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.phase == Phase::GivenUp {
            self.silence_max = (self.silence_max * 2).min(SILENCE_MAX_MAX);
        }
        (self.phase, self.look_at, self.silent) = (Phase::Told, Some(now + STEP), 0);
    }

    /// There is none.
    pub(super) fn rest(&mut self) {
        self.look_at = None;
    }

    /// It is told something.
    pub(super) fn tell(&mut self, now: Instant) {
        self.phase = match self.phase {
            Phase::Heard | Phase::Told => Phase::Told,
            Phase::Asked { .. } => Phase::Asked { is_told_more: true },
            Phase::GivenUp => return,
        };
        self.look_at.get_or_insert(now + STEP);
    }

    /// It has said something.
    pub(super) fn hear(&mut self) {
        self.silent = 0;
    }

    /// It has answered the question.
    pub(super) fn hear_answer(&mut self) {
        self.phase = match self.phase {
            Phase::Asked { is_told_more: false } => Phase::Heard,
            Phase::Asked { is_told_more: true } => Phase::Told,
            other => other,
        };
    }

    /// When to look.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// Looks, if it is time. While something is awaited of the launcher it is asked again and again.
    pub(super) fn look(&mut self, now: Instant, awaits: bool) -> Verdict {
        if self.look_at.is_none_or(|at| at > now) {
            return Verdict::Wait;
        }
        // A step from now on: if the daemon stood still itself, that was no silence of the launcher's.
        self.look_at = Some(now + STEP);
        match self.phase {
            Phase::Heard if !awaits => {
                self.look_at = None;
                Verdict::Wait
            }
            Phase::Heard | Phase::Told => {
                (self.phase, self.silent) = (Phase::Asked { is_told_more: false }, 0);
                Verdict::Ask
            }
            Phase::Asked { .. } => {
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

    /// A watchdog, and a time that goes on from look to look.
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
            self.now = self.watchdog.look_at().expect("a look is due").max(self.now);
            self.watchdog.look(self.now, awaits)
        }

        /// Looks until the launcher is given up, and gives how often nothing was to be done.
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
    fn one_that_answers_is_asked_no_more_when_nothing_is_awaited() {
        let mut test = Test::begin();
        assert_eq!(test.look(false), Verdict::Ask);
        test.watchdog.hear_answer();
        assert_eq!(test.look(false), Verdict::Wait);
        assert_eq!(test.watchdog.look_at(), None);
        test.watchdog.tell(test.now);
        assert_eq!(test.look(false), Verdict::Ask);
    }

    #[test]
    fn one_that_answers_is_asked_again_while_something_is_awaited() {
        let mut test = Test::begin();
        for _ in 0..100 {
            assert_eq!(test.look(true), Verdict::Ask);
            test.watchdog.hear_answer();
        }
    }

    #[test]
    fn what_it_is_told_after_a_question_is_followed_by_another() {
        let mut test = Test::begin();
        assert_eq!(test.look(false), Verdict::Ask);
        test.watchdog.tell(test.now);
        test.watchdog.hear_answer();
        assert_eq!(test.look(false), Verdict::Ask);
    }

    #[test]
    fn silence_ends_it_once_and_its_successors_are_given_more_time() {
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
    fn one_that_says_anything_is_alive() {
        let mut test = Test::begin();
        assert_eq!(test.look(true), Verdict::Ask);
        for _ in 0..100 {
            assert_eq!(test.look(true), Verdict::Wait);
            test.watchdog.hear();
        }
    }

    #[test]
    fn a_standstill_of_the_daemon_is_no_silence() {
        let mut test = Test::begin();
        assert_eq!(test.look(true), Verdict::Ask);
        test.now = test.now + Duration::from_secs(3600);
        assert_eq!(test.look(true), Verdict::Wait);
        test.watchdog.hear_answer();
        assert_eq!(test.look(true), Verdict::Ask);
    }
}
