//! The time of a match, and a precise alarm.
//!
//! A timeout passed to poll(2) counts from the call and may be late by the thread's timer slack, 50 µs or more. A
//! timerfd is set to an absolute time, on the same clock that is read here, so that neither the slack nor anything
//! since the deadline was computed makes it late. See timerfd_create(2).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// A clock that starts at zero, with one alarm. The descriptor is readable from the time of the alarm on, until
/// another one is set.
pub(crate) struct Clock {
    began: Duration,
    timer: OwnedFd,
    alarm: Option<Duration>,
}

impl Clock {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { began: monotonic(), timer, alarm: None })
    }

    /// Restarts the clock at zero.
    pub(crate) fn start(&mut self) {
        self.began = monotonic();
        self.alarm = None;
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        monotonic().saturating_sub(self.began)
    }

    /// Sets the alarm to a time since the start, in place of the previous one. A time in the past is due at once.
    pub(crate) fn set_alarm(&mut self, at: Duration) -> io::Result<()> {
        if self.alarm == Some(at) {
            return Ok(());
        }
        let moment = self.began.checked_add(at).and_then(|moment| moment.try_into().ok());
        let once = Itimerspec {
            it_interval: Timespec::default(),
            // A time later than the kernel's clock can represent is replaced by its last one.
            it_value: moment.unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }),
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        self.alarm = Some(at);
        Ok(())
    }
}

impl AsFd for Clock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// CLOCK_MONOTONIC, which is never negative.
fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn rings(clock: &Clock, within: Duration) -> bool {
        let timeout = Timespec::try_from(within).unwrap();
        poll(&mut [PollFd::new(clock, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    }

    #[test]
    fn an_alarm_is_never_early_and_stays_due_until_it_is_set_again() {
        let mut clock = Clock::new().unwrap();
        assert!(!rings(&clock, Duration::ZERO), "no alarm is set");
        for ms in [0, 1, 5, 20] {
            let at = clock.now() + Duration::from_millis(ms);
            clock.set_alarm(at).unwrap();
            clock.set_alarm(at).unwrap();
            assert!(rings(&clock, Duration::from_secs(20)));
            assert!(clock.now() >= at && rings(&clock, Duration::ZERO));
        }
        for never in [Duration::MAX, Duration::from_millis(u64::MAX)] {
            clock.set_alarm(never).unwrap();
            assert!(!rings(&clock, Duration::ZERO));
        }
        clock.set_alarm(Duration::ZERO).unwrap();
        assert!(rings(&clock, Duration::from_secs(20)), "a time in the past is due at once");
    }
}
