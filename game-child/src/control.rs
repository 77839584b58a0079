//! The control channel: JSON lines to and from Muster, without ever blocking on them.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use protocol::{CONTROL_LINE_MAX, FromGame, LineBuffer, ToGame};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::report::warn;

/// How much is read in one turn, so that a busy channel cannot keep the game from its players.
const READ_MAX: usize = 64 * 1024;

/// The most bytes that wait to be written: everything a game ever says of the largest match, and more. A channel
/// that is this far behind has nobody at its other end who reads.
const UNSENT_MAX: usize = 1024 * 1024;

/// How many bad lines are reported.
const COMPLAINTS_MAX: u32 = 5;

/// The game's end of the channel.
///
/// The descriptor's own blocking mode is left alone: every call says for itself that it must not block.
pub(crate) struct Control {
    stream: UnixStream,
    lines: LineBuffer,
    unsent: Vec<u8>,
    /// Muster's side is gone, or beyond trust; nothing more is read.
    hung_up: bool,
    /// Nobody will read what is written; nothing more is.
    deaf: bool,
    complaints: u32,
}

impl Control {
    pub(crate) fn new(stream: UnixStream) -> Self {
        let lines = LineBuffer::new(CONTROL_LINE_MAX);
        Self { stream, lines, unsent: Vec::new(), hung_up: false, deaf: false, complaints: 0 }
    }

    /// Whether nothing will come any more. What came before may still wait in [`Self::next_message`].
    pub(crate) fn has_hung_up(&self) -> bool {
        self.hung_up
    }

    /// Whether something waits for the channel to take it.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads what is there, within the budget of a turn.
    pub(crate) fn read(&mut self) {
        let mut budget = READ_MAX;
        let mut bytes = [0; 4096];
        while budget > 0 && !self.hung_up {
            match recv(&self.stream, &mut bytes[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => self.hung_up = true,
                Ok((length, _)) => {
                    self.lines.extend(&bytes[..length]);
                    budget = budget.saturating_sub(length);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(_) => self.hung_up = true,
            }
        }
    }

    /// The next message that has arrived whole. A line that is no message is reported and skipped; one that is
    /// too long ends the channel, because nobody knows where the next one begins.
    pub(crate) fn next_message(&mut self) -> Option<ToGame> {
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) => match ToGame::parse(&line) {
                    Ok(message) => return Some(message),
                    Err(error) => self.complain(&error),
                },
                Ok(None) => return None,
                Err(too_long) => {
                    warn(format_args!("the control channel is given up: {too_long}"));
                    self.lines.take_rest();
                    self.hung_up = true;
                    return None;
                }
            }
        }
    }

    /// Reports a line that is no message; a stream of them is not worth a stream of reports.
    fn complain(&mut self, error: &serde_json::Error) {
        self.complaints = self.complaints.saturating_add(1);
        if self.complaints <= COMPLAINTS_MAX {
            warn(format_args!("a control line that is no message is ignored: {error}"));
        }
    }

    /// Says something, as far as the channel takes it; the rest waits for [`Self::write`].
    pub(crate) fn say(&mut self, message: &FromGame) {
        if self.deaf {
            return;
        }
        let line = message.to_line();
        debug_assert!(line.len() <= CONTROL_LINE_MAX, "{} bytes in a control line", line.len());
        if line.len() > CONTROL_LINE_MAX || self.unsent.len() + line.len() > UNSENT_MAX {
            warn(format_args!("{} bytes do not fit the control channel", line.len()));
            return;
        }
        self.unsent.extend_from_slice(line.as_bytes());
        self.write();
    }

    /// Writes what waits, as far as the channel takes it.
    pub(crate) fn write(&mut self) {
        let mut sent = 0;
        while sent < self.unsent.len() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.stream, &self.unsent[sent..], flags) {
                Ok(length) => sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.deaf = true;
                    sent = self.unsent.len();
                }
            }
        }
        self.unsent.drain(..sent);
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
