//! The least that a server can do for its visitors: what Muster's matched players are measured against.
//!
//! It speaks the same lines as Muster and ends a conversation in the same way, over one edge-triggered epoll in one
//! thread; and does nothing else: no matching, no limits, no deadlines, no log. Where it has games ([`Games`]), every
//! two visitors get a process that says that it is there and ends; they are told where to play when it has.

use std::collections::HashMap;
use std::io::{self, ErrorKind, IoSlice, PipeReader, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use mio::net::TcpStream;
use mio::unix::pipe;
use mio::{Events, Interest, Poll, Token};
use nix::sys::wait::{WaitPidFlag, waitpid};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::baseline::role;
use crate::daemon::LIMIT;
use crate::failure::{Failure, os};
use crate::roles::{BARE_SERVER, BRIEF, BRIEF_FORK_SERVER};

const LISTENER: Token = Token(usize::MAX - 1);
const GAMES: Token = Token(usize::MAX - 2);

const GREETING: &[u8] = b"MUSTER 1 line_max=512 queues=matched\n";
const QUEUED: &str =
    "QUEUED queue=matched position=1 needed=2 resume=0123456789abcdef0123456789abcdef\n";
const ASSIGN: &str = "ASSIGN match=1000 host=127.0.0.1 port=20000 slot=0 players=2 \
                      token=0123456789abcdef0123456789abcdef transport=plain\n";

/// Both at once, where nobody is waited for.
const QUEUED_AND_ASSIGN: &str = "QUEUED queue=matched position=1 needed=2 resume=0123456789abcdef0123456789abcdef\n\
     ASSIGN match=1000 host=127.0.0.1 port=20000 slot=0 players=2 \
     token=0123456789abcdef0123456789abcdef transport=plain\n";

/// What visitors are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Games {
    /// Nothing: whoever says READY is assigned at once.
    None,
    /// Nothing, ever: they wait.
    Never,
    /// A process for every two, from a fork server.
    Forked,
    /// A process for every two, by `posix_spawn`.
    Spawned,
}

impl Games {
    const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Never => "never",
            Self::Forked => "forked",
            Self::Spawned => "spawned",
        }
    }
}

/// The server, as a process of its own. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct BareServer {
    child: Child,
    address: SocketAddr,
}

