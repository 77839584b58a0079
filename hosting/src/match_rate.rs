//! How fast matches came lately, and so how many games it takes to have one ready for each of them.
//!
//! While a game is launched no other can take its place. So if as many games are warm as matches may come in the
//! time that a launch takes, none of those matches waits. How many may come is told by the last minute: as
//! many as came in its busiest stretch of that length. The minute is kept as a count for each second, whatever
//! comes; more seconds fall out of it as time goes on, and with them what was wanted because of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::ARRIVALS_WINDOW_SECONDS;

/// The matches formed in one mode during the last [`ARRIVALS_WINDOW_SECONDS`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MatchRate {
    /// Matches by second, modulo the length of the window; right for the window that ends with `newest`.
    #[serde(with = "counts")]
    counts: [u32; ARRIVALS_WINDOW_SECONDS as usize],
    /// The second of the last match.
    newest: u64,
    /// How long the last launch took, in whole seconds.
    stretch_seconds: u64,
}

impl Default for MatchRate {
    fn default() -> Self {
        Self { counts: [0; ARRIVALS_WINDOW_SECONDS as usize], newest: 0, stretch_seconds: 1 }
    }
}

impl MatchRate {
    /// Records matches that were formed now. Players who are matched again count again: they may take another game.
    pub(crate) fn note_matches(&mut self, now: Duration, matches: u64) {
        if matches == 0 {
            return;
        }
        let second = now.as_secs();
        debug_assert!(second >= self.newest, "matches come in the order of time");
        for passed in (self.newest + 1..=second).take(ARRIVALS_WINDOW_SECONDS as usize) {
            self.counts[slot(passed)] = 0;
        }
        // Where more than the window has passed, the loop has emptied all of it.
        self.newest = second;
        let count = &mut self.counts[slot(second)];
        *count = count.saturating_add(u32::try_from(matches).unwrap_or(u32::MAX));
    }

    /// Records how long a launch took, from the order to `ready`.
    pub(crate) fn note_launch(&mut self, took: Duration) {
        let seconds = took.as_secs() + u64::from(took.subsec_nanos() > 0);
        self.stretch_seconds = seconds.clamp(1, ARRIVALS_WINDOW_SECONDS);
    }

    /// The most matches that came in a stretch of the last minute.
    pub(crate) fn busiest(&self, now: Duration) -> usize {
        self.stretches(now).map(|(_, matches)| matches).max().unwrap_or_default()
    }

    /// Until when at least so many matches came in a stretch of the last minute, if no more come; `None` if they
    /// did not at `now`.
    pub(crate) fn busy_until(&self, now: Duration, matches_min: usize) -> Option<Duration> {
        let (start, _) = self.stretches(now).find(|&(_, matches)| matches >= matches_min)?;
        Some(Duration::from_secs(start + ARRIVALS_WINDOW_SECONDS))
    }

    /// The second in which each stretch of the last minute starts, and the matches in it, latest first.
    fn stretches(&self, now: Duration) -> impl Iterator<Item = (u64, usize)> {
        let oldest = now.as_secs().saturating_sub(ARRIVALS_WINDOW_SECONDS - 1);
        let mut matches = 0;
        (oldest..=self.newest).rev().map(move |start| {
            matches += self.count(start);
            let behind = start + self.stretch_seconds;
            if behind <= self.newest {
                matches -= self.count(behind);
            }
            (start, matches)
        })
    }

    fn count(&self, second: u64) -> usize {
        self.counts[slot(second)] as usize
    }
}

fn slot(second: u64) -> usize {
    (second % ARRIVALS_WINDOW_SECONDS) as usize
}

/// The counts as they are saved: serde knows no array of this length.
mod counts {
    use serde::de::{Deserialize as _, Deserializer, Error};
    use serde::ser::{Serialize as _, Serializer};

    type Counts = [u32; crate::limits::ARRIVALS_WINDOW_SECONDS as usize];

