//! Waiting until a daemon that drains has ended: judged by who answers in its place, and by its process.
//!
//! A daemon that ends in good order removes the name of its admin socket; one that crashed or handed over leaves it
//! behind, and whoever keeps it starts another, which drains on.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Failure;
use crate::admin::ask::{AskError, Daemon};

/// How often it is looked.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// How long a daemon may be silent that is there, or may take to come back after a crash.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a daemon looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It answers.
    Answers { pid: u32, is_serving: bool },
    /// There is no socket.
    Nothing,
    /// Nobody listens at its socket any more.
    Deserted,
    /// Somebody is there, and says nothing.
    Silence,
}

/// What is known of the daemon that drains.
struct Drain {
    pid: u32,
    /// What it looked like the last time, and since when.
    last: Look,
    since: Instant,
}

/// Waits until the daemon at this socket has ended, which drains and has this pid.
///
/// # Errors
/// When it takes players in again, and when it died or stands still.
pub(super) fn wait(path: &Path, pid: u32) -> Result<(), Failure> {
    let mut process = process(pid);
    let last = Look::Answers { pid, is_serving: false };
    let mut drain = Drain { pid, last, since: Instant::now() };
    loop {
        let look = look(path)?;
        let is_alive = process.as_ref().is_some_and(is_alive);
        if drain.is_over(look, is_alive, Instant::now()).map_err(Failure::Operate)? {
            return Ok(());
        }
        // Another one drains on: it has come back after a crash.
        if let Look::Answers { pid, is_serving: false } = look
            && pid != drain.pid
        {
            process = self::process(pid);
            drain.pid = pid;
        }
        std::thread::sleep(LOOK_PERIOD);
    }
}

impl Drain {
    /// Whether it is, by what is seen now.
    ///
    /// # Errors
    /// What has come between.
    fn is_over(&mut self, look: Look, is_alive: bool, now: Instant) -> Result<bool, String> {
        let was = self.last;
        if was != look {
            (self.last, self.since) = (look, now);
        }
        let is_long = now.saturating_duration_since(self.since) >= PATIENCE;
        let (pid, patience) = (self.pid, PATIENCE.as_secs());
        match look {
            Look::Answers { pid: other, is_serving } if other != pid => {
                Ok(is_serving && (!is_alive || is_long))
            }
            Look::Answers { is_serving: true, .. } => Err("the drain was taken back".to_owned()),
            Look::Answers { .. } => Ok(false),
            // One that comes back has no socket for a moment; a pid may be another machine's.
            Look::Nothing => Ok(was == look && !is_alive || is_long),
            Look::Deserted if is_long => Err(format!(
                "Muster died before its drain was over, pid {pid}, and for {patience} seconds nobody has come back in \
                 its place; its games play on"
            )),
            Look::Silence if is_long => Err(format!(
                "Muster has not answered for {patience} seconds, pid {pid}; whether its drain is over is not known"
            )),
            Look::Deserted | Look::Silence => Ok(false),
        }
    }
}

/// # Errors
/// When the socket cannot be used.
fn look(path: &Path) -> Result<Look, Failure> {
    match Daemon::at(path).and_then(|mut daemon| daemon.status()) {
        Ok(status) => Ok(Look::Answers { pid: status.pid, is_serving: status.serving }),
        Err(AskError::Talk { .. }) => Ok(Look::Silence),
        Err(AskError::Connect { path, source }) => match source.kind() {
            ErrorKind::NotFound => Ok(Look::Nothing),
            ErrorKind::ConnectionRefused => Ok(Look::Deserted),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok(Look::Silence),
            _ => Err(AskError::Connect { path, source }.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// What a pid means, whoever has that number later. `None`: nobody has it.
fn process(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

fn is_alive(process: &OwnedFd) -> bool {
    let now = Timespec::default();
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)) == Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAINING: Look = Look::Answers { pid: 7, is_serving: false };

    /// What comes of looks, each a second after the one before, with whether the process is there.
    fn outcome(looks: &[(Look, bool)]) -> Result<bool, String> {
        let start = Instant::now();
        let mut drain = Drain { pid: 7, last: DRAINING, since: start };
        let mut outcome = Ok(false);
        for (second, (look, is_alive)) in looks.iter().enumerate() {
            assert_eq!(outcome, Ok(false), "before look {second}");
            let now = start + Duration::from_secs(second as u64);
            outcome = drain.is_over(*look, *is_alive, now);
        }
        outcome
    }

    #[test]
    fn one_that_has_ended_is_gone_with_its_socket() {
        let nothing = Look::Nothing;
        assert_eq!(outcome(&[(DRAINING, true); 100]), Ok(false));
        assert_eq!(outcome(&[(DRAINING, true), (nothing, true), (nothing, false)]), Ok(true));
        assert_eq!(outcome(&[(nothing, true); 30]), Ok(false), "it tidies up");
        assert_eq!(outcome(&[(nothing, true); 31]), Ok(true), "the pid means another process");
        let serving = Look::Answers { pid: 8, is_serving: true };
        assert_eq!(outcome(&[(serving, false)]), Ok(true), "another one is there already");
    }

    #[test]
    fn one_that_crashed_may_come_back() {
        let (nothing, deserted) = (Look::Nothing, Look::Deserted);
        let back = Look::Answers { pid: 8, is_serving: false };
        let crash = [(deserted, false), (nothing, false), (back, true), (back, true)];
        assert_eq!(outcome(&crash), Ok(false));
        let error = outcome(&[(deserted, false); 31]).unwrap_err();
        assert!(error.contains("died before its drain was over, pid 7"), "{error}");
    }

    #[test]
    fn one_that_serves_or_is_silent_is_told_of() {
        let serving = Look::Answers { pid: 7, is_serving: true };
        assert_eq!(outcome(&[(serving, true)]).unwrap_err(), "the drain was taken back");
        let silence = Look::Silence;
        assert_eq!(outcome(&[(silence, true), (DRAINING, true), (silence, true)]), Ok(false));
        let error = outcome(&[(silence, true); 31]).unwrap_err();
        assert!(error.contains("has not answered for 30 seconds, pid 7"), "{error}");
    }
}
