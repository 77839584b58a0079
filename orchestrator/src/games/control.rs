//! A game's control channel: what it says to Muster, and what it is told.

use std::io::{self, Read as _, Write as _};
use std::mem;
use std::os::fd::{AsFd as _, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use brain::GameId;
use bytes::{Buf as _, BytesMut};
use mio::net::UnixStream;
use mio::{Interest, Registry};
use protocol::{CONTROL_LINE_MAX, FromGame, LineBuffer, ToGame};
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::allowance::Allowance;
use crate::clock::Instant;
use crate::handoff::descriptors::{InheritedFds, StateError, take};
use crate::handoff::text::Text;
use crate::rest::Rest;
use crate::tokens;

/// What waits to be written to a game that does not read, in bytes.
const UNSENT_MAX: usize = 2 * CONTROL_LINE_MAX;

/// Lines that a game may say at once, and each second in the long run. A full game says two for each player, and then one
/// every few seconds. Who says more waits, as the channel is a stream.
const LINES_AT_ONCE: u32 = 4096;
const LINES_PER_SECOND: u32 = 4000;

/// The daemon's end.
pub(crate) struct Control {
    socket: Option<UnixStream>,
    lines: LineBuffer,
    allowance: Allowance,
    unsent: BytesMut,
    /// Whether the poll told that the game's end is closed.
    end_is_near: bool,
    /// Whether the next line may lack its beginning: a daemon that crashed has read that.
    is_torn: bool,
}

/// A channel as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedControl {
    socket: Option<RawFd>,
    lines: Text,
    unsent: Text,
    is_torn: bool,
}

/// What a game said.
pub(crate) enum Said {
    /// A message of the contract.
    Message(FromGame),
    /// Something that is not of the contract, described for the log.
    Garbage(String),
}

impl Control {
    /// Has the poll watch a channel. One that cannot be watched is closed, with a word to the operator: the game will
    /// not be heard, and the brain ends it when its time to say something is over.
    pub(crate) fn new(id: GameId, control: Option<StdUnixStream>, registry: &Registry) -> Self {
        let watch = |control| -> io::Result<UnixStream> {
            let mut socket = UnixStream::from_std(control);
            registry.register(&mut socket, tokens::control(id), Interest::READABLE)?;
            Ok(socket)
        };
        let report = |error: &io::Error| log::error!("cannot watch game {id}: {error}");
        Self {
            socket: control.and_then(|control| watch(control).inspect_err(report).ok()),
            lines: LineBuffer::new(CONTROL_LINE_MAX),
            allowance: Allowance::new(LINES_AT_ONCE, LINES_PER_SECOND, Instant::now()),
            unsent: BytesMut::new(),
            end_is_near: false,
            is_torn: false,
        }
    }

    /// Goes on with the channel of a daemon that crashed.
    pub(crate) fn adopt(id: GameId, control: Option<StdUnixStream>, registry: &Registry) -> Self {
        Self { is_torn: true, ..Self::new(id, control, registry) }
    }

