//! How long things took, in a few hundred counters.

/// Buckets for each doubling: a value is known to within an eighth of itself.
const STEPS: u64 = 8;

/// Doublings that have buckets of their own; what is longer, over an hour in microseconds, counts in the last.
const DOUBLINGS: usize = 30;

const BUCKETS: usize = STEPS as usize * DOUBLINGS;

/// Counts values by their size: exactly below [`STEPS`], in steps of an eighth of a power of two above. Its size is
/// the same however many values there are.
pub(super) struct Histogram {
    counts: [u64; BUCKETS],
    count: u64,
    max: u64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { counts: [0; BUCKETS], count: 0, max: 0 }
    }

    pub(super) fn record(&mut self, value: u64) {
        self.counts[bucket_of(value)] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// How many values there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn max(&self) -> u64 {
        self.max
    }

    /// A value that `percent` of all values do not exceed, at most an eighth too high; 0 when there are none.
    pub(super) fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let within = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        within.map_or(self.max, |bucket| highest_of(bucket).min(self.max))
    }
}

fn bucket_of(value: u64) -> usize {
    let doublings = u64::from(value.max(STEPS).ilog2() - STEPS.ilog2());
    // Below the first doubling the step is one; in each doubling above, the buckets begin again at `STEPS`.
    let bucket = doublings * STEPS + (value >> doublings);
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The highest value that counts in a bucket.
fn highest_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket / STEPS).saturating_sub(1);
    let step = bucket - doublings * STEPS;
    ((step + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for value in (0..10_000).chain([1 << 20, (1 << 20) + 12_345, (1 << 31) + 1]) {
            let bucket = bucket_of(value);
            assert!(value <= highest_of(bucket), "{value}");
            assert!(bucket == 0 || value > highest_of(bucket - 1), "{value}");
            assert!(highest_of(bucket) - value <= value / STEPS, "{value}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut histogram = Histogram::new();
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
}
