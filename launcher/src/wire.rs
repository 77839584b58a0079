//! The protocol between the daemon and the launcher, and the channel that the launcher uses to its templates as
//! well: packets of JSON with descriptors attached, over a Unix socket of type `SOCK_SEQPACKET`; unix(7).

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

use crate::limits::{DESCRIPTORS_MAX, PACKET_BYTES_MAX};

/// The environment variable that marks all processes of one Muster: its launcher, templates and games. Its value is
/// [`instance`].
pub const INSTANCE: &str = "MUSTER_INSTANCE";

/// A Muster's name, which is that of the directory where its games work: it is unique, and outlives a daemon that
/// crashes.
pub fn instance(directory: &Path) -> &str {
    directory.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// An order of the daemon. Games and programs are named by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Create a game; answered by `Launched` or `Failed`.
    Launch {
        /// The game.
        game: u64,
        /// Its program, by its index in [`Setup::programs`].
        program: usize,
        /// Its port.
        port: u16,
        /// The addresses on which its socket may be bound; the first one that this machine has is used.
        bind: Vec<IpAddr>,
        /// Its players, if they are known already.
        players: InitialPlayers,
    },
    /// The game's process was reaped: kill its leftovers until none is found. Answered by `CleanedUp`.
    CleanUp {
        /// The game.
        game: u64,
    },
    /// The process of a game that is being stopped was reaped; its other processes may finish, until a `Purge`.
    /// Answered by `CleanedUp` when none is left.
    Await {
        /// The game.
        game: u64,
    },
    /// Send SIGTERM to the game's processes, except its first one.
    Terminate {
        /// The game.
        game: u64,
        /// Whether its process group has received it already.
        is_group_signalled: bool,
    },
    /// A process that a template named as a game is not a child of the daemon: kill what the template created
    /// instead, until nothing is found, and end the template. Answered by `CleanedUp`.
    Disown {
        /// The game.
        game: u64,
        /// Its program.
        program: usize,
    },
    /// A leftover was reaped; there may be others.
    Scan,
    /// The game is being killed: kill all processes of it, and all that may keep it from ending.
    Purge {
        /// The game.
        game: u64,
    },
    /// Restart the templates, as what they have loaded may have changed; end those that are not named.
    Renew {
        /// Those in use, by program, and how long each may take to load.
        templates: BTreeMap<usize, Duration>,
    },
    /// The daemon is about to create a child that is not a game: kill no unknown process until `Resume`.
    /// Answered by `Paused`.
    Pause,
    /// The daemon has created that child, or failed to; other unknown processes may be killed again.
    Resume {
        /// The child.
        exempt: Option<i32>,
    },
    /// Answer with `Pong`.
    Ping,
}

/// The players that a new game starts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InitialPlayers {
    /// Nothing: it is notified when there is a match.
    Unknown,
    /// A message on its control channel.
    Line(String),
    /// The match and its players, in its environment.
    Environment {
        /// The match.
        match_id: String,
        /// Its players, as JSON.
        players: String,
    },
}

/// An answer of the launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A game's process exists. Attached are the daemon's ends of its log pipe and, if it has one, of its
    /// control channel, in this order.
    Launched {
        /// The game.
        game: u64,
        /// Its process, a child of the daemon.
        pid: i32,
    },
    /// A game's process could not be created.
    Failed {
        /// The game.
        game: u64,
        /// Why.
        fault: Fault,
    },
    /// The game has no process left.
    CleanedUp {
        /// The game.
        game: u64,
        /// Processes that existed when the first one had ended, or its grace period was over, and were killed.
        left: usize,
        /// Whether the kernel has killed one of its processes because its memory was used up.
        is_out_of_memory: bool,
        /// Whether it binds its port itself, and the port is not free although the game is gone.
        is_port_taken: bool,
        /// Whether its working directory held more than it may, without a `DirectoryFull` before.
        is_directory_full: bool,
    },
    /// A game's working directory holds more than it may. Sent once for each game.
    DirectoryFull {
        /// The game.
        game: u64,
        /// Bytes found in it.
        bytes: u64,
        /// Files and directories found in it.
        entries: u64,
    },
    /// A program has a new template. Attached is the daemon's end of its log pipe.
    Template {
        /// The program.
        program: usize,
        /// Its process, a child of the daemon.
        pid: i32,
    },
    /// No unknown process is killed until `Resume`.
    Paused,
    /// All orders before the `Ping` were handled.
    Pong,
}

/// Why a process could not be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// A program other than Muster holds the port.
    PortBusy,
    /// Anything else, for the log.
    Other(String),
}

impl Fault {
    /// A template named a process that is not its own.
    pub fn not_a_game() -> Self {
        Self::Other("its template named a process that is not one of its games".into())
    }

    /// Prefixes an error with the operation that failed.
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
    /// Both ends of a new channel, close-on-exec.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
    }

    /// Wraps one end.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, packet: vec![0; PACKET_BYTES_MAX] }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Those of sendmsg(2): `WouldBlock` when the buffer is full and this end is non-blocking, `BrokenPipe`
    /// when the other end is closed.
    pub fn send(&self, message: &impl Serialize, attached: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_packet(&serde_json::to_vec(message)?, attached)
    }

    /// Sends a serialized message.
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

    /// Receives the next message, with the attached descriptors. `None`: the other end is closed.
    ///
    /// # Errors
    /// Those of recvmsg(2), `WouldBlock` if there is none; `InvalidData` for a packet that is not such a message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut self.packet)];
        let received = loop {
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            match recvmsg(&self.socket, &mut parts, &mut control, flags) {
                // The other end was closed with unread messages. What it sent before is still there.
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
        // Our messages are never empty.
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

/// The launcher's initial state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The daemon's pid. Games are its children.
    pub daemon: i32,
    /// The modes' programs, by index.
    pub programs: Vec<crate::Program>,
    /// The host name that players receive.
    pub public_host: String,
    /// Where the games' working directories are created; it exists.
    pub directory: std::path::PathBuf,
    /// The game on port P runs as this user plus P, if Muster runs as root.
    pub first_user: u32,
    /// The first and the last port of the port ring.
    pub ports: (u16, u16),
    /// The log level.
    pub log: String,
    /// Children of the daemon that are not games: those that it had at its start, for example.
    pub inherited: Vec<i32>,
    /// LivingGame games, created by an earlier launcher.
    pub games: Vec<LivingGame>,
    /// Games that may have leftovers: they ended, or it is not known whether they started.
    pub unclean: Vec<u64>,
    /// The living games that are being stopped and whose first process has ended.
    pub awaited: Vec<u64>,
    /// Whether an earlier daemon has crashed: its processes are not this daemon's children, and its launcher
    /// may live.
    pub after_crash: bool,
    /// Whether this daemon had a launcher before, which has logged what the machine does not offer.
    pub is_replacement: bool,
}

/// A living game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivingGame {
    /// The game.
    pub game: u64,
    /// Its process.
    pub pid: i32,
    /// Its program.
    pub program: usize,
    /// Its port.
    pub port: u16,
}
