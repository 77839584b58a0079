//! One connection: a request is received, a response is sent, and the connection ends.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::answer::{Answer, Status};
use super::request::{self, REQUEST_MAX, Request};

/// The time limit for receiving a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit for sending a response and for the other side to close.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The largest amount that is read and discarded after the request: closing with unread input would reset the
/// connection, and the response could be lost.
const DRAIN_BYTES_MAX: usize = 256 * 1024;

/// A connection.
pub(super) struct Conversation {
    pub(super) socket: TcpStream,
    phase: Phase,
    pub(super) deadline: Instant,
}

enum Phase {
    /// The request is being received.
    Asking { heard: Vec<u8> },
    /// The loop has been asked for its figures.
    Waiting { request: Request },
    /// The response is being sent.
    Answering { answer: Vec<u8>, sent: usize, drained: usize },
}

/// The next step for a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wait for an event.
    Wait,
    /// Answer a request.
    Answer(Request),
    /// Refuse a request.
    Refuse(Status),
    /// Close the connection.
    Close,
}

impl Conversation {
    pub(super) fn new(socket: TcpStream, now: Instant) -> Self {
        let phase = Phase::Asking { heard: Vec::new() };
        Self { socket, phase, deadline: now + REQUEST_TIMEOUT }
    }

    /// Reads and writes as much as possible.
    pub(super) fn go_on(&mut self, chunk: &mut [u8]) -> Next {
        match &mut self.phase {
            Phase::Asking { heard } => read_request(&mut self.socket, heard, chunk),
            // The client may be gone; that is noticed when the response is sent.
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

    /// Waits for the figures of the loop.
    pub(super) fn await_figures(&mut self, request: Request, now: Instant) {
        self.phase = Phase::Waiting { request };
        self.deadline = now + ANSWER_TIMEOUT;
    }

    /// The request that waits for the figures of the loop.
    pub(super) fn awaited(&self) -> Option<Request> {
        match self.phase {
            Phase::Waiting { request } => Some(request),
            Phase::Asking { .. } | Phase::Answering { .. } => None,
        }
    }

    /// Whether the response is being sent.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Answering { .. })
    }

    /// Starts to send the response.
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
            // A full buffer means that the request was too long, and was refused.
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

/// Writes as much as possible. Returns whether everything is sent; then our side is shut down.
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
