//! One client: its socket, its buffers, and how its connection begins and ends.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown};

use brain::Account;
use bytes::{Buf as _, Bytes, BytesMut};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use protocol::proxy::{BadHeader, Header};
use protocol::{CLIENT_LINE_MAX, LineBuffer, LineTooLong, Reply};
use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::config::Limits;
use crate::handoff::descriptors::is_default;
use crate::handoff::text::Text;
use crate::players::account::account_of;
use crate::rest::Rest;

/// How much is read at a time. The buffer is one for all clients and games, so that who is silent owns none.
pub(crate) const READ_CHUNK: usize = 16 * 1024;

/// What a client may still send after its last line; more than this is not read, and the close may then cost
/// it that line.
const DRAIN_BYTES_MAX: usize = 256 * 1024;

/// The bad line that ends the conversation.
const BAD_LINES_MAX: u8 = 10;

/// A connection with a client.
pub(crate) struct Connection {
    stream: TcpStream,
    /// The player's: what a proxy said, where one is to say it.
    address: IpAddr,
    announcement: Announcement,
    phase: Phase,
    input: LineBuffer,
    output: BytesMut,
    /// Whether the socket may hold bytes that were not read; edges come once.
    readable: bool,
    /// Whether the poll told that the end of what the other side says is there, behind whatever it said.
    end_is_near: bool,
    /// Whether the poll tells when the socket can be written again.
    awaits_writable: bool,
    /// Whether there is more to do here as soon as the output is empty.
    wants_turn: bool,
    bad_lines: u8,
    /// Whether this is a client beyond the bounds, kept only to be told so.
    refused: bool,
    lines: LineRate,
    times: Times,
    traffic: Traffic,
}

/// Bytes that came and went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) received: usize,
    pub(crate) sent: usize,
}

/// How far the conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Nothing was said yet.
    Silent,
    /// Lines come and go.
    Talking,
    /// The last line is in the output buffer; what still comes in is thrown away.
    Closing { drained: usize },
    /// The last line is out and our side is shut down; the client's end is awaited.
    Draining { drained: usize },
}

/// What a proxy has said of whose connection it is, before the first line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Announcement {
    /// All, or there is no proxy.
    #[default]
    Done,
    /// Not enough; what was said is in the input.
    Awaited,
    /// Whose it is; so many bytes of the header are still to come, which do not matter.
    Skipped { left: usize },
}

/// Since when things are as they are.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Times {
    /// The connection, or the last whole line.
    quiet_since: Instant,
    /// The unfinished line.
    #[serde(skip_serializing_if = "Option::is_none")]
    line_since: Option<Instant>,
    /// The output that does not get out.
    #[serde(skip_serializing_if = "Option::is_none")]
    stuck_since: Option<Instant>,
    /// The last line.
    #[serde(skip_serializing_if = "Option::is_none")]
    closing_since: Option<Instant>,
}

/// A client as it is written down, without its socket. Most are as quiet as can be, and there are many.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedConnection {
    address: IpAddr,
    #[serde(default, skip_serializing_if = "is_default")]
    announcement: Announcement,
    phase: Phase,
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    input: Text,
    #[serde(default, skip_serializing_if = "Text::is_empty")]
    output: Text,
    #[serde(default, skip_serializing_if = "is_default")]
    wants_turn: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    bad_lines: u8,
    #[serde(default, skip_serializing_if = "is_default")]
    refused: bool,
    lines: LineRate,
    times: Times,
}

/// What a client wants of the server next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A proxy said whose connection it is; `None`: its own.
    Announced(Option<IpAddr>),
    /// A proxy was to say whose connection it is, and said something else.
    BadHeader(BadHeader),
    /// A line came.
    Line(Bytes),
    /// A line is too long.
    LineTooLong,
    /// Lines come too fast.
    TooFast,
    /// The client closed its side, or is gone.
    Gone,
    /// Nothing, until the poll says otherwise.
    Idle,
}

