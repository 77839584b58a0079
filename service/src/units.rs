//! Amounts as people write them.

use std::fmt;
use std::time::Duration;

/// A duration in one unit, rounded to three digits: `10.0s`, `31.9s`, `250ms`, `1.25ms`, `80us`. From 100 seconds on it
/// is in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        // The next unit begins where rounding would give 1000 of this one.
        let (unit, name) = match nanos {
            0 => return f.write_str("0s"),
            1..999_500 => (1_000, "us"),
            999_500..999_500_000 => (1_000_000, "ms"),
            _ => (1_000_000_000, "s"),
        };
        let whole = nanos / unit;
        // Durations of the configuration are exact, and are shown exactly.
        let decimals = match whole {
            _ if nanos.is_multiple_of(unit) => 0,
            0..10 => 2,
            10..100 => 1,
            _ => 0,
        };
        #[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
        let amount = nanos as f64 / unit as f64;
        write!(f, "{amount:.decimals$}{name}")
    }
}

/// The time of an action after a pause: `now`, or `in 250ms`.
pub fn after(pause: Duration) -> String {
    if pause.is_zero() { "now".to_owned() } else { format!("in {}", Span(pause)) }
}

/// Whole milliseconds, for JSON.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_shown_in_one_unit_and_three_digits() {
        let shown = |nanos: u64| Span(Duration::from_nanos(nanos)).to_string();
        let second = 1_000_000_000;
        for (nanos, expected) in [
            (0, "0s"),
            (400, "0.40us"),
            (80_000, "80us"),
            (1_100_123, "1.10ms"),
            (250_000_000, "250ms"),
            (999_600_000, "1.00s"),
            (5 * second, "5s"),
            (10_003_400_000, "10.0s"),
            (31_923_456_789, "31.9s"),
            (99_960_000_000, "100.0s"),
            (30 * second, "30s"),
            (3_725 * second + 1, "3725s"),
        ] {
            assert_eq!(shown(nanos), expected);
        }
    }
}