impl BareServer {
    pub(crate) fn start(games: Games) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(os("listen"))?;
        let address = listener.local_addr().map_err(os("read the address of a socket"))?;
        // As long a line of those who wait as the daemon's.
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXCONN)
            .map_err(|errno| os("listen")(errno.into()))?;
        let child = role(&[BARE_SERVER, games.word()], listener, Stdio::inherit())?;
        Ok(Self { child, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is the server, whose listener is at descriptor 0.
pub(crate) fn serve(games: &str) -> io::Result<()> {
    let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    listener.set_nonblocking(true)?;
    let maker = match games {
        "forked" => Some(Maker::forking()?),
        "spawned" => Some(Maker::spawning()?),
        _ => None,
    };
    Server::new(listener, maker, games == Games::Never.word())?.run()
}

struct Server {
    poll: Poll,
    listener: mio::net::TcpListener,
    clients: Vec<Option<TcpStream>>,
    free: Vec<usize>,
    maker: Option<Maker>,
    is_never: bool,
    /// Who waits for a second one.
    waiting: Option<usize>,
    /// Who plays in a game that was asked for.
    players: HashMap<u64, [usize; 2]>,
    asked: u64,
}

impl Server {
    fn new(listener: TcpListener, maker: Option<Maker>, is_never: bool) -> io::Result<Self> {
        let mut this = Self {
            poll: Poll::new()?,
            listener: mio::net::TcpListener::from_std(listener),
            clients: Vec::new(),
            free: Vec::new(),
            maker,
            is_never,
            waiting: None,
            players: HashMap::new(),
            asked: 0,
        };
        let registry = this.poll.registry();
        registry.register(&mut this.listener, LISTENER, Interest::READABLE)?;
        if let Some(maker) = &mut this.maker {
            registry.register(&mut maker.started, GAMES, Interest::READABLE)?;
        }
        Ok(this)
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, Some(LIMIT * 10)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    GAMES => self.hear_games()?,
                    Token(place) => self.serve(place)?,
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let place = self.free.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() - 1
            });
            self.poll.registry().register(&mut stream, Token(place), Interest::READABLE)?;
            stream.write_all(GREETING)?;
            self.clients[place] = Some(stream);
        }
    }

    fn serve(&mut self, place: usize) -> io::Result<()> {
        let mut bytes = [0; 512];
        while let Some(stream) = &mut self.clients[place] {
            match stream.read(&mut bytes) {
                Ok(0) => {
                    self.clients[place] = None;
                    self.free.push(place);
                }
                // A visitor says nothing but READY, in one piece.
                Ok(_) => self.queue(place)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn queue(&mut self, place: usize) -> io::Result<()> {
        let Some(maker) = &mut self.maker else {
            let words = if self.is_never { QUEUED } else { QUEUED_AND_ASSIGN };
            return self.say(place, words, !self.is_never);
        };
        match self.waiting.take() {
            None => self.waiting = Some(place),
            Some(first) => {
                self.asked += 1;
                self.players.insert(self.asked, [first, place]);
                maker.make(self.asked)?;
            }
        }
        self.say(place, QUEUED, false)
    }

    fn hear_games(&mut self) -> io::Result<()> {
        let Some(maker) = &mut self.maker else { return Ok(()) };
        for game in maker.hear()? {
            for place in self.players.remove(&game).into_iter().flatten() {
                self.say(place, ASSIGN, true)?;
            }
        }
        Ok(())
    }

    fn say(&mut self, place: usize, words: &str, is_last: bool) -> io::Result<()> {
        let Some(stream) = &mut self.clients[place] else { return Ok(()) };
        stream.write_all(words.as_bytes())?;
        // What is there to be read is read to its end: else the kernel resets the connection.
        if is_last { stream.shutdown(Shutdown::Write) } else { Ok(()) }
    }
}

/// What makes the games, each of which writes its number into a pipe when it is there.
struct Maker {
    started: pipe::Receiver,
    rest: Vec<u8>,
    how: How,
}

enum How {
    Fork(UnixStream),
    Spawn { its_started: io::PipeWriter },
}

impl Maker {
    fn forking() -> io::Result<Self> {
        let (started, its_started) = io::pipe()?;
        let (requests, its_requests) = UnixStream::pair()?;
        Command::new("/proc/self/exe")
            .arg(BRIEF_FORK_SERVER)
            .stdin(OwnedFd::from(its_requests))
            .stdout(its_started)
            .spawn()?;
        Self::new(started, How::Fork(requests))
    }

    fn spawning() -> io::Result<Self> {
        let (started, its_started) = io::pipe()?;
        Self::new(started, How::Spawn { its_started })
    }

    fn new(started: PipeReader, how: How) -> io::Result<Self> {
        let started = pipe::Receiver::from(OwnedFd::from(started));
        started.set_nonblocking(true)?;
        Ok(Self { started, rest: Vec::new(), how })
    }

    fn make(&mut self, game: u64) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        match &self.how {
            How::Fork(requests) => {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                let sockets = [socket.as_fd()];
                ancillary.push(SendAncillaryMessage::ScmRights(&sockets));
                let number = game.to_ne_bytes();
                let parts = [IoSlice::new(&number)];
                sendmsg(requests, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
                Ok(())
            }
            How::Spawn { its_started } => Command::new("/proc/self/exe")
                .args([BRIEF, &game.to_string()])
                .stdin(OwnedFd::from(socket))
                .stdout(its_started.try_clone()?)
                .spawn()
                .map(drop),
        }
    }

    /// The games that are there now. Those that have ended are reaped.
    fn hear(&mut self) -> io::Result<Vec<u64>> {
        let mut bytes = [0; 4096];
        loop {
            match self.started.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.rest.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if matches!(self.how, How::Spawn { .. }) {
            while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|ended| ended.pid().is_some())
            {
            }
        }
        let whole = self.rest.len() / size_of::<u64>() * size_of::<u64>();
        let numbers = self.rest.drain(..whole).collect::<Vec<u8>>();
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).ok();
        Ok(numbers.chunks_exact(size_of::<u64>()).filter_map(number).collect())
    }
}
