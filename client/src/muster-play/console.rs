//! The person at the terminal: lines typed, lines shown, Ctrl-C.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use protocol::LineBuffer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// The longest line that is looked at, in bytes.
const TYPED_MAX: usize = 256;

/// What a person types and sees. For a bot the input is not looked at.
pub(crate) struct Console {
    signals: SignalFd,
    typed: LineBuffer,
    input: Input,
    is_interrupted: bool,
    is_screen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// Nobody types here.
    Unused,
    Open,
    Ended,
}

impl Console {
    /// Takes over Ctrl-C, and the input where a person plays.
    pub(crate) fn open(is_person: bool) -> io::Result<Self> {
        let mut asked = SigSet::empty();
        asked.add(Signal::SIGINT);
        asked.add(Signal::SIGTERM);
        asked.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            signals: SignalFd::with_flags(&asked, flags)?,
            typed: LineBuffer::new(TYPED_MAX),
            input: if is_person { Input::Open } else { Input::Unused },
            is_interrupted: false,
            is_screen: is_person && stdout().is_terminal(),
        })
    }

    /// Waits until `other` is readable, a line or Ctrl-C was typed, or the time has come.
    pub(crate) fn wait(&mut self, other: BorrowedFd<'_>, until: Option<Instant>) -> io::Result<()> {
        let input = stdin();
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(other, PollFlags::IN),
        ];
        if self.input == Input::Open {
            fds.push(PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN));
        }
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        let was_typed = fds.get(2).is_some_and(|fd| !fd.revents().is_empty());
        self.is_interrupted |= matches!(self.signals.read_signal(), Ok(Some(_)));
        if was_typed { self.read() } else { Ok(()) }
    }

    /// The next line that was typed.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        match self.typed.next_line() {
            Ok(line) => line.map(|line| String::from_utf8_lossy(&line).into_owned()),
            Err(_) => {
                // Too long to be a move: one bad line, and on with the next.
                self.typed.take_rest();
                Some("a very long line".to_owned())
            }
        }
    }

    /// Whether the person wants to go: Ctrl-C, SIGTERM, or the end of the input.
    pub(crate) fn wants_out(&self) -> bool {
        self.is_interrupted || self.input == Input::Ended
    }

    /// Shows a line. Whatever comes from elsewhere must be made visible before. A reader that went away is no
    /// reason to end a match.
    pub(crate) fn say(&self, line: impl Display) {
        let _ = writeln!(stdout(), "{line}");
    }

    /// Shows a text and leaves the cursor behind it.
    pub(crate) fn prompt(&self, text: impl Display) {
        let _ = write!(stdout(), "{text}").and_then(|()| stdout().flush());
    }

    /// Begins a new picture: on a terminal in place of the old one, elsewhere below it.
    pub(crate) fn clear(&self) {
        self.prompt(if self.is_screen { "\x1b[2J\x1b[H" } else { "\n" });
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 1024];
        // Not through `Stdin`, whose buffer would hide lines from the next poll.
        match rustix::io::read(stdin(), &mut bytes[..]) {
            Ok(0) => self.input = Input::Ended,
            Ok(count) => self.typed.extend(&bytes[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal that was taken away.
            Err(Errno::IO) => self.input = Input::Ended,
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}
