//! Pauses between the launches of a mode whose games keep failing.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{BACKOFF_DOUBLINGS_MAX, BACKOFF_MAX, BACKOFF_MIN, EARLY_ENDS_MAX, MATCH_MIN};

/// The failures of one mode's games, and the pause that follows from them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Backoff {
    failures: u32,
    /// Matches in a row that ended as soon as their players were sent to them.
    early_ends: u32,
    /// When the mode counts as healthy again, if the match that began last lasts that long: many before it ended early.
    heals_at: Option<Duration>,
    retry_at: Option<Duration>,
}

impl Backoff {
    /// Records a game that failed before its match was assigned, and returns the pause.
    ///
    /// The first failure is forgiven, so that one bad start costs its players no time. Failures during a pause are of
    /// games that were already launching, and change nothing.
    pub(crate) fn note_failure(&mut self, now: Duration) -> Duration {
        if let Some(retry_at) = self.retry_at.filter(|&at| at > now) {
            return retry_at - now;
        }
        let pause = match self.failures {
            0 => Duration::ZERO,
            more => (BACKOFF_MIN * (1 << (more - 1).min(BACKOFF_DOUBLINGS_MAX))).min(BACKOFF_MAX),
        };
        self.failures = self.failures.saturating_add(1);
        self.retry_at = (!pause.is_zero()).then_some(now + pause);
        pause
    }

    fn note_success(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// Records a game that started. Where many matches ended early, this one has to last before the mode is healthy.
    pub(crate) fn note_start(&mut self, now: Duration) {
        match self.early_ends < EARLY_ENDS_MAX {
            true => self.note_success(),
            false => self.heals_at = Some(now.saturating_add(MATCH_MIN)),
        }
    }

    /// Records a match that ended as soon as its players were sent to it. Returns whether there are too many.
    pub(crate) fn note_early_end(&mut self) -> bool {
        self.early_ends = self.early_ends.saturating_add(1);
        self.heals_at = None;
        let is_failing = self.early_ends >= EARLY_ENDS_MAX;
        if is_failing {
            // Those before this one are not forgiven.
            self.failures = self.failures.max(1);
        }
        is_failing
    }

    /// Records a match that lasted, or ended well.
    pub(crate) fn note_good_match(&mut self) {
        if std::mem::take(&mut self.early_ends) >= EARLY_ENDS_MAX {
            self.note_success();
        }
        self.heals_at = None;
    }

    /// Ends a pause that is over. A pause that began since the deadline was set continues.
    pub(crate) fn end_pause(&mut self, now: Duration) {
        self.retry_at = self.retry_at.filter(|&at| at > now);
        if self.heals_at.is_some_and(|at| at <= now) {
            self.note_good_match();
        }
    }

    /// When to call [`end_pause`](Self::end_pause).
    pub(crate) fn next_change(&self) -> Option<Duration> {
        self.retry_at.into_iter().chain(self.heals_at).min()
    }

    pub(crate) fn is_pausing(&self) -> bool {
        self.retry_at.is_some()
    }

    /// Whether the mode's games keep failing, in a pause or in the try that follows it.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_their_bound_and_end_with_a_success() {
        let mut backoff = Backoff::default();
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let pause = backoff.note_failure(now);
            if !pause.is_zero() {
                assert_eq!(backoff.note_failure(now), pause, "a failure in a pause made it longer");
            }
            pauses.push(pause);
            now += pause;
            backoff.end_pause(now);
        }
        assert_eq!(pauses[..3], [Duration::ZERO, BACKOFF_MIN, BACKOFF_MIN * 2]);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&BACKOFF_MAX));
        backoff.note_success();
        assert_eq!(backoff.note_failure(now), Duration::ZERO);
    }
}
