//! One connection: a request comes in, an answer goes out, and the connection ends.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::answer::{Answer, Status};
use super::request::{self, REQUEST_MAX, Request};

/// How long a request may take to come in.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take to go out, and the other side to close.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What is read and thrown away after the request: a close with unread input would make the kernel send a reset, and the
/// answer could be lost.
const DRAIN_BYTES_MAX: usize = 256 * 1024;

/// A connection.
pub(super) struct Conversation {
    pub(super) socket: TcpStream,
    phase: Phase,
    pub(super) deadline: Instant,
}

enum Phase {
    /// The request is coming in.
    Asking { heard: Vec<u8> },
    /// The loop was asked.
    Waiting { request: Request },
    /// The answer goes out.
    Answering { answer: Vec<u8>, sent: usize, drained: usize },
}

/// What is to be done about a connection now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for more of it.
    Wait,
    /// Answer a request.
    Answer(Request),
    /// Answer something that cannot be served.
    Refuse(Status),
    /// Forget it.
    Close,
}

impl Conversation {
    pub(super) fn new(socket: TcpStream, now: Instant) -> Self {
        let phase = Phase::Asking { heard: Vec::new() };
        Self { socket, phase, deadline: now + REQUEST_TIMEOUT }
    }

    /// Reads and writes what the socket gives and takes.
    pub(super) fn go_on(&mut self, chunk: &mut [u8]) -> Next {
        match &mut self.phase {
            Phase::Asking { heard } => read_request(&mut self.socket, heard, chunk),
            // Whoever waits may be gone; that shows when the answer goes out.
            Phase::Waiting { .. } => Next::Wait,
            Phase::Answering { answer, sent, drained } => {
                match write_rest(&mut self.socket, answer, sent) {
                    Ok(true) => drain(&mut self.socket, drained, chunk),
                    Ok(false) => Next::Wait,
                    Err(_) => Next::Close,
                }
            }
        }
    }

    /// The request needs an answer of the loop.
    pub(super) fn await_figures(&mut self, request: Request, now: Instant) {
        self.phase = Phase::Waiting { request };
        self.deadline = now + ANSWER_TIMEOUT;
    }

    /// What waits for an answer of the loop.
    pub(super) fn awaited(&self) -> Option<Request> {
        match self.phase {
            Phase::Waiting { request } => Some(request),
            Phase::Asking { .. } | Phase::Answering { .. } => None,
        }
    }

    /// Whether the answer goes out already.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Answering { .. })
    }

    /// Gives the answer.
    pub(super) fn answer(&mut self, answer: Answer, is_head: bool, now: Instant) {
        let answer = answer.into_bytes(is_head);
        self.phase = Phase::Answering { answer, sent: 0, drained: 0 };
        self.deadline = now + ANSWER_TIMEOUT;
    }
}

fn read_request(socket: &mut TcpStream, heard: &mut Vec<u8>, chunk: &mut [u8]) -> Next {
    loop {
        let room = (REQUEST_MAX - heard.len()).min(chunk.len());
        match socket.read(&mut chunk[..room]) {
            // With no room left the request is too long, and was refused.
            Ok(0) => return Next::Close,
            Ok(read) => heard.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Wait,
            Err(_) => return Next::Close,
        }
        match request::parse(heard) {
            Ok(None) => {}
            Ok(Some(request)) => return Next::Answer(request),
            Err(status) => return Next::Refuse(status),
        }
    }
}

/// Writes what the socket takes. Whether all of it is out; then our side is shut down.
fn write_rest(socket: &mut TcpStream, answer: &[u8], sent: &mut usize) -> io::Result<bool> {
    while *sent < answer.len() {
        match socket.write(&answer[*sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => *sent += written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        if *sent == answer.len() {
            socket.shutdown(Shutdown::Write)?;
        }
    }
    Ok(true)
}

/// Reads until the other side has closed, too.
fn drain(socket: &mut TcpStream, drained: &mut usize, chunk: &mut [u8]) -> Next {
    loop {
        match socket.read(chunk) {
            Ok(0) => return Next::Close,
            Ok(read) => *drained += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Wait,
            Err(_) => return Next::Close,
        }
        if *drained > DRAIN_BYTES_MAX {
            return Next::Close;
        }
    }
}
