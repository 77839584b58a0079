//! The output of a game or a template: split into lines, whose length and number are limited. Until a game has started,
//! its output is also checked as a terminal would show it; see [`Screen`].

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};

use bytes::Bytes;
use mio::unix::pipe;
use mio::{Interest, Registry, Token};
use protocol::LineBuffer;
use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use crate::allowance::Allowance;
use crate::clock::Instant;
use crate::games::screen::{PAUSE, Screen};
use crate::handoff::descriptors::{InheritedFds, StateError, take};
use crate::handoff::text::Text;
use crate::rest::Rest;

/// A line of a game's output, in bytes; a longer one is cut.
const OUTPUT_LINE_MAX: usize = 1024;

/// The number of bytes that a game may print at once, and per second in the long run, which is far more than the log
/// accepts. A game that prints more is blocked.
const BYTES_AT_ONCE: u32 = 16 * 1024 * 1024;
const BYTES_PER_SECOND: u32 = 16 * 1024 * 1024;

/// The daemon's end of the pipe behind stdout and stderr.
pub(crate) struct Output {
    pipe: Option<pipe::Receiver>,
    lines: LineBuffer,
    /// Whether what comes next is the rest of a line that was cut.
    is_cut: bool,
    rate: Rate,
    /// How much is read. `None`: all of it.
    allowance: Option<Allowance>,
    /// Whether the poll reported that all writers have closed the pipe.
    end_is_near: bool,
    /// Of a game that has not started.
    screen: Option<Screen>,
    /// Whether the screen has shown the line that is looked for.
    has_found: bool,
    /// When a line that is not finished is looked at, unless there is more before.
    pause_at: Option<Instant>,
}

/// The saved state of a pipe.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedOutput {
    pipe: Option<RawFd>,
    lines: Text,
    is_cut: bool,
    rate: Rate,
    screen: Option<Screen>,
}

/// A line of output, or the report that lines were suppressed.
pub(crate) enum Printed {
    /// A line.
    Line(Bytes),
    /// Lines that were too many for the log.
    Suppressed(u64),
}

impl Output {
    /// Registers a pipe with the poll. If that fails, it is closed, with an error in the log.
    pub(crate) fn new(
        output: Option<OwnedFd>,
        token: Token,
        registry: &Registry,
        lines_per_second: u32,
        now: Instant,
    ) -> Self {
        let watch = |output: OwnedFd| -> io::Result<pipe::Receiver> {
            let mut output = pipe::Receiver::from(output);
            output.set_nonblocking(true)?;
            registry.register(&mut output, token, Interest::READABLE)?;
            Ok(output)
        };
        let report = |error: &io::Error| log::error!("cannot watch what a game prints: {error}");
        Self {
            pipe: output.and_then(|output| watch(output).inspect_err(report).ok()),
            lines: LineBuffer::new(OUTPUT_LINE_MAX),
            is_cut: false,
            rate: Rate::new(lines_per_second, now),
            allowance: None,
            end_is_near: false,
            screen: None,
            has_found: false,
            pause_at: None,
        }
    }

    /// Looks at what is printed from here on.
    #[must_use]
    pub(crate) fn on_screen(self) -> Self {
        Self { screen: Some(Screen::default()), ..self }
    }

    /// Reads no more than a game may print.
    #[must_use]
    pub(crate) fn bounded(self, now: Instant) -> Self {
        let allowance = Allowance::new(BYTES_AT_ONCE, BYTES_PER_SECOND, now);
        Self { allowance: Some(allowance), ..self }
    }

