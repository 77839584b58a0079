//! Durations from which one is drawn: `2s`, `300ms..5s`.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use testkit::Dice;

/// A shortest and a longest duration; both can be drawn, and all in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    min: Duration,
    max: Duration,
}

/// The longest duration of any span.
const SPAN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

impl Span {
    /// From one duration to a longer one.
    ///
    /// # Errors
    /// The error, for people.
    pub(crate) fn new(min: Duration, max: Duration) -> Result<Self, String> {
        if min > max {
            return Err("the longest is shorter than the shortest".to_owned());
        }
        if max > SPAN_MAX {
            return Err("longer than a day".to_owned());
        }
        Ok(Self { min, max })
    }

    pub(crate) const fn millis(min: u64, max: u64) -> Self {
        Self { min: Duration::from_millis(min), max: Duration::from_millis(max) }
    }

    /// Draws a duration.
    pub(crate) fn draw(self, dice: &mut Dice) -> Duration {
        dice.between(self.min, self.max)
    }

    pub(crate) fn min(self) -> Duration {
        self.min
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let duration = |text: &str| {
            humantime::parse_duration(text.trim()).map_err(|error| {
                format!("{:?} is no duration such as \"2s\": {error}", text.trim())
            })
        };
        Self::new(duration(min)?, duration(max)?)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|error| {
            let wanted = "a duration such as \"2s\", or two as in \"300ms..5s\"";
            serde::de::Error::custom(format!("{text:?} is not {wanted}: {error}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_duration_or_two_in_order() {
        assert_eq!("2s".parse(), Ok(Span::millis(2000, 2000)));
        assert_eq!("300ms..5s".parse(), Ok(Span::millis(300, 5000)));
        for wrong in ["", "..", "5s..1s", "1..2", "2", "1s..", "1s..2days", "1s...2s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong:?}");
        }
    }
}
