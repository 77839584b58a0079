//! A game's channels: what it says to Muster, what it is told, and what it prints.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Instant;

use bytes::{Buf as _, Bytes, BytesMut};
use matchmaker::GameId;
use mio::event::Source;
use mio::net::UnixStream;
use mio::unix::pipe;
use mio::{Interest, Registry, Token};
use protocol::{CONTROL_LINE_MAX, FromGame, LineBuffer, ToGame};
use serde_json::error::Category;

use crate::tokens;

/// What waits to be written to a game that does not read, in bytes.
const CONTROL_OUTPUT_MAX: usize = 2 * CONTROL_LINE_MAX;

/// A line of a game's output, in bytes; a longer one is cut.
const OUTPUT_LINE_MAX: usize = 1024;

/// The daemon's ends of a game's control channel and of the pipe behind its stdout and stderr.
pub(crate) struct Channels {
    control: Option<UnixStream>,
    control_lines: LineBuffer,
    control_output: BytesMut,
    output: Option<pipe::Receiver>,
    output_lines: LineBuffer,
    /// Whether what comes next is the rest of a line that was cut.
    output_is_cut: bool,
    output_rate: OutputRate,
}

/// What a game said on one of its channels.
pub(crate) enum Said {
    /// A message of the contract.
    Message(FromGame),
    /// Something that is not of the contract, described for the log.
    Garbage(String),
    /// A line of its output.
    Output(Bytes),
    /// Lines of its output that were too many for the log.
    Suppressed(u64),
}

impl Channels {
    /// Has the poll watch both. One that cannot be watched is closed: the game will not be heard, and the brain
    /// ends it when its time to say something is over.
    pub(crate) fn new(
        id: GameId,
        control: StdUnixStream,
        output: OwnedFd,
        registry: &Registry,
        lines_per_second: u32,
        now: Instant,
    ) -> Self {
        let output = || {
            let output = pipe::Receiver::from(output);
            output.set_nonblocking(true)?;
            Ok(output)
        };
        let control = || Ok(UnixStream::from_std(control));
        Self {
            control: watched(id, tokens::control(id), registry, control),
            control_lines: LineBuffer::new(CONTROL_LINE_MAX),
            control_output: BytesMut::new(),
            output: watched(id, tokens::output(id), registry, output),
            output_lines: LineBuffer::new(OUTPUT_LINE_MAX),
            output_is_cut: false,
            output_rate: OutputRate::new(lines_per_second, now),
        }
    }

    /// Reads what the game said on its control channel, its share of a turn. The flag says whether there may be
    /// more.
    pub(crate) fn read_control(&mut self, chunk: &mut [u8]) -> (Vec<Said>, bool) {
        let mut said = Vec::new();
        let Some(control) = &mut self.control else { return (said, false) };
        match control.read(chunk) {
            // The game closed its end: it plays on, and has nothing more to say.
            Ok(0) => self.control = None,
            Ok(read) => self.control_lines.extend(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (said, false),
            Err(_) => self.control = None,
        }
        loop {
            match self.control_lines.next_line() {
                Ok(None) => break,
                Ok(Some(line)) => match FromGame::parse(&line) {
                    Ok(message) => said.push(Said::Message(message)),
                    Err(error) => return self.end_of_trust(said, describe(&error, line.len())),
                },
                Err(error) => return self.end_of_trust(said, error.to_string()),
            }
        }
        (said, self.control.is_some())
    }

    /// What follows garbage is not even looked at.
    fn end_of_trust(&mut self, mut said: Vec<Said>, what: String) -> (Vec<Said>, bool) {
        self.control = None;
        said.push(Said::Garbage(what));
        (said, false)
    }

    /// Reads what the game printed, its share of a turn. The flag says whether there may be more.
    pub(crate) fn read_output(&mut self, chunk: &mut [u8], now: Instant) -> (Vec<Said>, bool) {
        let mut said = Vec::new();
        let Some(output) = &mut self.output else { return (said, false) };
        match output.read(chunk) {
            Ok(0) => self.output = None,
            Ok(read) => self.output_lines.extend(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return (said, false),
            Err(_) => self.output = None,
        }
        self.cut_output_lines(&mut said, now);
        (said, self.output.is_some())
    }

    fn cut_output_lines(&mut self, said: &mut Vec<Said>, now: Instant) {
        loop {
            let (line, is_cut) = match self.output_lines.next_line() {
                Ok(Some(line)) => (line, false),
                Ok(None) if self.output.is_none() && !self.output_lines.is_empty() => {
                    (self.output_lines.take_rest(), false)
                }
                Ok(None) => return,
                Err(_) => self.cut_long_line(),
            };
            // The rest of a line that was cut is no line.
            if std::mem::replace(&mut self.output_is_cut, is_cut) {
                continue;
            }
            let line = line.slice(..line.len().min(OUTPUT_LINE_MAX));
            match self.output_rate.take(now) {
                Ok(0) => said.push(Said::Output(line)),
                Ok(suppressed) => said.extend([Said::Suppressed(suppressed), Said::Output(line)]),
                Err(()) => {}
            }
        }
    }

    /// Takes a line that is too long: to its end, or all there is of it. The flag says that the end is to come.
    fn cut_long_line(&mut self) -> (Bytes, bool) {
        let mut line = self.output_lines.take_rest();
        let Some(end) = memchr::memchr(b'\n', &line) else { return (line, true) };
        self.output_lines.extend(&line[end + 1..]);
        line.truncate(end);
        (line, false)
    }

    /// Sends the game a message. `false`: the game does not read, or its channel is closed.
    pub(crate) fn tell(&mut self, message: &ToGame, registry: &Registry, id: GameId) -> bool {
        self.control_output.extend_from_slice(message.to_line().as_bytes());
        self.flush_control(registry, id) && self.control_output.len() <= CONTROL_OUTPUT_MAX
    }

    /// Writes what the control channel takes. `false`: the channel is closed.
    pub(crate) fn flush_control(&mut self, registry: &Registry, id: GameId) -> bool {
        while !self.control_output.is_empty() {
            let Some(control) = &mut self.control else { return false };
            match control.write(&self.control_output) {
                Ok(written) => self.control_output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    return registry.reregister(control, tokens::control(id), interest).is_ok();
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// The lines that were suppressed and not told yet, at the game's end.
    pub(crate) fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.output_rate.suppressed)
    }
}

/// Lets the poll watch a game's channel. `None`, with a word to the operator, where that fails.
fn watched<S: Source>(
    id: GameId,
    token: Token,
    registry: &Registry,
    open: impl FnOnce() -> io::Result<S>,
) -> Option<S> {
    let watch = || {
        let mut channel = open()?;
        registry.register(&mut channel, token, Interest::READABLE)?;
        Ok(channel)
    };
    let report = |error: io::Error| log::error!("cannot watch a channel of game {id}: {error}");
    watch().map_err(report).ok()
}

/// Says what is wrong with a control line, without a word of the line: it may hold a token.
fn describe(error: &serde_json::Error, length: usize) -> String {
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => {
            format!("a control line of {length} bytes is not JSON, at byte {}", error.column())
        }
        Category::Data => format!("a control line of {length} bytes is no message of the contract"),
    }
}

/// How many lines of its output a game may put into the log: as many as fit a second, each second.
struct OutputRate {
    per_second: u32,
    left: u32,
    second_began: Instant,
    suppressed: u64,
}

impl OutputRate {
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
