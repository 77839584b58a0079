//! A machine with a UDP socket of its own.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use protocol::Visible;
use protocol::datagram::DATAGRAM_MAX;
use protocol::netcode::TRANSPORT as NETCODE;
use rustix::event::PollFlags;

use crate::waiting::{deadline_after, wait};
use crate::{Assignment, ClientError, Closed, Heard, Link, Machine};

/// How many datagrams are read before the machine's deadlines get their turn.
const DATAGRAMS_PER_TURN: usize = 64;

/// A player's socket to its game, and the machine that speaks over it.
///
/// Either call [`next_event`](Self::next_event), which waits; or wait for the descriptor and for
/// [`next_deadline`](Self::next_deadline) together with other things, and call [`turn`](Self::turn).
#[derive(Debug)]
pub struct GameSocket<M = Link> {
    socket: UdpSocket,
    address: String,
    began: Instant,
    machine: M,
}

impl<M: Machine> GameSocket<M> {
    /// A socket to the game of an assignment. Nothing is sent before the first turn.
    ///
    /// # Errors
    /// [`ClientError::Transport`] when the game speaks another transport than `plain` and `netcode`;
    /// [`ClientError::Connect`] when its host has no address.
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

    /// Does something with the machine, which is told the time, and sends what comes of it.
    pub fn with<T>(&mut self, act: impl FnOnce(&mut M, Duration) -> T) -> T {
        let done = act(&mut self.machine, self.began.elapsed());
        self.send();
        done
    }

    /// Goes on with another machine made from this one, over the same socket.
    pub fn map<N>(self, change: impl FnOnce(M) -> N) -> GameSocket<N> {
        let Self { socket, address, began, machine } = self;
        GameSocket { socket, address, began, machine: change(machine) }
    }

    /// Receives what is there, does what is due, sends what there is to send; never waits.
    ///
    /// # Errors
    /// [`ClientError::Io`] when the socket is broken.
    pub fn turn(&mut self) -> Result<(), ClientError> {
        self.receive()?;
        let now = self.began.elapsed();
        if self.machine.next_deadline().is_some_and(|at| now >= at) {
            self.machine.handle_timeout(now);
        }
        self.send();
        Ok(())
    }

    /// The next event that is here already.
    pub fn poll_event(&mut self) -> Option<M::Event> {
        self.machine.poll_event()
    }

    /// When the next turn is due, if nothing comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.machine.next_deadline().map(|at| self.began + at)
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] when there was none in time, [`ClientError::Game`] when there will be none.
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
                return Err(self.timed_out("sign of life", limit));
            }
            let until = self.next_deadline().map_or(deadline, |due| due.min(deadline));
            wait(&self.socket, PollFlags::IN, until)
                .map_err(|source| self.io("wait for", source))?;
        }
    }

    /// Says goodbye, and waits until the game has heard it or is gone. Events that come meanwhile are dropped.
    ///
    /// # Errors
    /// Those of [`next_event`](Self::next_event), except that the link ends.
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

    /// How the link ended, once it has.
    pub fn closed(&self) -> Option<Closed> {
        self.machine.closed()
    }

    /// The game's address, as it is shown.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The socket itself, for who wants to treat the game badly.
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

    /// A datagram that cannot be sent now is lost, as it could be on the way; but an answer of the kernel to an
    /// earlier one is news.
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
    /// Opens a socket, says hello and waits for the welcome.
    ///
    /// # Errors
    /// Those of [`open`](Self::open) and [`next_event`](Self::next_event).
    pub fn enter(assignment: &Assignment, limit: Duration) -> Result<Self, ClientError> {
        let mut game = Self::open(assignment, Link::new(assignment))?;
        game.wait_for(limit, "welcome", |heard| matches!(heard, Heard::Welcome { .. }))?;
        Ok(game)
    }

    /// Asks for a sign of life and waits for it; how long it took. One that is lost is not asked for again.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`], or those of [`next_event`](Self::next_event). Words that come meanwhile are
    /// dropped.
    pub fn ping(&mut self, text: &str, limit: Duration) -> Result<Duration, ClientError> {
        let asked = Instant::now();
        self.with(|link, now| link.ping(now, text));
        self.wait_for(limit, "pong", |heard| matches!(heard, Heard::Pong(pong) if pong == text))?;
        Ok(asked.elapsed())
    }

    /// Says words, once.
    pub fn say(&mut self, words: &str) {
        self.with(|link, now| link.say(now, words));
    }

    /// The game's next words.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`], or those of [`next_event`](Self::next_event).
    pub fn next_words(&mut self, limit: Duration) -> Result<String, ClientError> {
        match self.wait_for(limit, "words", |heard| matches!(heard, Heard::Words(_)))? {
            Heard::Words(words) | Heard::Pong(words) => Ok(words),
            Heard::Welcome { .. } => Ok(String::new()),
        }
    }

    fn wait_for(
        &mut self,
        limit: Duration,
        what: &'static str,
        is_it: impl Fn(&Heard) -> bool,
    ) -> Result<Heard, ClientError> {
        let deadline = deadline_after(limit);
        loop {
            match self.next_event(deadline.saturating_duration_since(Instant::now())) {
                Ok(heard) if is_it(&heard) => return Ok(heard),
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
