//! SIGTERM and SIGINT as a descriptor to poll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that ask a game to end. They are blocked in the calling thread and read from a descriptor, so that
/// they never interrupt a game. See signalfd(2).
pub(crate) struct Signals(SignalFd);

impl Signals {
    pub(crate) fn take() -> io::Result<Self> {
        let mut asked = SigSet::empty();
        asked.add(Signal::SIGTERM);
        asked.add(Signal::SIGINT);
        asked.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&asked, flags)?))
    }

    /// Whether one of them has arrived since the last call.
    pub(crate) fn came(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
