//! A machine with a UDP socket.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use protocol::Visible;
use protocol::datagram::DATAGRAM_MAX;
use protocol::netcode::TRANSPORT as NETCODE;
use rustix::event::PollFlags;

use crate::waiting::{deadline_after, wait};
use crate::{Assignment, ClientError, Closed, Link, LinkEvent, Machine};

/// The number of datagrams that are read before the machine's deadlines are handled.
const DATAGRAMS_PER_TURN: usize = 64;

/// A player's socket for a game, and the machine that uses it.
///
/// Either call [`next_event`](Self::next_event), which waits; or wait for the descriptor and for
/// [`next_deadline`](Self::next_deadline) together with other events, and call [`turn`](Self::turn).
#[derive(Debug)]
pub struct GameSocket<M = Link> {
    socket: UdpSocket,
    address: String,
    began: Instant,
    machine: M,
}

impl<M: Machine> GameSocket<M> {
    /// Opens a socket for the game of an assignment. Nothing is sent before the first turn.
    ///
    /// # Errors
    /// [`ClientError::Transport`] if the game uses another transport than `plain` and `netcode`;
    /// [`ClientError::Connect`] if its host has no address.
    pub fn open(assignment: &Assignment, machine: M) -> Result<Self, ClientError> {
        let address = Visible(&assignment.address()).to_string();
        if !["plain", NETCODE].contains(&assignment.transport.as_str()) {
            let transport = Visible(&assignment.transport).to_string();
            return Err(ClientError::Transport { address, transport });
        }
        let connected = connect(&assignment.address());
        let socket = connected
            .map_err(|source| ClientError::Connect { address: address.clone(), source })?;
        Ok(Self { socket, address, began: Instant::now(), machine })
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Calls `act` with the machine and the time, and sends the resulting datagrams.
    pub fn with<T>(&mut self, act: impl FnOnce(&mut M, Duration) -> T) -> T {
        let done = act(&mut self.machine, self.began.elapsed());
        self.send();
        done
    }

    /// Replaces the machine by one made from it, with the same socket.
    pub fn map<N>(self, change: impl FnOnce(M) -> N) -> GameSocket<N> {
        let Self { socket, address, began, machine } = self;
        GameSocket { socket, address, began, machine: change(machine) }
    }

    /// Receives, handles deadlines and sends; never waits.
    ///
    /// # Errors
    /// [`ClientError::Io`] if the socket is broken.
    pub fn turn(&mut self) -> Result<(), ClientError> {
        self.receive()?;
        let now = self.began.elapsed();
        if self.machine.next_deadline().is_some_and(|at| now >= at) {
            self.machine.handle_timeout(now);
        }
        self.send();
        Ok(())
    }

    /// The next event that has occurred.
    pub fn poll_event(&mut self) -> Option<M::Event> {
        self.machine.poll_event()
    }

    /// When the next turn is due, if nothing arrives before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.machine.next_deadline().map(|at| self.began + at)
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] if there was none in time, [`ClientError::Game`] if the link has ended.
    pub fn next_event(&mut self, limit: Duration) -> Result<M::Event, ClientError> {
        let deadline = deadline_after(limit);
        loop {
            self.turn()?;
            if let Some(event) = self.machine.poll_event() {
                return Ok(event);
            }
            if let Some(closed) = self.machine.closed() {
                return Err(ClientError::Game { address: self.address.clone(), closed });
            }
            if Instant::now() >= deadline {
                return Err(self.timed_out("event", limit));
            }
            let until = self.next_deadline().map_or(deadline, |due| due.min(deadline));
            wait(&self.socket, PollFlags::IN, until)
                .map_err(|source| self.io("wait for", source))?;
        }
    }

