//! A process by a descriptor, which always means that one process: its number may mean another one as soon as it is
//! reaped. Signals are sent to such descriptors only.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::time::Duration;

use libc::{c_int, c_uint};

/// `PIDFD_SIGNAL_PROCESS_GROUP` of `linux/pidfd.h`, from Linux 6.9.
const SIGNAL_PROCESS_GROUP: c_uint = 1 << 2;

/// A process, even when its number has been given to another one; pidfd_open(2).
#[derive(Debug)]
pub struct Pidfd {
    descriptor: OwnedFd,
    pid: i32,
}

impl Pidfd {
    /// Opens the process that has a number now. If the number comes from a list, check the process after this and
    /// before a signal: it may be another one by now.
    ///
    /// # Errors
    /// When there is no such process ([`is_gone`]), or no descriptor is left.
    pub fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: pidfd_open(2) takes two numbers and returns a new descriptor, "close-on-exec flag set".
        let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let Some(descriptor) = i32::try_from(descriptor).ok().filter(|it| *it >= 0) else {
            return Err(io::Error::last_os_error());
        };
        // SAFETY: the call above returned it, and it has no other owner.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { descriptor, pid })
    }

    /// A pidfd that another program opened for the process with this number.
    #[must_use]
    pub fn from_parts(descriptor: OwnedFd, pid: i32) -> Self {
        Self { descriptor, pid }
    }

    /// The number that the process has, or had.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends the process a signal. `false`: it was reaped already. A zombie counts as reached.
    ///
    /// # Errors
    /// When the kernel does not permit it, or the signal does not exist.
    pub fn signal(&self, signal: c_int) -> io::Result<bool> {
        reached(self.send(signal, 0))
    }

    /// Sends a signal to the whole process group that this process leads, or led: also when it has ended. `false`:
    /// the group is empty.
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] before Linux 6.9, which takes a group's number only. When the kernel does not
    /// permit it, or the signal does not exist.
    pub fn signal_group(&self, signal: c_int) -> io::Result<bool> {
        match self.send(signal, SIGNAL_PROCESS_GROUP) {
            // pidfd_send_signal(2): "flags is not valid"; or the signal does not exist.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            sent => reached(sent),
        }
    }

    /// As [`signal_group`](Self::signal_group), for a child of this process. Before Linux 6.9 the group is
    /// signalled by its number as long as the child is not reaped, because until then no other process can have
    /// that number. So only the thread that reaps the child may call this.
    ///
    /// # Errors
    /// As for [`signal_group`](Self::signal_group), before Linux 6.9 only for a child that was reaped.
    pub fn signal_group_of_child(&self, signal: c_int) -> io::Result<bool> {
        match self.signal_group(signal) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.signal_group_by_number(signal)
            }
            sent => sent,
        }
    }

    fn signal_group_by_number(&self, signal: c_int) -> io::Result<bool> {
        if !self.signal(0)? {
            return Err(io::ErrorKind::Unsupported.into());
        }
        if self.pid <= 1 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: kill(2) takes two numbers. The leader exists, alive or as a zombie, so no other process has its
        // number; the caller is the one who would reap it.
        match unsafe { libc::kill(-self.pid, signal) } {
            0 => Ok(true),
            _ => reached(Err(io::Error::last_os_error())),
        }
    }

    fn send(&self, signal: c_int, flags: c_uint) -> io::Result<()> {
        let nothing = std::ptr::null::<libc::siginfo_t>();
        let descriptor = self.descriptor.as_raw_fd();
        // SAFETY: pidfd_send_signal(2): "If the info argument is a NULL pointer, this is equivalent to specifying a
        // pointer to a siginfo_t buffer whose fields match [..] kill(2)"; the rest are numbers.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, descriptor, signal, nothing, flags)
        };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Whether the process has not ended. A zombie has.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.wait(Some(Duration::ZERO)), Ok(false))
    }

    /// Waits until the process ends, forever with `None`, without reaping it. Returns whether it has ended.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let due = timeout.map(|timeout| std::time::Instant::now() + timeout);
        loop {
            let left = due.map(|due| due.saturating_duration_since(std::time::Instant::now()));
            // Rounded up, to not return early.
            let milliseconds = left.map_or(-1, |left| {
                i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
            });
            let mut its_end =
                libc::pollfd { fd: self.descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: poll(2) reads and writes one structure, which lives until it returns.
            match unsafe { libc::poll(&raw mut its_end, 1, milliseconds) } {
                0 if left.is_some_and(|left| !left.is_zero()) => {}
                0 => return Ok(false),
                1.. => return Ok(true),
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error),
                },
            }
        }
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl From<Pidfd> for OwnedFd {
    fn from(process: Pidfd) -> Self {
        process.descriptor
    }
}

/// Whether an error says that the process does not exist (any more).
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

fn reached(sent: io::Result<()>) -> io::Result<bool> {
    match sent {
        Ok(()) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::{Child, Command};

    use super::*;

    fn sleeper(script: &str) -> (Child, Pidfd) {
        let child = Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().unwrap();
        let process = Pidfd::open(i32::try_from(child.id()).unwrap()).unwrap();
        (child, process)
    }

    #[test]
    fn a_signal_reaches_the_process_until_it_is_reaped() {
        let (mut child, process) = sleeper("exec sleep 60");
        assert!(process.is_alive());
        assert!(!process.wait(Some(Duration::from_millis(20))).unwrap());
        assert!(process.signal(libc::SIGTERM).unwrap());
        assert!(process.wait(Some(Duration::from_secs(30))).unwrap());
        assert!(!process.is_alive());
        assert!(process.signal(libc::SIGTERM).unwrap(), "dead, and not reaped");
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert!(!process.signal(libc::SIGTERM).unwrap(), "gone");
        assert!(process.wait(None).unwrap());
        assert!(is_gone(&Pidfd::open(process.pid()).unwrap_err()));
        assert!(Pidfd::open(-1).is_err());
    }

    #[test]
    fn a_signal_to_a_group_reaches_its_members() {
        for is_by_number in [false, true] {
            // Both end by the signal, and the pipe says when both have.
            let (mut child, process) = sleeper("sleep 60 & wait");
            let send = |signal| match is_by_number {
                true => process.signal_group_by_number(signal),
                false => process.signal_group(signal),
            };
            assert!(send(libc::SIGKILL).unwrap());
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
            // The helper is reaped by another process, and may exist for a moment.
            let after = send(libc::SIGKILL);
            match is_by_number {
                true => assert_eq!(after.unwrap_err().kind(), io::ErrorKind::Unsupported),
                false => drop(after.unwrap()),
            }
        }
    }
}
