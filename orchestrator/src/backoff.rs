//! Retries of an unavailable resource: an address, the addresses of a name, a port.

use std::time::Duration;

use crate::clock::Instant;

/// The pause after the first failure, which doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The retries of one resource.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    retry_at: Option<Instant>,
    /// The current pause; zero if the last attempt succeeded.
    pause: Duration,
}

impl Backoff {
    /// Notes a failure. Returns whether it is the first in a row, which is to be logged.
    pub(crate) fn fail(&mut self, now: Instant) -> bool {
        let is_first = self.pause.is_zero();
        self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        self.retry_at = Some(now + self.pause);
        is_first
    }

    /// Notes that an attempt could not be made.
    pub(crate) fn postpone(&mut self, now: Instant) {
        self.retry_at = Some(now + self.pause.max(PAUSE_MIN));
    }

    /// Notes a success. Returns whether there was a failure before.
    pub(crate) fn succeed(&mut self) -> bool {
        self.retry_at = None;
        !std::mem::take(&mut self.pause).is_zero()
    }

    /// When to retry.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether it is time to retry; returns `true` once.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        self.retry_at.take_if(|at| *at <= now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_success_ends_them() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert!(!backoff.take_due(now) && !backoff.succeed());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(backoff.fail(now), pauses.is_empty());
            pauses.push(backoff.retry_at().unwrap().saturating_duration_since(now).as_millis());
        }
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        assert!(!backoff.take_due(now) && backoff.take_due(now + PAUSE_MAX));
        assert_eq!(backoff.retry_at(), None);
        assert!(backoff.succeed() && backoff.fail(now));
    }
}
