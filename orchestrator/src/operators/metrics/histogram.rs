//! Histograms of durations.

use std::time::Duration;

/// The largest number of bounds.
const BOUNDS_MAX: usize = 16;

/// The number of durations between each two bounds.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    /// Upper bounds in seconds, rising.
    bounds: &'static [f64],
    /// By bound; the last one counts those above all bounds.
    counts: [u64; BOUNDS_MAX + 1],
    sum: Duration,
}

impl Histogram {
    /// For waiting players: from a hundredth of a second to an hour.
    pub(crate) const fn of_waits() -> Self {
        Self::new(&[
            0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
            1800.0, 3600.0,
        ])
    }

    /// For starting processes: from a quarter of a millisecond to ten seconds.
    pub(crate) const fn of_starts() -> Self {
        Self::new(&[
            0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
            5.0, 10.0,
        ])
    }

    /// For the loop: from ten microseconds to a second.
    pub(crate) const fn of_turns() -> Self {
        Self::new(&[
            0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
            0.05, 0.1, 0.25, 1.0,
        ])
    }

    const fn new(bounds: &'static [f64]) -> Self {
        assert!(bounds.len() <= BOUNDS_MAX, "too many bounds");
        Self { bounds, counts: [0; BOUNDS_MAX + 1], sum: Duration::ZERO }
    }

    /// Adds a duration.
    pub(crate) fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = self.bounds.iter().position(|bound| seconds <= *bound);
        self.counts[place.unwrap_or(self.bounds.len())] += 1;
        self.sum = self.sum.saturating_add(took);
    }

    /// The sum of all, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// The number of all durations.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The number of durations under each bound and above the previous one; the last bound is infinite.
    pub(crate) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        let mut waits = Histogram::of_waits();
        waits.observe(Duration::from_millis(10));
        waits.observe(Duration::from_millis(11));
        waits.observe(Duration::from_secs(7200));
        let buckets = waits.buckets();
        assert_eq!((buckets[0], buckets[1].1), ((0.01, 1), 1));
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 1)));
        assert_eq!(waits.count(), 3);
        assert!((waits.sum() - 7200.021).abs() < 1e-9);
    }

    #[test]
    fn bounds_rise() {
        for histogram in [Histogram::of_waits(), Histogram::of_starts(), Histogram::of_turns()] {
            assert!(histogram.bounds.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }
}
