//! A TCP connection to Muster.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use protocol::{Reply, Request, ResumeKey, Visible};
use rustix::event::PollFlags;

use crate::limits::FLUSH_MAX;
use crate::waiting::{deadline_after, wait};
use crate::{Assignment, ClientError, Conversation};

/// A position in a queue, from `QUEUED`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The queue.
    pub queue: String,
    /// The player's position, from 1.
    pub position: usize,
    /// The number of players that a match needs.
    pub needed: usize,
    /// The session's resume key.
    pub resume: String,
}

impl Place {
    /// The position in a reply, if it has one.
    pub fn of(reply: Reply) -> Option<Self> {
        let Reply::Queued { queue, position, needed, resume } = reply else { return None };
        Some(Self { queue, position, needed, resume })
    }
}

/// A TCP connection to Muster. Every call that waits has a limit; the socket itself never blocks.
#[derive(Debug)]
pub struct Lobby {
    stream: TcpStream,
    conversation: Conversation,
    queues: Vec<String>,
}

impl Lobby {
    /// Connects, and waits for Muster's greeting.
    ///
    /// # Errors
    /// [`ClientError::Connect`] if the connection fails; [`ClientError::Refused`] if Muster accepts no players; and
    /// those of [`next_reply`](Self::next_reply).
    pub fn connect(address: &str, limit: Duration) -> Result<Self, ClientError> {
        let deadline = deadline_after(limit);
        let mut lobby = Self::open(address, limit)?;
        let reply = lobby.reply_before(deadline, limit, "greeting")?;
        let Reply::Muster { queues, .. } = reply else { return Err(lobby.refusal(&reply)) };
        lobby.queues = queues;
        Ok(lobby)
    }

