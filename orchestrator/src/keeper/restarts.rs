//! How soon a daemon that died is started again, and when that is of no use.

use std::time::Duration;

/// The pause before the second start in a row; doubled for each one after that.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A daemon that lived so long was a good one.
const LIFE_MIN: Duration = Duration::from_secs(10);

/// Daemons in a row that died sooner, after which no other is started.
const DEATHS_MAX: u32 = 8;

/// Counts the daemons that died soon.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    deaths: u32,
}

impl Restarts {
    /// A daemon died that had lived for so long. How long to wait before the next one; `None`: there is to be none.
    pub(super) fn after(&mut self, lived: Duration) -> Option<Duration> {
        self.deaths = if lived < LIFE_MIN { self.deaths + 1 } else { 1 };
        match self.deaths {
            // Players wait.
            1 => Some(Duration::ZERO),
            DEATHS_MAX.. => None,
            deaths => Some((PAUSE_MIN * 2_u32.pow(deaths - 2)).min(PAUSE_MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_it_is_given_up_and_a_good_life_makes_up_for_all() {
        let mut restarts = Restarts::default();
        let short = Duration::from_millis(3);
        let pauses: Vec<_> = (0..7).map(|_| restarts.after(short).unwrap().as_millis()).collect();
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200]);
        assert_eq!(restarts.after(LIFE_MIN), Some(Duration::ZERO));
        assert_eq!(restarts.after(short), Some(PAUSE_MIN));
        assert!((0..5).all(|_| restarts.after(short).is_some()));
        assert_eq!(restarts.after(short), None);
    }
}