    pub(super) fn serialize<S: Serializer>(counts: &Counts, to: S) -> Result<S::Ok, S::Error> {
        counts.as_slice().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Counts, D::Error> {
        let counts = Vec::deserialize(from)?;
        counts.try_into().map_err(|_| D::Error::custom("a match rate over another length of time"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Arrivals with these matches, and launches of this length.
    fn rate(launch: Duration, matches_ms: &[u64]) -> MatchRate {
        let mut rate = MatchRate::default();
        rate.note_launch(launch);
        matches_ms.iter().for_each(|&at| rate.note_matches(ms(at), 1));
        rate
    }

    #[test]
    fn nothing_came_and_nothing_is_wanted() {
        let rate = MatchRate::default();
        for now in [0, 1, 59_999, 60_000, u64::MAX] {
            assert_eq!(rate.busiest(ms(now)), 0);
            assert_eq!(rate.busy_until(ms(now), 1), None);
        }
        assert_eq!(rate.busiest(Duration::MAX), 0);
    }

    #[test]
    fn a_match_counts_at_once_and_for_a_minute() {
        let rate = rate(ms(10), &[5_300]);
        assert_eq!(rate.busiest(ms(5_300)), 1);
        assert_eq!(rate.busy_until(ms(5_300), 1), Some(ms(65_000)));
        assert_eq!(rate.busy_until(ms(5_300), 2), None);
        assert_eq!(rate.busiest(ms(64_999)), 1);
        assert_eq!(rate.busiest(ms(65_000)), 0);
        assert_eq!(rate.busy_until(ms(65_000), 1), None);
    }

    #[test]
    fn a_stretch_is_as_long_as_a_launch() {
        let came = [1_000, 2_000, 2_500, 3_000, 9_000];
        let busiest = |launch| rate(ms(launch), &came).busiest(ms(9_000));
        assert_eq!(busiest(0), 2);
        assert_eq!(busiest(1_000), 2);
        assert_eq!(busiest(1_001), 3, "the seconds of 2 and 3");
        assert_eq!(busiest(3_000), 4);
        assert_eq!(busiest(9_000), 5);
        assert_eq!(busiest(1_000_000), 5, "no stretch is longer than the window");
    }

    #[test]
    fn it_falls_step_by_step_as_busy_seconds_fall_out() {
        let rate = rate(ms(1_000), &[1_000, 1_100, 1_200, 20_000, 20_500, 40_000]);
        let now = ms(40_000);
        assert_eq!(rate.busiest(now), 3);
        let until = |matches| rate.busy_until(now, matches);
        assert_eq!([3, 2, 1].map(until), [61_000, 80_000, 100_000].map(|at| Some(ms(at))));
        for (matches, at) in [(3, 60_999), (2, 61_000), (1, 80_000), (0, 100_000)] {
            assert_eq!(rate.busiest(ms(at)), matches, "after {at} ms");
        }
    }

    #[test]
    fn a_long_silence_leaves_nothing_of_the_time_before() {
        for silence in [59, 60, 61, 119, 120, 121, 1 << 40] {
            let mut rate = rate(ms(60_000), &[500, 3_000, 59_000]);
            let now = Duration::from_secs(59 + silence);
            rate.note_matches(now, 1);
            let expected = if silence < ARRIVALS_WINDOW_SECONDS { 2 } else { 1 };
            assert_eq!(rate.busiest(now), expected, "after {silence} s");
        }
    }

    #[test]
    fn it_counts_as_one_would_by_hand() {
        for stretch in [1, 2, 7, 60] {
            let mut came = Vec::new();
            let mut rate = rate(Duration::from_secs(stretch), &[]);
            for step in 0..500_u64 {
                let second = step * step / 300;
                came.push(second);
                rate.note_matches(Duration::from_secs(second), 1);
                let from = second.saturating_sub(ARRIVALS_WINDOW_SECONDS - 1);
                let within =
                    |start| came.iter().filter(|&&at| at >= start && at < start + stretch).count();
                let busiest = (from..=second).map(within).max();
                assert_eq!(Some(rate.busiest(Duration::from_secs(second))), busiest);
            }
        }
    }
}
