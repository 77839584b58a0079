//! The terminal: typed lines or keys, shown lines or pictures, Ctrl-C.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use crate::limits::TYPED_MAX;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use protocol::LineBuffer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr,
};

/// The input and output of a person. A bot's input is not read.
pub(crate) struct Console {
    signals: SignalFd,
    typed: LineBuffer,
    input: Input,
    is_interrupted: bool,
    is_screen: bool,
    /// The terminal's settings before keys were read one by one.
    before: Option<Termios>,
    /// Whether a picture is shown on the alternate screen.
    is_pictured: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// There is no person.
    Unused,
    Open,
    Ended,
}

impl Console {
    /// Handles Ctrl-C, and the input of a person.
    pub(crate) fn open(is_person: bool) -> io::Result<Self> {
        let mut asked = SigSet::empty();
        asked.add(Signal::SIGINT);
        asked.add(Signal::SIGTERM);
        // The terminal's settings are also restored if it is closed, and after Ctrl-\.
        asked.add(Signal::SIGHUP);
        asked.add(Signal::SIGQUIT);
        asked.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self {
            signals: SignalFd::with_flags(&asked, flags)?,
            typed: LineBuffer::new(TYPED_MAX),
            input: if is_person { Input::Open } else { Input::Unused },
            is_interrupted: false,
            is_screen: is_person && stdout().is_terminal(),
            before: None,
            is_pictured: false,
        })
    }

    /// Reads single keys and uses the whole screen, if there are a keyboard and a screen. Dropping the console restores
    /// both.
    pub(crate) fn take_keys_and_screen(&mut self) -> io::Result<()> {
        if self.input == Input::Open && isatty(stdin()) && self.before.is_none() {
            let before = tcgetattr(stdin())?;
            let mut keys = before.clone();
            // Ctrl-C stays a signal. Ctrl-Z would leave the shell with a terminal without echo.
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            keys.special_codes[SpecialCodeIndex::VSUSP] = 0;
            keys.special_codes[SpecialCodeIndex::VMIN] = 1;
            keys.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(stdin(), OptionalActions::Now, &keys)?;
            self.before = Some(before);
        }
        if self.is_screen {
            // The alternate screen, without a cursor: the old content reappears afterwards.
            self.prompt("\x1b[?1049h\x1b[?25l");
            self.is_pictured = true;
        }
        Ok(())
    }

    /// Restores the keyboard and the screen.
    pub(crate) fn give_back(&mut self) {
        if std::mem::take(&mut self.is_pictured) {
            self.prompt("\x1b[?25h\x1b[?1049l");
        }
        if let Some(before) = self.before.take() {
            // A closed terminal needs no restoring.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        }
    }

    /// Waits until `other` is readable, a line or Ctrl-C was typed, or `deadline` has passed.
    pub(crate) fn wait<'a>(
        &mut self,
        other: impl Into<Option<BorrowedFd<'a>>>,
        until: Option<Instant>,
    ) -> io::Result<()> {
        let input = stdin();
        let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN)];
        fds.extend(other.into().map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
        let is_open = self.input == Input::Open;
        if is_open {
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
        let was_typed = is_open && fds.last().is_some_and(|fd| !fd.revents().is_empty());
        self.is_interrupted |= matches!(self.signals.read_signal(), Ok(Some(_)));
        if was_typed { self.read() } else { Ok(()) }
    }

    /// The next typed line.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        match self.typed.next_line() {
            Ok(line) => line.map(|line| String::from_utf8_lossy(&line).into_owned()),
            Err(_) => {
                // Too long for a move: it counts as one invalid line.
                self.typed.take_rest();
                Some("a very long line".to_owned())
            }
        }
    }

    /// The typed bytes, for games that read keys.
    pub(crate) fn typed_bytes(&mut self) -> Vec<u8> {
        self.typed.take_rest().to_vec()
    }

    /// Requests to leave, by a key.
    pub(crate) fn want_out(&mut self) {
        self.is_interrupted = true;
    }

    /// Whether pictures can be shown.
    pub(crate) fn has_screen(&self) -> bool {
        self.is_screen
    }

    /// Whether the person wants to leave: Ctrl-C, SIGTERM, or the end of the input.
    pub(crate) fn wants_out(&self) -> bool {
        self.is_interrupted || self.input == Input::Ended
    }

    /// Shows a line. Untrusted text must be escaped before. Errors are ignored, as a match does not depend on its
    /// reader.
    pub(crate) fn say(&self, line: impl Display) {
        let _ = writeln!(stdout(), "{line}");
    }

    /// Shows a text and leaves the cursor after it.
    pub(crate) fn prompt(&self, text: impl Display) {
        let _ = write!(stdout(), "{text}").and_then(|()| stdout().flush());
    }

    /// Starts a new picture: on a terminal it replaces the old one, elsewhere it follows it.
    pub(crate) fn clear(&self) {
        self.prompt(if self.is_screen { "\x1b[2J\x1b[H" } else { "\n" });
    }

    /// Shows a picture of several lines in place of the last one, without flicker.
    pub(crate) fn picture(&self, lines: &str) {
        self.prompt(format_args!("\x1b[H{}\x1b[K\x1b[J", lines.replace('\n', "\x1b[K\n")));
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 1024];
        // Not through `Stdin`, whose buffer would hide lines from the next poll.
        match rustix::io::read(stdin(), &mut bytes[..]) {
            Ok(0) => self.input = Input::Ended,
            Ok(count) => self.typed.extend(&bytes[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The terminal was closed.
            Err(Errno::IO) => self.input = Input::Ended,
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.give_back();
    }
}
