//! The control channel: JSON lines to and from Muster, without blocking.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use protocol::{CONTROL_LINE_MAX, FromGame, LineBuffer, ToGame};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send as socket_send};

use crate::limits::{COMPLAINTS_MAX, CONTROL_BYTES_PER_TURN, UNSENT_BYTES_MAX};
use crate::report::warn;

/// The game's end of the channel.
///
/// The descriptor's blocking mode is left alone: every call is non-blocking by its flags.
pub(crate) struct Control {
    stream: UnixStream,
    lines: LineBuffer,
    unsent: Vec<u8>,
    /// Muster has closed its end, or violated the contract; nothing more is read.
    hung_up: bool,
    /// Nothing that is written would be read; nothing more is written.
    is_broken: bool,
    complaints: u32,
}

impl Control {
    pub(crate) fn new(stream: UnixStream) -> Self {
        let lines = LineBuffer::new(CONTROL_LINE_MAX);
        Self { stream, lines, unsent: Vec::new(), hung_up: false, is_broken: false, complaints: 0 }
    }

    /// Whether nothing more will be read. [`Self::next_message`] may still return earlier messages.
    pub(crate) fn has_hung_up(&self) -> bool {
        self.hung_up
    }

    /// Whether there is data that the channel has not accepted yet.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads what is available, within the budget of a turn.
    pub(crate) fn read(&mut self) {
        let mut budget = CONTROL_BYTES_PER_TURN;
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

    /// The next complete message. An invalid line is reported and skipped; one that is too long ends the channel,
    /// because the beginning of the next one is unknown.
    pub(crate) fn next_message(&mut self) -> Option<ToGame> {
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) => match ToGame::parse(&line) {
                    Ok(message) => return Some(message),
                    Err(error) => self.complain(&error),
                },
                Ok(None) => return None,
                Err(too_long) => {
                    warn(format_args!("closing the control channel: {too_long}"));
                    self.lines.take_rest();
                    self.hung_up = true;
                    return None;
                }
            }
        }
    }

    /// Reports an invalid line, but only the first few.
    fn complain(&mut self, error: &serde_json::Error) {
        self.complaints = self.complaints.saturating_add(1);
        if self.complaints <= COMPLAINTS_MAX {
            warn(format_args!("ignoring an invalid control line: {error}"));
        }
    }

    /// Sends a message as far as the channel accepts it; [`Self::write`] sends the rest.
    pub(crate) fn send(&mut self, message: &FromGame) {
        if self.is_broken {
            return;
        }
        let line = message.to_line();
        debug_assert!(line.len() <= CONTROL_LINE_MAX, "{} bytes in a control line", line.len());
        if line.len() > CONTROL_LINE_MAX || self.unsent.len() + line.len() > UNSENT_BYTES_MAX {
            warn(format_args!("dropping {} bytes: the control channel is full", line.len()));
            return;
        }
        self.unsent.extend_from_slice(line.as_bytes());
        self.write();
    }

    /// Writes unsent data, as far as the channel accepts it.
    pub(crate) fn write(&mut self) {
        let mut sent = 0;
        while sent < self.unsent.len() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match socket_send(&self.stream, &self.unsent[sent..], flags) {
                Ok(length) => sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    self.is_broken = true;
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
