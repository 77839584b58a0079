//! The channel between the daemon and the launcher, and between the launcher and its templates: packets of JSON
//! with descriptors attached, over a Unix socket of type `SOCK_SEQPACKET`; unix(7).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Descriptors in a packet, at most.
const DESCRIPTORS_MAX: usize = 4;

/// Bytes in a packet, at most: a launch with its players is as large as a line of the control channel, and little
/// more.
const PACKET_MAX: usize = protocol::CONTROL_LINE_MAX + 16 * 1024;

/// The variable that tells all processes of one Muster from those of another: its launcher's, its templates' and its
/// games'. Its value is [`instance`].
pub const INSTANCE: &str = "MUSTER_INSTANCE";

/// A Muster's name, by the place where its games work: that is its own, and outlives a daemon that crashes.
pub fn instance(place: &Path) -> &str {
    place.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// What the daemon wants done. Games and modes by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Make a game's process; answered by `Launched` or `Failed`.
    Launch {
        /// The game.
        game: u64,
        /// Its mode.
        mode: usize,
        /// Its port.
        port: u16,
        /// The addresses on which its socket may be bound: the first one that this machine has.
        bind: Vec<IpAddr>,
        /// Who will play, where that is known already.
        guests: Guests,
    },
    /// The game's process was reaped: look for what it left behind, until there is nothing. Answered by
    /// `CleanedUp`.
    CleanUp {
        /// The game.
        game: u64,
    },
    /// The process of a game that is being stopped was reaped: others of it may finish what they do. Nobody is killed
    /// before a `Purge`. Answered by `CleanedUp` when nobody is left.
    Await {
        /// The game.
        game: u64,
    },
    /// Send SIGTERM to whoever belongs to the game, but for its first process.
    Terminate {
        /// The game.
        game: u64,
        /// Whether its process group got it already.
        has_group_heard: bool,
    },
    /// What a template named as a game is no child of the daemon: look for what it made instead, until there is nothing,
    /// and believe it no more. Answered by `CleanedUp`.
    Disown {
        /// The game.
        game: u64,
        /// Its mode.
        mode: usize,
    },
    /// A process that was left behind has died; there may be others.
    LookAgain,
    /// The game is being killed: kill whoever belongs to it, and may keep it.
    Purge {
        /// The game.
        game: u64,
    },
    /// Start the templates anew, as what they have loaded may have changed; end those that are not named.
    Renew {
        /// Those in use, by their modes, and how long each may take to load.
        templates: BTreeMap<usize, Duration>,
    },
    /// The daemon is about to make a child that is no game: kill nobody who was left behind until `Release`. Answered
    /// by `Holding`.
    Hold,
    /// The daemon has made that child, or has not; whoever else is unknown may be killed again.
    Release {
        /// The child.
        spared: Option<i32>,
    },
    /// Say that you hear. Answered by `Pong`.
    Ping,
}

/// What a game finds at birth about who will play.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guests {
    /// Nothing: it is told when there is a match.
    Unknown,
    /// A line that waits on its control channel.
    Line(String),
    /// The match and its players, in its environment.
    Environment {
        /// The match.
        match_id: String,
        /// Its players, as JSON.
        players: String,
    },
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A game's process exists. With it come the daemon's ends of its log pipe and, if it has one, of its control
    /// channel, in this order.
    Launched {
        /// The game.
        game: u64,
        /// Its process, a child of the daemon.
        pid: i32,
    },
    /// A game's process could not be made.
    Failed {
        /// The game.
        game: u64,
        /// Why.
        fault: Fault,
    },
    /// Nothing of the game is left.
    CleanedUp {
        /// The game.
        game: u64,
        /// Processes that were there when its first one had ended, or its grace was over, and were killed.
        left: usize,
        /// Whether the kernel has killed a process of it for want of memory.
        is_out_of_memory: bool,
        /// Whether it was to bind its port itself and the port is not free although it is gone.
        is_port_taken: bool,
        /// Whether its working directory held more than it may, and nothing was told of it.
        is_directory_full: bool,
    },
    /// A game's working directory holds more than it may. Told once of a game.
    DirectoryFull {
        /// The game.
        game: u64,
        /// Bytes that were found in it.
        bytes: u64,
        /// Files and directories that were.
        entries: u64,
    },
    /// A mode has a new template. With it comes the daemon's end of its log pipe.
    Template {
        /// The mode.
        mode: usize,
        /// Its process, a child of the daemon.
        pid: i32,
    },
    /// Nobody is killed for having been left behind.
    Holding,
    /// All orders before the question were heard.
    Pong,
}

