//! Chance that can be had again.

use crate::spans::Span;
use std::time::Duration;

/// Numbers that a seed determines; SplitMix64: small, and the same on every machine and in every version.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice for one thing among many: any change of any part makes them fall otherwise.
    pub(crate) fn of(seed: u64, player: u32, run: u32) -> Self {
        let mut dice = Self(seed);
        dice.0 = dice.next() ^ (u64::from(player) << 32 | u64::from(run));
        dice.0 = dice.next();
        dice
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// At least 0, less than 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        // As many bits as a float holds exactly.
        const BITS: u32 = 53;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let fraction = (self.next() >> (u64::BITS - BITS)) as f64 / (1_u64 << BITS) as f64;
        fraction
    }

    /// True in this part of all cases.
    pub(crate) fn chance(&mut self, part: f64) -> bool {
        self.fraction() < part
    }

    /// A duration from a span, each as likely as the other.
    pub(crate) fn within(&mut self, span: Span) -> Duration {
        span.min() + (span.max() - span.min()).mul_f64(self.fraction())
    }

    /// How long one waits for what happens `rate` times a second, at any time as likely as at any other.
    pub(crate) fn wait_for(&mut self, rate: f64) -> Duration {
        let seconds = -(1.0 - self.fraction()).ln() / rate;
        Duration::try_from_secs_f64(seconds).unwrap_or(WAIT_MAX).min(WAIT_MAX)
    }
}

/// The longest that is waited for anything: longer than any run.
const WAIT_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_fall_the_same_way_for_the_same_seed_and_otherwise_for_any_other() {
        let roll = |seed, player, run| Dice::of(seed, player, run).next();
        assert_eq!(roll(1, 2, 3), roll(1, 2, 3));
        for other in [roll(2, 2, 3), roll(1, 3, 3), roll(1, 2, 4), roll(1, 3, 2)] {
            assert_ne!(roll(1, 2, 3), other);
        }
    }

    #[test]
    fn waits_are_as_long_on_average_as_their_rate_says() {
        let mut dice = Dice::of(7, 0, 0);
        let total: Duration = (0..10_000).map(|_| dice.wait_for(4.0)).sum();
        let average = total / 10_000;
        assert!((240..260).contains(&average.as_millis()), "{average:?}");
        assert_eq!(dice.wait_for(0.0), WAIT_MAX);
    }

    #[test]
    fn spans_are_kept() {
        let mut dice = Dice::of(7, 0, 0);
        let span: Span = "1s..3s".parse().unwrap();
        for _ in 0..1000 {
            let drawn = dice.within(span);
            assert!((span.min()..=span.max()).contains(&drawn), "{drawn:?}");
        }
    }
}
