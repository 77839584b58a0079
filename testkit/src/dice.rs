//! Repeatable randomness.

use std::time::Duration;

/// The longest time that [`Dice::wait_for`] draws: longer than any run.
const LONGEST_WAIT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A random number generator that a seed determines; SplitMix64: the same on every machine and in every version.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice for one of many parts of a run: a change of the seed or of any key changes all that they draw.
    pub fn keyed(seed: u64, keys: &[u64]) -> Self {
        let mut dice = Self(seed);
        for key in keys {
            dice.0 = dice.next() ^ key;
        }
        dice.0 = dice.next();
        dice
    }

    /// Any number.
    #[expect(clippy::should_implement_trait, reason = "dice do not end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap();
        usize::try_from(self.next() % count).unwrap()
    }

    /// A number in `0.0..1.0`.
    pub fn fraction(&mut self) -> f64 {
        // As many bits as a float holds exactly.
        const BITS: u32 = 53;
        (self.next() >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// A duration between two, evenly distributed.
    pub fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        shortest + (longest - shortest).mul_f64(self.fraction())
    }

    /// The time until the next event of a Poisson process with `rate` events a second.
    pub fn wait_for(&mut self, rate: f64) -> Duration {
        let seconds = -(1.0 - self.fraction()).ln() / rate;
        Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }

    /// One of the items.
    pub fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Shuffles the items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_are_determined_by_the_seed_and_all_keys() {
        let roll = |seed, keys: &[u64]| Dice::keyed(seed, keys).next();
        assert_eq!(roll(1, &[2, 3]), roll(1, &[2, 3]));
        for other in [roll(2, &[2, 3]), roll(1, &[3, 3]), roll(1, &[2, 4]), roll(1, &[3, 2])] {
            assert_ne!(roll(1, &[2, 3]), other);
        }
    }

    #[test]
    fn waits_have_the_average_of_their_rate() {
        let mut dice = Dice::new(7);
        let total: Duration = (0..10_000).map(|_| dice.wait_for(4.0)).sum();
        let average = total / 10_000;
        assert!((240..260).contains(&average.as_millis()), "{average:?}");
        assert_eq!(dice.wait_for(0.0), LONGEST_WAIT);
    }

    #[test]
    fn durations_stay_between_their_bounds() {
        let mut dice = Dice::new(7);
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(3));
        for _ in 0..1000 {
            let drawn = dice.between(shortest, longest);
            assert!((shortest..=longest).contains(&drawn), "{drawn:?}");
        }
    }
}
