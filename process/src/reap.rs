//! Reaping children.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A child that has ended, and the resources it used, including those of children it has reaped; getrusage(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its pid, which is free again.
    pub pid: i32,
    /// How it ended: its exit status, or the signal that killed it.
    pub end: Result<i32, i32>,
    /// Processor time in its own code.
    pub cpu_user: Duration,
    /// Processor time in the kernel.
    pub cpu_system: Duration,
    /// The highest resident memory, in KiB.
    pub memory_peak_kib: u64,
}

/// Reaps the next child that has ended. `None`: there is none now.
pub fn reap() -> Option<Ended> {
    loop {
        let mut status = 0;
        // SAFETY: getrusage(2) fills this structure of plain numbers; all zeroes are a valid one.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: wait4(2): "-1: wait for any child process", and it writes to the two variables that it is given,
        // which live until it returns.
        let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) };
        if pid < 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
            continue;
        }
        let end = match libc::WIFSIGNALED(status) {
            true => Err(libc::WTERMSIG(status)),
            false => Ok(libc::WEXITSTATUS(status)),
        };
        return (pid > 0).then(|| Ended {
            pid,
            end,
            cpu_user: duration(usage.ru_utime),
            cpu_system: duration(usage.ru_stime),
            memory_peak_kib: u64::try_from(usage.ru_maxrss).unwrap_or_default(),
        });
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let micros = u64::try_from(time.tv_usec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}
