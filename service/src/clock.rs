//! Time on a clock that is shared by all processes of a boot: a saved [`Instant`] means the same in another process,
//! until the machine is booted again.
//!
//! The standard library's `Instant` uses the same clock, but cannot be serialized.

use std::ops::{Add, Sub};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Time since the machine was booted, without suspension; clock_gettime(2), `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

/// The beginning of the error for a time in the future.
pub const NOT_YET: &str = "a time in the future";

/// Saved times are always in the past. A time in the future was saved before the machine was booted, or on another
/// machine, and is invalid.
impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (read, now) = (Self(Duration::deserialize(from)?), Self::now());
        if read > now {
            return Err(D::Error::custom(format!(
                "{NOT_YET}: {}s after the boot, and this machine was booted {}s ago",
                read.0.as_secs(),
                now.0.as_secs()
            )));
        }
        Ok(read)
    }
}

/// Its seconds and nanoseconds, as a tuple: each client has several.
impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.0.as_secs(), self.0.subsec_nanos()).serialize(to)
    }
}

impl Instant {
    /// The current time.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        Self(Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default()))
    }

    /// The time from `earlier` to this one; zero if `earlier` is later.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The time from this instant to now.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }
}

/// Durations of the configuration can be practically infinite, so additions saturate.
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_advances_with_the_kernel_s_clock() {
        let first = Instant::now();
        let second = Instant::now();
        assert!(second >= first);
        assert_eq!(
            first.saturating_duration_since(second + Duration::from_secs(1)),
            Duration::ZERO
        );
        assert_eq!((first + Duration::MAX) - first, Duration::MAX - first.0);
        let text = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<Instant>(&text).unwrap(), first);
        let later = serde_json::to_string(&(second + Duration::from_secs(3600))).unwrap();
        let error = serde_json::from_str::<Instant>(&later).unwrap_err().to_string();
        assert!(error.starts_with(NOT_YET), "{error}");
    }
}
