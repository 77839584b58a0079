//! The least that a server can do for its visitors: the baseline of matched players and of upgrades in place.
//!
//! It speaks the same lines as Muster and ends a connection in the same way, with one edge-triggered epoll in one
//! thread; and does nothing else: no matching, no limits, no deadlines, no log. Where it has [games](Games), every
//! two visitors get a process that reports that it runs and ends; they are assigned when it has.
//!
//! At SIGUSR2 it executes itself: it keeps its descriptors over the exec and registers them again; it reads no state
//! and tests no program before.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::bare::Games;
use crate::bare_games::GameMaker;
use crate::names::{self, BARE_SERVER};

const LISTENER: Token = Token(usize::MAX - 1);
const GAMES: Token = Token(usize::MAX - 2);
const SIGNALS: Token = Token(usize::MAX - 3);

const GREETING: &[u8] = b"MUSTER 1 line_max=512 queues=bare\n";
const QUEUED: &str =
    "QUEUED queue=bare position=1 needed=2 resume=0123456789abcdef0123456789abcdef\n";
const ASSIGN: &str = "ASSIGN match=1000 host=127.0.0.1 port=20000 slot=0 players=2 \
                      token=0123456789abcdef0123456789abcdef transport=plain\n";

/// Both at once, where no game is waited for.
const QUEUED_AND_ASSIGN: &str = "QUEUED queue=bare position=1 needed=2 resume=0123456789abcdef0123456789abcdef\n\
     ASSIGN match=1000 host=127.0.0.1 port=20000 slot=0 players=2 \
     token=0123456789abcdef0123456789abcdef transport=plain\n";

/// Runs the server. Its listener is at descriptor 0; `clients` are the descriptors of its clients after an exec.
pub(crate) fn serve(games: &str, clients: Option<&str>) -> io::Result<()> {
    let numbers = clients.into_iter().flat_map(|numbers| numbers.split(',')).flat_map(str::parse);
    let games = Games::of(games).ok_or(ErrorKind::InvalidInput)?;
    let mut server = Server::new(games)?;
    for number in numbers {
        let socket = process::take_inherited(number)?;
        server.watch(TcpStream::from_std(socket.into()))?;
    }
    io::stdout().write_all(b"!")?;
    io::stdout().flush()?;
    server.run()
}

struct Server {
    poll: Poll,
    listener: mio::net::TcpListener,
    signals: SignalFd,
    games: Games,
    maker: Option<GameMaker>,
    clients: Vec<Option<TcpStream>>,
    free: Vec<usize>,
    /// A client that waits for a second one.
    waiting: Option<usize>,
    /// The players of each game that was requested.
    players: HashMap<u64, [usize; 2]>,
    requested: u64,
}

impl Server {
    fn new(games: Games) -> io::Result<Self> {
        let listener = TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?);
        listener.set_nonblocking(true)?;
        let mask = SigSet::from_iter([Signal::SIGUSR2]);
        mask.thread_block()?;
        let mut this = Self {
            poll: Poll::new()?,
            listener: mio::net::TcpListener::from_std(listener),
            signals: SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
            games,
            maker: match games {
                Games::Forked => Some(GameMaker::forking()?),
                Games::Spawned => Some(GameMaker::spawning()?),
                Games::None | Games::Never => None,
            },
            clients: Vec::new(),
            free: Vec::new(),
            waiting: None,
            players: HashMap::new(),
            requested: 0,
        };
        let registry = this.poll.registry();
        let signals = this.signals.as_raw_fd();
        registry.register(&mut SourceFd(&signals), SIGNALS, Interest::READABLE)?;
        registry.register(&mut this.listener, LISTENER, Interest::READABLE)?;
        if let Some(maker) = &mut this.maker {
            registry.register(maker.source(), GAMES, Interest::READABLE)?;
        }
        Ok(this)
    }

    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            let mut must_execute = false;
            for event in &events {
                match event.token() {
                    // A signal that is not read would be pending after the exec, too.
                    SIGNALS => must_execute = self.signals.read_signal()?.is_some(),
                    LISTENER => self.accept()?,
                    GAMES => self.assign_players()?,
                    Token(index) => self.serve(index)?,
                }
            }
            if must_execute {
                return Err(self.execute()?);
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut stream, _)) => {
                    stream.write_all(GREETING)?;
                    self.watch(stream)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn watch(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        self.poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        self.clients[index] = Some(stream);
        Ok(())
    }

    fn serve(&mut self, index: usize) -> io::Result<()> {
        let mut bytes = [0; 512];
        while let Some(stream) = &mut self.clients[index] {
            match stream.read(&mut bytes) {
                Ok(0) => {
                    self.clients[index] = None;
                    self.free.push(index);
                }
                // A visitor sends one line at a time, in one piece.
                Ok(length) => self.answer(index, &bytes[..length])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn answer(&mut self, index: usize, line: &[u8]) -> io::Result<()> {
        match line.split_at_checked(5) {
            Some((b"READY", _)) => self.queue(index),
            Some((b"PING ", text)) => self.send(index, &[b"PONG ", text].concat(), false),
            _ => self.send(index, b"LEFT\n", false),
        }
    }

    fn queue(&mut self, index: usize) -> io::Result<()> {
        match (self.games, &mut self.maker) {
            (Games::None, _) => return self.send(index, QUEUED_AND_ASSIGN.as_bytes(), true),
            (_, None) => {}
            (_, Some(maker)) => match self.waiting.take() {
                None => self.waiting = Some(index),
                Some(first) => {
                    self.requested += 1;
                    self.players.insert(self.requested, [first, index]);
                    maker.make(self.requested)?;
                }
            },
        }
        self.send(index, QUEUED.as_bytes(), false)
    }

    fn assign_players(&mut self) -> io::Result<()> {
        let Some(maker) = &mut self.maker else { return Ok(()) };
        for game in maker.read_started()? {
            for index in self.players.remove(&game).into_iter().flatten() {
                self.send(index, ASSIGN.as_bytes(), true)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, index: usize, bytes: &[u8], is_last: bool) -> io::Result<()> {
        let Some(stream) = &mut self.clients[index] else { return Ok(()) };
        stream.write_all(bytes)?;
        // The rest of the input is read to its end: else the kernel resets the connection.
        if is_last { stream.shutdown(Shutdown::Write) } else { Ok(()) }
    }

    /// Returns only if it fails.
    fn execute(&self) -> io::Result<io::Error> {
        let numbers = || self.clients.iter().flatten().map(|client| client.as_raw_fd());
        numbers().try_for_each(|number| process::set_inherited(number, true))?;
        let numbers: Vec<String> = numbers().map(|number| number.to_string()).collect();
        let mut command = names::command(&[BARE_SERVER, self.games.name(), &numbers.join(",")]);
        Ok(command.exec())
    }
}
