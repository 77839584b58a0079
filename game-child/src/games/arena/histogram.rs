//! Percentiles of many values in little memory.

use std::collections::BTreeMap;

/// Counts values, each known to within an eighth of itself: by the highest value with the same four leading bits.
#[derive(Default)]
pub(super) struct Histogram {
    counts: BTreeMap<u64, u64>,
    max: u64,
}

impl Histogram {
    pub(super) fn record(&mut self, value: u64) {
        let dropped_bits = value.checked_ilog2().unwrap_or(0).saturating_sub(3);
        *self.counts.entry(value | ((1 << dropped_bits) - 1)).or_default() += 1;
        self.max = self.max.max(value);
    }

    /// The number of values.
    pub(super) fn count(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// A value that `percent` of all values do not exceed, at most an eighth too high; 0 if there are none.
    pub(super) fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let reaches_rank = |(_, count): &(&u64, &u64)| {
            seen += **count;
            seen >= rank
        };
        self.counts.iter().find(reaches_rank).map_or(self.max, |(value, _)| *value.min(&self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.percentile(50), histogram.max()), (0, 0));
        (1..=1000).for_each(|value| histogram.record(value));
        assert_eq!((histogram.count(), histogram.max()), (1000, 1000));
        assert!((500..=562).contains(&histogram.percentile(50)));
        assert!((990..=1000).contains(&histogram.percentile(99)));
        assert_eq!(histogram.percentile(100), 1000);
        histogram.record(u64::MAX);
        assert_eq!(histogram.max(), u64::MAX);
        assert!(histogram.percentile(50) <= 562);
    }

    #[test]
    fn a_value_is_known_to_within_an_eighth_in_little_memory() {
        for value in (0..10_000).chain([1 << 20, (1 << 31) + 1, u64::MAX]) {
            let mut histogram = Histogram::default();
            histogram.record(value);
            let counted = *histogram.counts.keys().next().unwrap();
            assert!(counted >= value && counted - value <= value / 8, "{value}");
        }
        let mut histogram = Histogram::default();
        (0..100_000).for_each(|value| histogram.record(value));
        assert!(histogram.counts.len() < 200);
    }
}