    /// Leaves the game, and waits until it has answered or is gone. Events that arrive meanwhile are dropped.
    ///
    /// # Errors
    /// Those of [`next_event`](Self::next_event), except the end of the link.
    pub fn bye(&mut self, limit: Duration) -> Result<(), ClientError> {
        self.with(|machine, now| machine.leave(now));
        let deadline = deadline_after(limit);
        loop {
            match self.next_event(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(ClientError::Game { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The reason why the link ended, once it has.
    pub fn closed(&self) -> Option<Closed> {
        self.machine.closed()
    }

    /// The game's address, to be shown.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The socket, for tests that misuse it.
    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    fn receive(&mut self) -> Result<(), ClientError> {
        let mut bytes = [0; DATAGRAM_MAX + 1];
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.socket.recv(&mut bytes) {
                Ok(length) if length <= DATAGRAM_MAX => {
                    self.machine.handle_datagram(self.began.elapsed(), &bytes[..length]);
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_refusal(&error) => {
                    self.machine.handle_refused(self.began.elapsed());
                }
                Err(error) => return Err(self.io("receive from", error)),
            }
        }
        Ok(())
    }

    /// Sends the machine's datagrams. A datagram that cannot be sent now is lost, as it could be on the network; but an
    /// error may be the kernel's report about an earlier one.
    fn send(&mut self) {
        while let Some(datagram) = self.machine.poll_transmit() {
            match self.socket.send(&datagram) {
                Err(error) if is_refusal(&error) => {
                    self.machine.handle_refused(self.began.elapsed());
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn timed_out(&self, what: &'static str, limit: Duration) -> ClientError {
        ClientError::TimedOut { what, address: self.address.clone(), limit }
    }

    fn io(&self, what: &'static str, source: io::Error) -> ClientError {
        ClientError::Io { what, address: self.address.clone(), source }
    }
}

impl GameSocket<Link> {
    /// Opens a socket, sends the hello and waits for the welcome.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`next_event`](Self::next_event).
    pub fn enter(assignment: &Assignment, limit: Duration) -> Result<Self, ClientError> {
        let mut game = Self::open(assignment, Link::new(assignment))?;
        game.wait_for(limit, "welcome", |event| matches!(event, LinkEvent::Welcome { .. }))?;
        Ok(game)
    }

    /// Sends a ping and waits for the answer; returns the round-trip time. A lost ping is not repeated.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`], or those of [`next_event`](Self::next_event). Messages that arrive meanwhile are
    /// dropped.
    pub fn ping(&mut self, text: &str, limit: Duration) -> Result<Duration, ClientError> {
        let asked = Instant::now();
        self.with(|link, now| link.ping(now, text));
        self.wait_for(
            limit,
            "pong",
            |event| matches!(event, LinkEvent::Pong(pong) if pong == text),
        )?;
        Ok(asked.elapsed())
    }

    /// Sends a message, once.
    pub fn say(&mut self, words: &str) {
        self.with(|link, now| link.say(now, words));
    }

    /// The next message of the game.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`], or those of [`next_event`](Self::next_event).
    pub fn next_words(&mut self, limit: Duration) -> Result<String, ClientError> {
        match self.wait_for(limit, "words", |event| matches!(event, LinkEvent::Words(_)))? {
            LinkEvent::Words(words) | LinkEvent::Pong(words) => Ok(words),
            LinkEvent::Welcome { .. } => Ok(String::new()),
        }
    }

    fn wait_for(
        &mut self,
        limit: Duration,
        what: &'static str,
        is_it: impl Fn(&LinkEvent) -> bool,
    ) -> Result<LinkEvent, ClientError> {
        let deadline = deadline_after(limit);
        loop {
            match self.next_event(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) if is_it(&event) => return Ok(event),
                Ok(_) => {}
                Err(ClientError::TimedOut { .. }) => return Err(self.timed_out(what, limit)),
                Err(error) => return Err(error),
            }
        }
    }
}

impl<M> AsFd for GameSocket<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn connect(address: &str) -> io::Result<UdpSocket> {
    let mut candidates = address.to_socket_addrs()?;
    let game = candidates.next().ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
    let any: SocketAddr = match game {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(game)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == ErrorKind::ConnectionRefused
}