/// Why a process could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Something outside Muster holds the port.
    PortBusy,
    /// Anything else, for the log.
    Other(String),
}

impl Fault {
    /// A template named a process that it did not fork.
    pub fn not_a_game() -> Self {
        Self::Other("its template named a process that is none of its games".into())
    }

    /// Names what was attempted before an error.
    pub(crate) fn of(attempt: &str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Other(format!("cannot {attempt}: {error}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortBusy => f.write_str("another program holds its port"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

/// One end of a channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    packet: Vec<u8>,
}

impl Channel {
    /// Both ends of a new channel, closed on exec.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
    }

    /// Takes one end.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, packet: vec![0; PACKET_MAX] }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Those of sendmsg(2): `WouldBlock` when the other end has too much to read already and this one does not
    /// block, `BrokenPipe` when there is no other end.
    pub fn send(&self, message: &impl Serialize, attached: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_packet(&serde_json::to_vec(message)?, attached)
    }

    /// Sends what was made a packet before.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_packet(&self, packet: &[u8], attached: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !attached.is_empty() && !control.push(SendAncillaryMessage::ScmRights(attached)) {
            return Err(io::Error::other("too many descriptors for a packet"));
        }
        let parts = [IoSlice::new(packet)];
        rustix::io::retry_on_intr(|| {
            sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL)
        })?;
        Ok(())
    }

    /// Receives the next message that is there, with what is attached to it. `None`: there is no other end any more.
    ///
    /// # Errors
    /// Those of recvmsg(2), `WouldBlock` where there is none; `InvalidData` for a packet that is no such message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut self.packet)];
        let received = loop {
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            match recvmsg(&self.socket, &mut parts, &mut control, flags) {
                // The other end went without having read all. What it said before is still there.
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
                other => break other?,
            }
        };
        let mut attached = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                attached.extend(descriptors);
            }
        }
        // No message of ours is empty.
        if received.bytes == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&self.packet[..received.bytes])?, attached)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Everything that the launcher needs to know at its start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The daemon's process, whose children games are.
    pub daemon: i32,
    /// What each mode's games run, by the mode's number.
    pub programs: Vec<crate::Program>,
    /// What players are told.
    pub public_host: String,
    /// Where the games' working directories are made: a directory that exists.
    pub place: std::path::PathBuf,
    /// Where Muster runs as root, the game on port P runs as this user plus P.
    pub first_user: u32,
    /// The first and the last port of the ring.
    pub ports: (u16, u16),
    /// How much is logged.
    pub log: String,
    /// Children that the daemon was born with: none of our business.
    pub inherited: Vec<i32>,
    /// Games that live, made by an earlier launcher.
    pub games: Vec<Living>,
    /// Games of which something may be left: they ended, or it is not known whether they began.
    pub unclean: Vec<u64>,
    /// Those of the games that live whose first process has ended, and that are being stopped.
    pub awaited: Vec<u64>,
    /// Whether an earlier daemon has crashed: what it made is nobody's child here, and its launcher may live.
    pub has_crashed: bool,
    /// Whether this daemon had a launcher before, which has said what the machine does not offer.
    #[serde(default)]
    pub is_another: bool,
}

/// A game that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Living {
    /// The game.
    pub game: u64,
    /// Its process.
    pub pid: i32,
    /// Its mode.
    pub mode: usize,
    /// Its port.
    pub port: u16,
}
