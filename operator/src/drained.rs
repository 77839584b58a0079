//! Waits until a draining daemon has ended, by its admin socket and its process.
//!
//! A daemon that ends normally removes its admin socket. One that crashed or handed over leaves it behind, and the
//! service manager or the keeper starts another daemon, which continues the drain.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use process::Pidfd;

use crate::Error;
use crate::ask::{AskError, Daemon};

/// The time between two probes.
const PROBE_PERIOD: Duration = Duration::from_millis(200);

/// The time that a living daemon may be silent, and that a crashed one may take to restart.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a drain did not end, or its end is unknown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// The daemon accepts players again.
    #[error("the drain was cancelled")]
    Cancelled,
    /// The daemon crashed and was not restarted.
    #[error(
        "Muster died before its drain was over, pid {pid}, and was not restarted within {} seconds; its games play on",
        PATIENCE.as_secs()
    )]
    Died {
        /// The daemon's pid.
        pid: u32,
    },
    /// The daemon does not answer.
    #[error(
        "Muster has not answered for {} seconds, pid {pid}; whether its drain is over is unknown", PATIENCE.as_secs()
    )]
    Silent {
        /// The daemon's pid.
        pid: u32,
    },
}

/// The state of a daemon as seen from its admin socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// It answers.
    Answers { pid: u32, is_serving: bool },
    /// There is no socket.
    NoSocket,
    /// The socket is there, and no process listens on it.
    Refused,
    /// A process listens and does not answer.
    Silent,
}

/// The daemon that drains.
struct Drain {
    pid: u32,
    /// The last probe, and the time of the first one with this result.
    last: Probe,
    since: Instant,
}

/// Waits until the draining daemon with this socket and pid has ended.
///
/// # Errors
/// When the drain is cancelled, or the daemon died or hangs.
pub(crate) fn wait(path: &Path, pid: u32) -> Result<(), Error> {
    let mut process = process(pid);
    let last = Probe::Answers { pid, is_serving: false };
    let mut drain = Drain { pid, last, since: Instant::now() };
    loop {
        let probe = probe_at(path)?;
        let is_alive = process.as_ref().is_some_and(Pidfd::is_alive);
        if drain.is_over(probe, is_alive, Instant::now())? {
            return Ok(());
        }
        // A restarted daemon continues the drain.
        if let Probe::Answers { pid, is_serving: false } = probe
            && pid != drain.pid
        {
            process = self::process(pid);
            drain.pid = pid;
        }
        std::thread::sleep(PROBE_PERIOD);
    }
}

impl Drain {
    /// Whether it is over, by the latest probe.
    ///
    /// # Errors
    /// When it will not be.
    fn is_over(&mut self, probe: Probe, is_alive: bool, now: Instant) -> Result<bool, DrainError> {
        let was = self.last;
        if was != probe {
            (self.last, self.since) = (probe, now);
        }
        let is_long = now.saturating_duration_since(self.since) >= PATIENCE;
        let pid = self.pid;
        match probe {
            Probe::Answers { pid: other, is_serving } if other != pid => {
                Ok(is_serving && (!is_alive || is_long))
            }
            Probe::Answers { is_serving: true, .. } => Err(DrainError::Cancelled),
            Probe::Answers { .. } => Ok(false),
            // A restarting daemon has no socket for a moment. The pid may be in another pid namespace.
            Probe::NoSocket => Ok(was == probe && !is_alive || is_long),
            Probe::Refused if is_long => Err(DrainError::Died { pid }),
            Probe::Silent if is_long => Err(DrainError::Silent { pid }),
            Probe::Refused | Probe::Silent => Ok(false),
        }
    }
}

/// # Errors
/// When the socket cannot be used.
fn probe_at(path: &Path) -> Result<Probe, Error> {
    match Daemon::at(path).and_then(|mut daemon| daemon.status()) {
        Ok(status) => Ok(Probe::Answers { pid: status.pid, is_serving: status.serving }),
        Err(AskError::Talk { .. }) => Ok(Probe::Silent),
        Err(AskError::Connect { path, source }) => match source.kind() {
            ErrorKind::NotFound => Ok(Probe::NoSocket),
            ErrorKind::ConnectionRefused => Ok(Probe::Refused),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(Probe::Silent),
            _ => Err(AskError::Connect { path, source }.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The process with a pid, if there is one.
fn process(pid: u32) -> Option<Pidfd> {
    Pidfd::open(i32::try_from(pid).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAINING: Probe = Probe::Answers { pid: 7, is_serving: false };

    /// The outcome of probes, one per second, each with whether the process lives.
    fn outcome(probes: &[(Probe, bool)]) -> Result<bool, DrainError> {
        let start = Instant::now();
        let mut drain = Drain { pid: 7, last: DRAINING, since: start };
        let mut outcome = Ok(false);
        for (second, (probe, is_alive)) in probes.iter().enumerate() {
            assert_eq!(outcome, Ok(false), "before probe {second}");
            let now = start + Duration::from_secs(second as u64);
            outcome = drain.is_over(*probe, *is_alive, now);
        }
        outcome
    }

    #[test]
    fn a_daemon_that_ended_has_no_socket() {
        let nothing = Probe::NoSocket;
        assert_eq!(outcome(&[(DRAINING, true); 100]), Ok(false));
        assert_eq!(outcome(&[(DRAINING, true), (nothing, true), (nothing, false)]), Ok(true));
        assert_eq!(outcome(&[(nothing, true); 30]), Ok(false), "it cleans up");
        assert_eq!(outcome(&[(nothing, true); 31]), Ok(true), "the pid means another process");
        let serving = Probe::Answers { pid: 8, is_serving: true };
        assert_eq!(outcome(&[(serving, false)]), Ok(true), "the next daemon runs already");
    }

    #[test]
    fn a_crashed_daemon_may_be_restarted() {
        let (nothing, refused) = (Probe::NoSocket, Probe::Refused);
        let restarted = Probe::Answers { pid: 8, is_serving: false };
        let crash = [(refused, false), (nothing, false), (restarted, true), (restarted, true)];
        assert_eq!(outcome(&crash), Ok(false));
        assert_eq!(outcome(&[(refused, false); 31]), Err(DrainError::Died { pid: 7 }));
    }

    #[test]
    fn a_cancelled_drain_and_a_silent_daemon_are_errors() {
        let serving = Probe::Answers { pid: 7, is_serving: true };
        assert_eq!(outcome(&[(serving, true)]), Err(DrainError::Cancelled));
        let silent = Probe::Silent;
        assert_eq!(outcome(&[(silent, true), (DRAINING, true), (silent, true)]), Ok(false));
        assert_eq!(outcome(&[(silent, true); 31]), Err(DrainError::Silent { pid: 7 }));
    }
}
