//! A player with as little overhead as possible: blocking sockets with a time limit.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use client::{Assignment, Conversation};
use protocol::Reply;

use crate::failure::{Failure, LIMIT, os};
use crate::visitors::connect_blocking;

/// A connection to Muster.
#[derive(Debug)]
pub(crate) struct Player {
    stream: TcpStream,
    conversation: Conversation,
}

impl Player {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).map_err(os("connect to muster"))?;
        stream.set_nodelay(true).map_err(os("prepare a connection"))?;
        stream.set_read_timeout(Some(LIMIT)).map_err(os("prepare a connection"))?;
        Ok(Self { stream, conversation: Conversation::new(String::new()) })
    }

    /// Connects from one of the source addresses.
    pub(crate) fn from_source(address: SocketAddr, at: u32) -> Result<Self, Failure> {
        let stream = connect_blocking(address, at).map_err(os("connect"))?;
        stream.set_read_timeout(Some(LIMIT)).map_err(os("prepare a connection"))?;
        Ok(Self { stream, conversation: Conversation::new(String::new()) })
    }

    /// Connects, and waits for the greeting.
    pub(crate) fn greeted(address: SocketAddr) -> Result<Self, Failure> {
        let mut player = Self::connect(address)?;
        player.wait_for("the greeting", |reply| matches!(reply, Reply::Muster { .. }))?;
        Ok(player)
    }

    /// Sends lines.
    pub(crate) fn say(&mut self, lines: &str) -> Result<(), Failure> {
        self.stream.write_all(lines.as_bytes()).map_err(os("write to muster"))
    }

    /// Joins a queue, and waits until it is queued.
    pub(crate) fn join(&mut self, queue: &str) -> Result<(), Failure> {
        self.say(&ready(queue))?;
        self.queued().map(drop)
    }

    /// Waits for QUEUED, and gives the resume key and the position.
    pub(crate) fn queued(&mut self) -> Result<(String, usize), Failure> {
        match self.wait_for("QUEUED", |reply| matches!(reply, Reply::Queued { .. }))? {
            Reply::Queued { resume, position, .. } => Ok((resume, position)),
            other => Err(Failure::Unexpected { said: format!("{other:?}"), awaited: "QUEUED" }),
        }
    }

    /// Leaves its queue, and waits until it has left.
    pub(crate) fn leave(&mut self) -> Result<(), Failure> {
        self.say("LEAVE\n")?;
        self.wait_for("LEFT", |reply| matches!(reply, Reply::Left)).map(drop)
    }

    /// Waits for the answer to PING, which must have this text.
    pub(crate) fn pong(&mut self, text: &str) -> Result<(), Failure> {
        match self.wait_for("PONG", |reply| matches!(reply, Reply::Pong(_)))? {
            Reply::Pong(said) if said == text => Ok(()),
            other => {
                Err(Failure::Unexpected { said: format!("{other:?}"), awaited: "another PONG" })
            }
        }
    }

    /// The next reply.
    pub(crate) fn reply(&mut self) -> Result<Reply, Failure> {
        let mut bytes = [0; 2048];
        loop {
            if let Some(reply) = self.conversation.poll_reply()? {
                return Ok(reply);
            }
            match self.stream.read(&mut bytes).map_err(os("read from muster"))? {
                0 => self.conversation.handle_end(),
                length => self.conversation.handle_bytes(&bytes[..length]),
            }
        }
    }

    /// Waits for ASSIGN.
    pub(crate) fn assignment(&mut self) -> Result<Seat, Failure> {
        let reply = self.wait_for("ASSIGN", |reply| matches!(reply, Reply::Assign { .. }))?;
        let said = format!("{reply:?}");
        let seat = Assignment::of(reply).and_then(|assignment| Seat::of(&assignment));
        seat.ok_or(Failure::Unexpected { said, awaited: "an address" })
    }

    /// The connection.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn wait_for(
        &mut self,
        awaited: &'static str,
        is_it: impl Fn(&Reply) -> bool,
    ) -> Result<Reply, Failure> {
        loop {
            match self.reply()? {
                reply if is_it(&reply) => return Ok(reply),
                reply @ (Reply::Error { .. } | Reply::Bye { .. }) => {
                    return Err(Failure::Unexpected { said: format!("{reply:?}"), awaited });
                }
                _ => {}
            }
        }
    }
}

/// The line that joins a queue.
pub(crate) fn ready(queue: &str) -> String {
    format!("READY queue={queue}\n")
}

/// A seat in a game.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) game: SocketAddr,
    pub(crate) hello: String,
}

impl Seat {
    fn of(assignment: &Assignment) -> Option<Self> {
        let host: IpAddr = assignment.host.parse().ok()?;
        let hello = format!("HELLO {} {}", assignment.match_id, assignment.token);
        Some(Self { game: (host, assignment.port).into(), hello })
    }

    /// Sends HELLO and waits for the answer.
    pub(crate) fn enter(&self, socket: &UdpSocket) -> Result<(), Failure> {
        socket.send_to(self.hello.as_bytes(), self.game).map_err(os("join a game"))?;
        let mut answer = [0; 1500];
        socket.recv(&mut answer).map_err(os("receive a game's welcome"))?;
        Ok(())
    }

    /// Leaves; a game without players ends.
    pub(crate) fn leave(&self, socket: &UdpSocket) -> Result<(), Failure> {
        socket.send_to(b"BYE", self.game).map_err(os("leave a game")).map(drop)
    }

    /// Joins and leaves, so that the game ends, without waiting for its answers.
    pub(crate) fn visit(&self) -> Result<(), Failure> {
        let socket = udp()?;
        socket.send_to(self.hello.as_bytes(), self.game).map_err(os("join a game"))?;
        self.leave(&socket)
    }
}

/// A socket of a player, or of a game: on a port of the kernel's choice.
pub(crate) fn udp() -> Result<UdpSocket, Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(os("bind a UDP socket"))?;
    socket.set_read_timeout(Some(LIMIT)).map_err(os("prepare a UDP socket"))?;
    Ok(socket)
}
