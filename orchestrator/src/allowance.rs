//! A rate limit: a burst, and a rate per second.

use std::time::Duration;

use crate::clock::Instant;

/// An allowance that fills again as time goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    at_once: u32,
    per_second: u32,
    /// When it will be, or was, full.
    full_at: Instant,
}

impl Allowance {
    /// A full one.
    ///
    /// `per_second` is above zero.
    pub(crate) fn new(at_once: u32, per_second: u32, now: Instant) -> Self {
        Self { at_once, per_second, full_at: now }
    }

    /// Takes as much, which may be more than there is: the next ones wait for it longer.
    pub(crate) fn take(&mut self, amount: u32, now: Instant) {
        let time = Duration::from_secs(1).saturating_mul(amount) / self.per_second;
        self.full_at = self.full_at.max(now) + time;
    }

    /// When there is something again. `None`: now.
    pub(crate) fn wait(&self, now: Instant) -> Option<Instant> {
        let until_full = Duration::from_secs(1).saturating_mul(self.at_once) / self.per_second;
        let missing = self.full_at.saturating_duration_since(now);
        missing.checked_sub(until_full).filter(|left| !left.is_zero()).map(|left| now + left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_at_once_and_so_much_each_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut allowance = Allowance::new(10, 100, start);
        allowance.take(10, start);
        assert_eq!(allowance.wait(start), None, "so much at once");
        allowance.take(1, start);
        assert_eq!(allowance.wait(start), Some(at(10)));
        assert_eq!(allowance.wait(at(10)), None);
        allowance.take(100, at(1000));
        assert_eq!(allowance.wait(at(1000)), Some(at(1900)), "what was too much is waited for");
        assert_eq!(allowance.wait(at(60_000)), None);
        allowance.take(10, at(60_000));
        allowance.take(1, at(60_000));
        assert!(allowance.wait(at(60_000)).is_some(), "nothing is saved up beyond that");
    }
}
