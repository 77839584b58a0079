//! A precise timer for the loop: poll's own time-out is in whole milliseconds, which is longer than an answer takes.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A timer that makes the loop's poll return.
#[derive(Debug)]
pub(crate) struct AlarmClock {
    timer: OwnedFd,
}

impl AlarmClock {
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { timer })
    }

    /// Sets the timer to fire once after `pause`, in place of an earlier time.
    pub(crate) fn set(&self, pause: Duration) {
        // Zero would disarm the timer.
        let pause = pause.max(Duration::from_nanos(1));
        let it_value = Timespec::try_from(pause).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        // The arguments are in range, so it cannot fail; setting it re-arms the edge-triggered event.
        let _ = timerfd_settime(
            &self.timer,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval, it_value },
        );
    }
}
