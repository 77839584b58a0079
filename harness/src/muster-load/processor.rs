//! The processor time of this program, and of the daemon that it loads.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use testkit::proc;

/// Processor time so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) own: Duration,
    pub(crate) daemon: Option<Duration>,
    /// Of the daemon's children: the launcher, and the games that have ended.
    pub(crate) children: Option<Duration>,
}

/// Reads processor times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processor {
    daemon: Option<i32>,
}

impl Processor {
    /// Reads the times of this program, and of a daemon if its pid is known.
    pub(crate) fn new(daemon: Option<i32>) -> Self {
        Self { daemon }
    }

    pub(crate) fn daemon(&self) -> Option<i32> {
        self.daemon
    }

    pub(crate) fn used(&self) -> Used {
        let daemon = self.daemon.and_then(proc::scheduled_time);
        Used { own: own(), daemon, children: self.daemon.and_then(of_children) }
    }
}

fn own() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| {
            let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        })
        .sum()
}

/// The launcher, which is a living child, and all children that were reaped, with theirs.
fn of_children(pid: i32) -> Option<Duration> {
    let is_launcher = |child: &i32| proc::command_line(*child) == ["muster-launcher"];
    let launcher = proc::children(pid).into_iter().find(is_launcher);
    let launcher = launcher.and_then(proc::scheduled_time).unwrap_or_default();
    Some(launcher + proc::reaped_time(pid)?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    #[test]
    fn processor_time_is_counted() {
        // A process of one thread that only uses the processor.
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let processor = Processor::new(i32::try_from(busy.id()).ok());
        let used = || processor.used().daemon.unwrap();
        let (deadline, before) = (Instant::now() + Duration::from_secs(30), used());
        while used() < before + Duration::from_millis(20) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let (after, children) = (used(), processor.used().children);
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(after >= before + Duration::from_millis(20), "{before:?}, {after:?}");
        assert_eq!(children, Some(Duration::ZERO), "it has none");
        assert_eq!(processor.used().daemon, None, "it has ended");
        assert!(processor.used().own > Duration::ZERO);
    }
}