/// Why a client's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// It said nothing.
    Silent,
    /// It did not finish a line.
    HalfLine,
    /// It is not queued and says nothing more.
    Idle,
    /// It does not read, or does not close: there is nothing to be told.
    Unreachable,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        address: IpAddr,
        is_proxy: bool,
        refused: bool,
        limits: &Limits,
        now: Instant,
    ) -> Self {
        Self {
            stream,
            address,
            announcement: if is_proxy { Announcement::Awaited } else { Announcement::Done },
            phase: Phase::Silent,
            input: LineBuffer::new(CLIENT_LINE_MAX),
            output: BytesMut::new(),
            // It may have said something before it was let in.
            readable: true,
            end_is_near: false,
            awaits_writable: false,
            wants_turn: false,
            bad_lines: 0,
            refused,
            lines: LineRate { left: limits.lines_burst, filled_at: now },
            times: Times {
                quiet_since: now,
                line_since: None,
                stuck_since: None,
                closing_since: None,
            },
            traffic: Traffic::default(),
        }
    }

    /// The bytes that came and went since they were last asked for.
    pub(crate) fn take_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.stream, token, Interest::READABLE)
    }

    /// What is to be known of it, for the program that goes on with its socket.
    pub(crate) fn save(&self) -> SavedConnection {
        SavedConnection {
            address: self.address,
            announcement: self.announcement,
            phase: self.phase,
            input: self.input.as_bytes().into(),
            output: self.output[..].into(),
            wants_turn: self.wants_turn,
            bad_lines: self.bad_lines,
            refused: self.refused,
            lines: self.lines,
            times: self.times,
        }
    }

    /// Goes on with a client. What its socket holds is told by the poll when it is watched.
    pub(crate) fn restore(saved: SavedConnection, stream: TcpStream) -> Self {
        let mut input = LineBuffer::new(CLIENT_LINE_MAX);
        input.extend(&saved.input.0);
        Self {
            stream,
            address: saved.address,
            announcement: saved.announcement,
            phase: saved.phase,
            input,
            output: saved.output.into(),
            readable: true,
            end_is_near: false,
            awaits_writable: false,
            wants_turn: saved.wants_turn,
            bad_lines: saved.bad_lines,
            refused: saved.refused,
            lines: saved.lines,
            times: saved.times,
            traffic: Traffic::default(),
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Whether something is still to be written.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Whom it is charged to what this client uses.
    pub(crate) fn account(&self) -> Account {
        account_of(self.address)
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether a proxy has still to say whose connection it is.
    pub(crate) fn is_unannounced(&self) -> bool {
        self.announcement == Announcement::Awaited
    }

    /// Whose connection it is, by a proxy's word; and whether it is only told that there are too many.
    pub(crate) fn set_announced(&mut self, address: IpAddr, refused: bool) {
        (self.address, self.refused) = (address, refused);
    }

    /// Whether the last line was said.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. } | Phase::Draining { .. })
    }

    // ---- Reading ----

    /// The poll said that there is something to read, or that the other side is gone.
    pub(crate) fn set_readable(&mut self, end_is_near: bool) {
        self.readable = true;
        self.end_is_near |= end_is_near;
    }

    /// Reads once, and takes note whether there may be more.
    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        let result = self.stream.read(chunk);
        match &result {
            Ok(read) => {
                self.traffic.received += read;
                self.readable = Rest::after(*read, chunk.len(), self.end_is_near) == Rest::More;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(_) => {}
        }
        result
    }

    /// Works on what the client sent until there is something for the server to do. `chunk` is scratch space
    /// that all clients share, so that a silent one owns no buffer.
    pub(crate) fn next_step(&mut self, chunk: &mut [u8], limits: &Limits, now: Instant) -> Step {
        loop {
            if self.is_closing() {
                return self.drain(chunk);
            }
            // Answers that are not read stop the questions; what is buffered stays bounded by that.
            if self.output.len() > limits.write_buffer / 2 {
                self.wants_turn = true;
                return Step::Idle;
            }
            if self.is_unannounced() {
                match Header::read(self.input.as_bytes()) {
                    Ok(Some(header)) => {
                        self.skip(header.length);
                        return Step::Announced(header.source);
                    }
                    Ok(None) => {}
                    Err(problem) => return Step::BadHeader(problem),
                }
            }
            match self.next_line() {
                Ok(Some(_)) if !self.lines.take(limits, now) => return Step::TooFast,
                Ok(Some(line)) => {
                    self.times.line_since = None;
                    if !line.is_empty() {
                        self.phase = Phase::Talking;
                        self.times.quiet_since = now;
                    }
                    return Step::Line(line);
                }
                Ok(None) if self.input.is_empty() || self.is_unannounced() => {}
                Ok(None) => drop(self.times.line_since.get_or_insert(now)),
                Err(_) => return Step::LineTooLong,
            }
            if !self.readable {
                return Step::Idle;
            }
            match self.read(chunk) {
                Ok(0) => return Step::Gone,
                Ok(read) => self.take_in(&chunk[..read]),
                Err(error) if is_passing(&error) => {}
                Err(_) => return Step::Gone,
            }
        }
    }

    /// The next line, once it is the player who speaks.
    fn next_line(&mut self) -> Result<Option<Bytes>, LineTooLong> {
        if self.is_unannounced() { Ok(None) } else { self.input.next_line() }
    }

    /// Takes in what was read, but for what is left of a proxy's header.
    fn take_in(&mut self, read: &[u8]) {
        let mut said = read;
        if let Announcement::Skipped { left } = self.announcement {
            let skipped = left.min(read.len());
            said = &read[skipped..];
            self.announcement = match left - skipped {
                0 => Announcement::Done,
                left => Announcement::Skipped { left },
            };
        }
        self.input.extend(said);
    }

    /// Leaves the header out of what was said, whose end may not be there yet.
    fn skip(&mut self, header: usize) {
        let said = self.input.take_rest();
        self.announcement = Announcement::Skipped { left: header };
        self.take_in(&said);
    }

    /// Whether the client is to be served once more without a word from the poll: it was held back until its
    /// answers were out, and now they are; or its last line is out, and the rest of its input has to be read.
    pub(crate) fn take_wants_turn(&mut self) -> bool {
        self.output.is_empty() && std::mem::take(&mut self.wants_turn)
    }

    /// Reads what comes after the last line, to the end or to the bound. A close with unread input would make
    /// the kernel send a reset, and the client could lose the line.
    fn drain(&mut self, chunk: &mut [u8]) -> Step {
        loop {
            let (Phase::Closing { drained } | Phase::Draining { drained }) = self.phase else {
                return Step::Idle;
            };
            if drained > DRAIN_BYTES_MAX {
                return Step::Gone;
            }
            if !self.readable {
                return Step::Idle;
            }
            match self.read(chunk) {
                Ok(0) if self.output.is_empty() => return Step::Gone,
                // The client shut down its side and still reads: the last line first.
                Ok(0) => self.readable = false,
                Ok(read) => self.note_drained(read),
                Err(error) if is_passing(&error) => {}
                Err(_) => return Step::Gone,
            }
        }
    }

    fn note_drained(&mut self, read: usize) {
        if let Phase::Closing { drained } | Phase::Draining { drained } = &mut self.phase {
            *drained += read;
        }
    }

    /// The client waits for nothing any more, by no word of its own: its time to say more begins.
    pub(crate) fn begin_idle(&mut self, now: Instant) {
        self.times.quiet_since = now;
    }

    /// Counts a bad line; whether it was the one too many.
    pub(crate) fn note_bad_line(&mut self) -> bool {
        self.bad_lines = self.bad_lines.saturating_add(1);
        self.bad_lines >= BAD_LINES_MAX
    }

    // ---- Writing ----

    /// Puts a line into the output buffer. Whether there was room; a client without room is to be dropped.
    pub(crate) fn say(&mut self, reply: &Reply, limits: &Limits) -> bool {
        use std::fmt::Write as _;
        if self.is_closing() {
            return true;
        }
        let written = writeln!(self.output, "{reply}");
        written.is_ok() && self.output.len() <= limits.write_buffer
    }

    /// Makes what is in the output buffer the last line of this connection.
    pub(crate) fn close_after_output(&mut self, now: Instant) {
        if !self.is_closing() {
            self.phase = Phase::Closing { drained: 0 };
            self.times.closing_since = Some(now);
            let _ = self.input.take_rest();
        }
    }

    /// Writes what the socket takes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(crate) fn flush(
        &mut self,
        registry: &Registry,
        token: Token,
        now: Instant,
    ) -> io::Result<()> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.output.advance(written);
                    self.traffic.sent += written;
                    self.times.stuck_since = Some(now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.times.stuck_since.get_or_insert(now);
                    if !std::mem::replace(&mut self.awaits_writable, true) {
                        let interest = Interest::READABLE | Interest::WRITABLE;
                        registry.reregister(&mut self.stream, token, interest)?;
                    }
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output = BytesMut::new();
        self.times.stuck_since = None;
        if let Phase::Closing { drained } = self.phase {
            self.phase = Phase::Draining { drained };
            // An end of which the poll told already makes no edge any more; the drain has to look for itself.
            self.readable |= self.end_is_near;
            self.wants_turn |= self.readable;
            return self.stream.shutdown(Shutdown::Write);
        }
        Ok(())
    }

    // ---- Time ----

    /// The next time to run out, and what is overdue then. `is_queued`: the server knows what the client waits
    /// for, and it may be silent.
    pub(crate) fn deadline(&self, limits: &Limits, is_queued: bool) -> Option<(Instant, Overdue)> {
        let times = &self.times;
        if let Some(since) = times.closing_since {
            return Some((since + limits.close_timeout, Overdue::Unreachable));
        }
        let quiet = match self.phase {
            Phase::Silent => Some((times.quiet_since + limits.handshake_timeout, Overdue::Silent)),
            _ if is_queued => None,
            _ => Some((times.quiet_since + limits.idle_timeout, Overdue::Idle)),
        };
        let line = times.line_since.map(|since| (since + limits.line_timeout, Overdue::HalfLine));
        let stuck = times.stuck_since;
        let stuck = stuck.map(|since| (since + limits.write_timeout, Overdue::Unreachable));
        [stuck, quiet, line].into_iter().flatten().min_by_key(|&(at, _)| at)
    }
}

/// Whether a read that failed tells nothing of the connection.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A bucket of lines that a client may send, filled at a steady rate.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct LineRate {
    left: u32,
    filled_at: Instant,
}

impl LineRate {
    fn take(&mut self, limits: &Limits, now: Instant) -> bool {
        let elapsed_ms = now.saturating_duration_since(self.filled_at).as_millis();
        let earned = elapsed_ms.saturating_mul(limits.lines_per_second.into()) / 1000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(limits.lines_burst);
            self.filled_at = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }
}
