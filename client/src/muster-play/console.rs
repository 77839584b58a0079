//! The person at the terminal: lines or keys typed, lines or pictures shown, Ctrl-C.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use protocol::LineBuffer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcsetattr,
};

/// The longest line that is looked at, in bytes.
const TYPED_MAX: usize = 256;

/// What a person types and sees. For a bot the input is not looked at.
pub(crate) struct Console {
    signals: SignalFd,
    typed: LineBuffer,
    input: Input,
    is_interrupted: bool,
    is_screen: bool,
    /// How the terminal was before its keys were taken.
    before: Option<Termios>,
    /// A picture stands on a screen of its own.
    is_pictured: bool,
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
        // A terminal that went away, and Ctrl-\: also to these the terminal is given back as it was.
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

    /// Takes each key as it is pressed, and the whole screen, where there are a keyboard and a screen. Dropping the
    /// console gives both back, too.
    pub(crate) fn take_keys_and_screen(&mut self) -> io::Result<()> {
        if self.input == Input::Open && isatty(stdin()) && self.before.is_none() {
            let before = tcgetattr(stdin())?;
            let mut keys = before.clone();
            // Ctrl-C stays a signal. Ctrl-Z would leave the shell with a terminal that shows nothing typed.
            keys.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            keys.special_codes[SpecialCodeIndex::VSUSP] = 0;
            keys.special_codes[SpecialCodeIndex::VMIN] = 1;
            keys.special_codes[SpecialCodeIndex::VTIME] = 0;
            tcsetattr(stdin(), OptionalActions::Now, &keys)?;
            self.before = Some(before);
        }
        if self.is_screen {
            // Another screen, without a cursor: what was on the old one is there again afterwards.
            self.prompt("\x1b[?1049h\x1b[?25l");
            self.is_pictured = true;
        }
        Ok(())
    }

    /// Gives keys and screen back as they were.
    pub(crate) fn give_back(&mut self) {
        if std::mem::take(&mut self.is_pictured) {
            self.prompt("\x1b[?25h\x1b[?1049l");
        }
        if let Some(before) = self.before.take() {
            // A terminal that is gone needs nothing back.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        }
    }

    /// Waits until `other` is readable, a line or Ctrl-C was typed, or the time has come.
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

    /// What was typed, byte by byte, for who takes keys.
    pub(crate) fn typed_bytes(&mut self) -> Vec<u8> {
        self.typed.take_rest().to_vec()
    }

    /// The person wants to go, and has said so with a key.
    pub(crate) fn want_out(&mut self) {
        self.is_interrupted = true;
    }

    /// Whether pictures can be shown.
    pub(crate) fn has_screen(&self) -> bool {
        self.is_screen
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

    /// Shows a picture of several lines in place of the last one, and nothing in between that would flicker.
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
            // A terminal that was taken away.
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
