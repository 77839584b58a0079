//! Taking in children that have died.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A child that has died, and what it used in its life, its own reaped children included; getrusage(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its pid, which is free again.
    pub pid: i32,
    /// How it ended: its exit status, or the signal that killed it.
    pub end: Result<i32, i32>,
    /// Time on the processor in its own code.
    pub cpu_user: Duration,
    /// Time on the processor in the kernel.
    pub cpu_system: Duration,
    /// The most memory it ever had resident, in KiB.
    pub memory_peak_kib: u64,
}

/// Takes in the next child that has died, whoever it is. `None`: nobody has, now.
pub fn reap() -> Option<Ended> {
    loop {
        let mut status = 0;
        // SAFETY: getrusage(2) fills this structure of plain numbers; all zeroes are a valid one.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: wait4(2): "-1: wait for any child process", and it writes to the two places that it is given,
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    #[expect(clippy::zombie_processes, reason = "`reap` waits for it")]
    fn a_child_is_taken_in_with_its_end_and_its_use() {
        let child = Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let ended = loop {
            if let Some(ended) = reap() {
                break ended;
            }
            std::thread::yield_now();
        };
        assert_eq!((ended.pid, ended.end), (pid, Ok(7)));
        assert!(ended.memory_peak_kib > 0);
        assert_eq!(reap(), None);
    }
}
