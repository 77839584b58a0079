//! Signals as input of the loop.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals that Muster handles. They interrupt nothing: they wait until the loop reads them.
pub struct Signals {
    descriptor: SignalFd,
}

impl Signals {
    /// Blocks the handled signals, and unblocks all others, whatever was inherited. Must come before the first thread
    /// is started: threads inherit the mask.
    ///
    /// # Errors
    /// When the kernel refuses; there is no descriptor left, for example.
    pub fn take_over() -> io::Result<Self> {
        let handled =
            [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGCHLD];
        let set = SigSet::from_iter(handled);
        // At once: a signal that is pending for a daemon that was replaced in place would end the new one.
        set.thread_set_mask()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self { descriptor: SignalFd::with_flags(&set, flags)? })
    }

    /// The next pending signal.
    pub fn next(&self) -> Option<Signal> {
        loop {
            match self.descriptor.read_signal() {
                Ok(Some(info)) => {
                    let number = i32::try_from(info.ssi_signo).unwrap_or_default();
                    if let Ok(signal) = Signal::try_from(number) {
                        return Some(signal);
                    }
                }
                Err(nix::errno::Errno::EINTR) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl std::os::fd::AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl std::os::fd::AsRawFd for Signals {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsFd::as_fd(&self.descriptor).as_raw_fd()
    }
}