    /// The pipe, to be stored.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.as_fd())
    }

    /// The state for the program that takes over the pipe.
    pub(crate) fn save(&self, kept: &mut InheritedFds) -> SavedOutput {
        SavedOutput {
            pipe: self.pipe.as_ref().map(|pipe| kept.keep(pipe)),
            lines: self.lines.as_bytes().into(),
            is_cut: self.is_cut,
            rate: self.rate,
            screen: self.screen.clone(),
        }
    }

    /// Takes over a pipe.
    ///
    /// # Errors
    /// When the descriptor is missing.
    pub(crate) fn restore(
        saved: &SavedOutput,
        token: Token,
        registry: &Registry,
    ) -> Result<Self, StateError> {
        let take = |number| take(number, "what a game prints");
        let pipe = saved.pipe.map(take).transpose()?;
        let mut output = Self::new(pipe, token, registry, 0, Instant::now());
        output.lines.extend(&saved.lines.0);
        (output.is_cut, output.rate) = (saved.is_cut, saved.rate);
        output.screen = saved.screen.clone();
        output.await_pause(Instant::now());
        Ok(output)
    }

    /// Notes that all writers have closed the pipe.
    pub(crate) fn note_end(&mut self) {
        self.end_is_near = true;
    }

    /// Reads what was printed, its share of a turn, and looks on the screen for a line that matches `wanted`.
    pub(crate) fn read(
        &mut self,
        chunk: &mut [u8],
        now: Instant,
        wanted: Option<&Regex>,
    ) -> (Vec<Printed>, Rest) {
        let mut printed = Vec::new();
        let Some(pipe) = &mut self.pipe else { return (printed, Rest::Nothing) };
        // What is left at the end is little.
        let due = self.allowance.filter(|_| !self.end_is_near).and_then(|it| it.wait(now));
        if let Some(due) = due {
            return (printed, Rest::Later(due));
        }
        let mut rest = Rest::More;
        match pipe.read(chunk) {
            Ok(0) => {
                self.pipe = None;
                self.note_pause(wanted);
            }
            Ok(read) => {
                self.lines.extend(&chunk[..read]);
                if let Some(allowance) = &mut self.allowance {
                    allowance.take(u32::try_from(read).unwrap_or(u32::MAX), now);
                }
                rest = Rest::after(read, chunk.len(), self.end_is_near);
                if let Some(screen) = &mut self.screen {
                    self.has_found |= screen.print(&chunk[..read], wanted);
                }
                self.await_pause(now);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return (printed, Rest::Nothing);
            }
            Err(_) => self.pipe = None,
        }
        self.cut_lines(&mut printed, now);
        (printed, if self.pipe.is_some() { rest } else { Rest::Nothing })
    }

    fn await_pause(&mut self, now: Instant) {
        let is_unfinished = self.screen.as_ref().is_some_and(Screen::is_unfinished);
        self.pause_at = is_unfinished.then(|| now + PAUSE);
    }

    /// When to call [`note_pause`](Self::note_pause), if nothing is printed before.
    pub(crate) fn pause_at(&self) -> Option<Instant> {
        self.pause_at
    }

    /// Nothing was printed for a while: looks at the line that is not finished.
    pub(crate) fn note_pause(&mut self, wanted: Option<&Regex>) {
        self.pause_at = None;
        if let Some(screen) = &mut self.screen {
            self.has_found |= screen.pause(wanted);
        }
    }

    /// Whether the line that was looked for was found; once.
    pub(crate) fn take_found(&mut self) -> bool {
        std::mem::take(&mut self.has_found)
    }

    /// Whether what is printed is looked at.
    pub(crate) fn is_on_screen(&self) -> bool {
        self.screen.is_some()
    }

    /// The game has started: what it prints is for the log alone from here on.
    pub(crate) fn leave_screen(&mut self) {
        (self.screen, self.pause_at) = (None, None);
    }

    /// The last lines of a game that has not started.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.screen.as_ref().map_or_else(Vec::new, Screen::last_lines)
    }

    /// Whether there may be more to come, now or later.
    pub(crate) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    fn cut_lines(&mut self, printed: &mut Vec<Printed>, now: Instant) {
        loop {
            let (line, is_cut) = match self.lines.next_line() {
                Ok(Some(line)) => (line, false),
                Ok(None) if self.pipe.is_none() && !self.lines.is_empty() => {
                    (self.lines.take_rest(), false)
                }
                Ok(None) => return,
                Err(_) => self.cut_long_line(),
            };
            // The rest of a line that was cut is no line.
            if std::mem::replace(&mut self.is_cut, is_cut) {
                continue;
            }
            let line = line.slice(..line.len().min(OUTPUT_LINE_MAX));
            match self.rate.take(now) {
                Ok(0) => printed.push(Printed::Line(line)),
                Ok(suppressed) => {
                    printed.extend([Printed::Suppressed(suppressed), Printed::Line(line)]);
                }
                Err(()) => {}
            }
        }
    }

    /// Takes a line that is too long: to its end, or all there is of it. The flag says that the end is to come.
    fn cut_long_line(&mut self) -> (Bytes, bool) {
        let mut line = self.lines.take_rest();
        let Some(end) = memchr::memchr(b'\n', &line) else { return (line, true) };
        self.lines.extend(&line[end + 1..]);
        line.truncate(end);
        (line, false)
    }

    /// The number of suppressed lines that have not been reported, at the end.
    pub(crate) fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.rate.suppressed)
    }
}

/// How many lines of its output a game may put into the log: as many as fit a second, each second.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Rate {
    per_second: u32,
    left: u32,
    second_began: Instant,
    suppressed: u64,
}

impl Rate {
    fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, left: per_second, second_began: now, suppressed: 0 }
    }

    /// Takes room for a line; with it comes how many went without before.
    fn take(&mut self, now: Instant) -> Result<u64, ()> {
        if now.saturating_duration_since(self.second_began).as_secs() >= 1 {
            (self.left, self.second_began) = (self.per_second, now);
        }
        if self.left == 0 {
            self.suppressed += 1;
            return Err(());
        }
        self.left -= 1;
        Ok(std::mem::take(&mut self.suppressed))
    }
}