    /// The channel, to be stored.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(|socket| socket.as_fd())
    }

    /// What is to be known of it, for the program that goes on with the channel.
    pub(crate) fn save(&self, kept: &mut InheritedFds) -> SavedControl {
        SavedControl {
            socket: self.socket.as_ref().map(|socket| kept.keep(socket)),
            lines: self.lines.as_bytes().into(),
            unsent: self.unsent[..].into(),
            is_torn: self.is_torn,
        }
    }

    /// Goes on with a channel. What is unsent goes out when the poll tells that there is room.
    ///
    /// # Errors
    /// When the channel is not there.
    pub(crate) fn restore(
        saved: SavedControl,
        id: GameId,
        registry: &Registry,
    ) -> Result<Self, StateError> {
        let take = |number| take(number, "a game's control channel");
        let socket = saved.socket.map(take).transpose()?;
        let mut control = Self::new(id, socket.map(StdUnixStream::from), registry);
        control.lines.extend(&saved.lines.0);
        control.unsent = saved.unsent.into();
        control.is_torn = saved.is_torn;
        control.flush(registry, id);
        Ok(control)
    }

    /// The poll told that the game's end is closed.
    pub(crate) fn note_end(&mut self) {
        self.end_is_near = true;
    }

    /// Reads what the game said on its control channel, its share of a turn, and no more than it may say.
    pub(crate) fn read(&mut self, chunk: &mut [u8], now: Instant) -> (Vec<Said>, Rest) {
        let mut said = Vec::new();
        // What was left the last time. The channel's end may be near, and behind it.
        if let Some(due) = self.understand(&mut said, Some(now)) {
            return (said, Rest::Later(due));
        }
        let (more, rest) = self.read_on(chunk, Some(now));
        said.extend(more);
        (said, rest)
    }

    /// Reads what a game has left in its channel, its share of a turn: that much it may have said.
    pub(crate) fn read_last(&mut self, chunk: &mut [u8]) -> (Vec<Said>, Rest) {
        let mut said = Vec::new();
        self.understand(&mut said, None);
        let (more, rest) = self.read_on(chunk, None);
        said.extend(more);
        (said, rest)
    }

    fn read_on(&mut self, chunk: &mut [u8], now: Option<Instant>) -> (Vec<Said>, Rest) {
        let mut said = Vec::new();
        let Some(socket) = &mut self.socket else { return (said, Rest::Nothing) };
        let mut rest = Rest::More;
        match socket.read(chunk) {
            // The game closed its end: it plays on, and has nothing more to say.
            Ok(0) => self.socket = None,
            Ok(read) => {
                self.lines.extend(&chunk[..read]);
                rest = Rest::after(read, chunk.len(), self.end_is_near);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return (said, Rest::Nothing);
            }
            Err(_) => self.socket = None,
        }
        if let Some(due) = self.understand(&mut said, now) {
            return (said, Rest::Later(due));
        }
        (said, if self.socket.is_some() { rest } else { Rest::Nothing })
    }

    /// Takes the lines that were read, as many as may be said now. Gives when the next one may.
    fn understand(&mut self, said: &mut Vec<Said>, now: Option<Instant>) -> Option<Instant> {
        loop {
            if let Some(due) = now.and_then(|now| self.allowance.wait(now)) {
                return Some(due);
            }
            let line = match self.lines.next_line() {
                Ok(None) => return None,
                Ok(Some(line)) => line,
                Err(error) => {
                    self.end_of_trust(said, error.to_string());
                    return None;
                }
            };
            if let Some(now) = now {
                self.allowance.take(1, now);
            }
            match (FromGame::parse(&line), mem::take(&mut self.is_torn)) {
                (Ok(message), _) => said.push(Said::Message(message)),
                (Err(_), true) => {}
                (Err(error), false) => {
                    self.end_of_trust(said, describe(&error, line.len()));
                    return None;
                }
            }
        }
    }

    /// What follows garbage is not even looked at.
    fn end_of_trust(&mut self, said: &mut Vec<Said>, what: String) {
        self.socket = None;
        self.lines = LineBuffer::new(CONTROL_LINE_MAX);
        said.push(Said::Garbage(what));
    }

    /// Sends the game a message. `false`: the game does not read, or its channel is closed.
    pub(crate) fn tell(&mut self, message: &ToGame, registry: &Registry, id: GameId) -> bool {
        self.unsent.extend_from_slice(message.to_line().as_bytes());
        self.flush(registry, id) && self.unsent.len() <= UNSENT_MAX
    }

    /// Writes what the control channel takes. `false`: the channel is closed.
    pub(crate) fn flush(&mut self, registry: &Registry, id: GameId) -> bool {
        while !self.unsent.is_empty() {
            let Some(socket) = &mut self.socket else { return false };
            match socket.write(&self.unsent) {
                Ok(written) => self.unsent.advance(written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    return registry.reregister(socket, tokens::control(id), interest).is_ok();
                }
                Err(_) => return false,
            }
        }
        true
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a full game has to say at once is heard at once.
    #[test]
    fn who_says_too_much_is_heard_later() {
        let registry = mio::Poll::new().unwrap();
        let (ours, mut its) = StdUnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut control = Control::new(GameId(1), Some(ours), registry.registry());
        let messages = b"{\"type\":\"started\"}\n".repeat(64);
        let now = Instant::now();
        let mut heard = 0;
        let due = loop {
            its.write_all(&messages).unwrap();
            let (said, rest) = control.read(&mut [0; 4096], now);
            heard += said.len();
            if let Rest::Later(due) = rest {
                break due;
            }
        };
        assert_eq!(heard, LINES_AT_ONCE as usize + 1);
        assert!(control.read(&mut [0; 4096], now).0.is_empty());
        assert!(!control.read(&mut [0; 4096], due).0.is_empty());
        drop(its);
        // What is left of a game that has ended is no flood.
        let mut left = 0;
        loop {
            let (said, rest) = control.read_last(&mut [0; 4096]);
            left += said.len();
            if rest == Rest::Nothing {
                break;
            }
        }
        assert!(left > 0);
    }

    /// What was read and not understood when a daemon crashed is gone.
    #[test]
    fn the_first_line_after_a_crash_may_lack_its_beginning() {
        let registry = mio::Poll::new().unwrap();
        let read = |adopt: fn(GameId, Option<StdUnixStream>, &Registry) -> Control| {
            let (ours, mut its) = StdUnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            its.write_all(b"ady\"}\n{\"type\":\"started\"}\nnonsense\n").unwrap();
            let mut control = adopt(GameId(1), Some(ours), registry.registry());
            let (said, _) = control.read(&mut [0; 256], Instant::now());
            let is_message = |said: &Said| matches!(said, Said::Message(FromGame::Started));
            said.iter().map(is_message).collect::<Vec<_>>()
        };
        assert_eq!(read(Control::adopt), [true, false], "once");
        assert_eq!(read(Control::new), [false]);
    }
}
