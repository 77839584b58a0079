//! Time on a clock that goes on when the daemon is replaced: an [`Instant`] that was written down means the same in
//! another process, as long as the machine is not booted again.
//!
//! The library's own `Instant` is on the same clock, and cannot be written down.

use std::ops::{Add, Sub};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time since the machine was booted, suspension not counted; clock_gettime(2), `CLOCK_MONOTONIC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

/// How the error begins for a time that has not come yet.
pub const NOT_YET: &str = "a time in the future";

/// What is written down is always in the past. A time that has not come yet was written before the machine was booted, or
/// by another machine, and means nothing here.
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

/// As its seconds and nanoseconds, without their names: each client has some.
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

    /// The time from `earlier` to this one; none if it is not earlier.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// The time from this instant to now.
    pub fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }
}

/// A time of the configuration may be as long as for ever.
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
    fn it_goes_on_and_is_the_kernel_s() {
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
