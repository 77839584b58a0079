//! When a daemon that died is restarted, and when restarts are pointless.

use std::time::Duration;

/// The pause before the second start in a row; doubled for each one after that.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A daemon that ran for this long resets the count.
const LIFE_MIN: Duration = Duration::from_secs(10);

/// The number of daemons in a row that died sooner, after which the keeper gives up.
const DEATHS_MAX: u32 = 8;

/// Counts the daemons that died soon.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    deaths: u32,
}

impl Restarts {
    /// Returns the pause before the next start, after a daemon that ran for `lived`.
    pub(crate) fn after(&mut self, lived: Duration) -> Duration {
        self.deaths = if lived < LIFE_MIN { self.deaths.saturating_add(1) } else { 1 };
        match self.deaths {
            // Players wait.
            1 => Duration::ZERO,
            deaths => PAUSE_MIN.saturating_mul(2_u32.saturating_pow(deaths - 2)).min(PAUSE_MAX),
        }
    }

    /// Whether too many died soon for another restart.
    pub(crate) fn are_many(&self) -> bool {
        self.deaths >= DEATHS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_long_run_resets_them() {
        let mut restarts = Restarts::default();
        let short = Duration::from_millis(3);
        let pauses: Vec<_> = (0..7).map(|_| restarts.after(short).as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200]);
        assert!(!restarts.are_many());
        assert_eq!((restarts.after(short), restarts.are_many()), (PAUSE_MAX, true));
        assert!((0..100).all(|_| restarts.after(short) == PAUSE_MAX));
        assert_eq!((restarts.after(LIFE_MIN), restarts.are_many()), (Duration::ZERO, false));
        assert_eq!(restarts.after(short), PAUSE_MIN);
    }
}