    /// Connects without waiting for the greeting.
    ///
    /// # Errors
    /// [`ClientError::Connect`] if the connection fails.
    pub fn open(address: &str, limit: Duration) -> Result<Self, ClientError> {
        let failed =
            |source| ClientError::Connect { address: Visible(address).to_string(), source };
        let mut last = io::Error::new(ErrorKind::NotFound, "the name has no address");
        for candidate in address.to_socket_addrs().map_err(failed)? {
            // A time-out of zero would be an error.
            match TcpStream::connect_timeout(&candidate, limit.max(Duration::from_millis(1))) {
                Ok(stream) => {
                    stream.set_nonblocking(true).map_err(failed)?;
                    stream.set_nodelay(true).map_err(failed)?;
                    let conversation = Conversation::new(Visible(address).to_string());
                    return Ok(Self { stream, conversation, queues: Vec::new() });
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// The queues in the greeting; the first one is the default.
    pub fn queues(&self) -> &[String] {
        &self.queues
    }

    /// Sends a request.
    ///
    /// # Errors
    /// [`ClientError::Io`] if the connection is broken, or accepts no data for ten seconds.
    pub fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        self.conversation.say(request);
        self.flush()
    }

    /// Sends arbitrary bytes, such as invalid requests.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.conversation.say_raw(bytes);
        self.flush()
    }

    /// The next reply of any kind.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] if none arrives in time, [`ClientError::HungUp`] after the end of the stream, and
    /// [`ClientError::BadLine`] or [`ClientError::LongLine`] if the line is not a valid reply.
    pub fn next_reply(&mut self, limit: Duration) -> Result<Reply, ClientError> {
        self.reply_before(deadline_after(limit), limit, "reply")
    }

    /// The next reply that has arrived; never waits.
    ///
    /// # Errors
    /// As [`next_reply`](Self::next_reply).
    pub fn poll_reply(&mut self) -> Result<Option<Reply>, ClientError> {
        if let Some(reply) = self.conversation.poll_reply()? {
            return Ok(Some(reply));
        }
        self.receive()?;
        self.conversation.poll_reply()
    }

    /// Joins a queue, the default one for `None`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if Muster refuses the request, and those of [`next_reply`](Self::next_reply).
    pub fn join(
        &mut self,
        queue: Option<&str>,
        name: Option<&str>,
        limit: Duration,
    ) -> Result<Place, ClientError> {
        let deadline = deadline_after(limit);
        let (queue, name) = (queue.map(Into::into), name.map(Into::into));
        self.send(&Request::Ready { queue, name, skill: None, resume: None })?;
        loop {
            let reply = self.reply_before(deadline, limit, "place in a queue")?;
            if matches!(reply, Reply::Error { .. } | Reply::Bye { .. }) {
                return Err(self.refusal(&reply));
            }
            if let Some(place) = Place::of(reply) {
                return Ok(place);
            }
        }
    }

    /// Resumes a session by its key. The reply is the session's state: a position ([`Place::of`]), an assignment
    /// ([`Assignment::of`]), or another notice.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub fn resume(&mut self, key: &str, limit: Duration) -> Result<Reply, ClientError> {
        let resume = Some(key.parse().map_or(ResumeKey::Malformed, ResumeKey::Key));
        self.send(&Request::Ready { queue: None, name: None, skill: None, resume })?;
        let reply = self.next_reply(limit)?;
        if matches!(reply, Reply::Error { .. } | Reply::Bye { .. }) {
            return Err(self.refusal(&reply));
        }
        Ok(reply)
    }

    /// Waits for the assignment; accepts a match that is offered meanwhile.
    ///
    /// # Errors
    /// [`ClientError::Refused`] and [`ClientError::Ended`] if there will be none, and those of
    /// [`next_reply`](Self::next_reply).
    pub fn assignment(&mut self, limit: Duration) -> Result<Assignment, ClientError> {
        let deadline = deadline_after(limit);
        loop {
            let reply = self.reply_before(deadline, limit, "assignment")?;
            if let Some(assignment) = self.handle_waiting(reply)? {
                return Ok(assignment);
            }
        }
    }

    /// Handles a reply for a waiting player: returns the assignment, or `None` if the player keeps waiting. An offered
    /// match is accepted.
    ///
    /// # Errors
    /// [`ClientError::Refused`] and [`ClientError::Ended`] if there will be no assignment.
    pub fn handle_waiting(&mut self, reply: Reply) -> Result<Option<Assignment>, ClientError> {
        match reply {
            Reply::Assign { .. } => Ok(Assignment::of(reply)),
            Reply::Error { .. } | Reply::Bye { .. } | Reply::Left | Reply::Evicted { .. } => {
                Err(self.refusal(&reply))
            }
            Reply::Expired { round, rounds, .. } if round >= rounds => Err(self.refusal(&reply)),
            Reply::Found { .. } => {
                self.send(&Request::Accept)?;
                Ok(None)
            }
            Reply::Muster { .. }
            | Reply::Queued { .. }
            | Reply::Pong(_)
            | Reply::Status { .. }
            | Reply::Help(_)
            | Reply::Requeued { .. }
            | Reply::Accepted { .. }
            | Reply::Expired { .. }
            | Reply::Party { .. }
            | Reply::Waiting { .. }
            | Reply::Other(_) => Ok(None),
        }
    }

    /// Sends `QUIT` and waits until Muster has closed the connection, so that the player has left for certain.
    ///
    /// # Errors
    /// Those of [`next_reply`](Self::next_reply), except the end of the connection.
    pub fn quit(&mut self, limit: Duration) -> Result<(), ClientError> {
        self.send(&Request::Quit)?;
        let deadline = deadline_after(limit);
        loop {
            match self.reply_before(deadline, limit, "goodbye") {
                Ok(_) | Err(ClientError::BadLine { .. }) => {}
                Err(ClientError::HungUp { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The address of Muster.
    pub fn address(&self) -> &str {
        self.conversation.address()
    }

    /// The socket, for tests that misuse it.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn refusal(&self, reply: &Reply) -> ClientError {
        let address = self.address().to_owned();
        if let Reply::Error { number, text, .. } = reply {
            return ClientError::Refused {
                address,
                number: *number,
                text: Visible(text).to_string(),
            };
        }
        ClientError::Ended { address, reason: Visible(&reply.to_string()).to_string() }
    }

    fn reply_before(
        &mut self,
        deadline: Instant,
        limit: Duration,
        what: &'static str,
    ) -> Result<Reply, ClientError> {
        loop {
            if let Some(reply) = self.poll_reply()? {
                return Ok(reply);
            }
            if Instant::now() >= deadline {
                let address = self.address().to_owned();
                return Err(ClientError::TimedOut { what, address, limit });
            }
            let waited = wait(&self.stream, PollFlags::IN, deadline);
            waited.map_err(|source| self.io("wait for", source))?;
        }
    }

    fn receive(&mut self) -> Result<(), ClientError> {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    self.conversation.handle_end();
                    return Ok(());
                }
                Ok(count) => {
                    self.conversation.handle_bytes(&bytes[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.io("read from", error)),
            }
        }
    }

    fn flush(&mut self) -> Result<(), ClientError> {
        let deadline = deadline_after(FLUSH_MAX);
        while !self.conversation.unsent().is_empty() {
            match self.stream.write(self.conversation.unsent()) {
                Ok(count) => self.conversation.handle_sent(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        return Err(self.io("write to", ErrorKind::TimedOut.into()));
                    }
                    let waited = wait(&self.stream, PollFlags::OUT, deadline);
                    waited.map_err(|source| self.io("wait for", source))?;
                }
                Err(error) => return Err(self.io("write to", error)),
            }
        }
        Ok(())
    }

    fn io(&self, what: &'static str, source: io::Error) -> ClientError {
        ClientError::Io { what, address: self.address().to_owned(), source }
    }
}

impl AsFd for Lobby {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
