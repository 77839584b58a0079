//! The games of a [bare server](crate::bare_server): processes, each of which writes its number into a pipe when it
//! runs, and exits.

use std::io::{self, ErrorKind, PipeReader, Read as _};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use mio::unix::pipe;
use nix::sys::wait::{WaitPidFlag, waitpid};

use crate::names::{self, BRIEF, BRIEF_FORK_SERVER};

/// Makes the games.
pub(crate) struct GameMaker {
    started: pipe::Receiver,
    /// The first bytes of a number that was read in part.
    rest: Vec<u8>,
    launch: Launch,
}

enum Launch {
    Fork(UnixStream),
    Spawn { its_started: io::PipeWriter },
}

impl GameMaker {
    /// Makes games by a fork server.
    pub(crate) fn forking() -> io::Result<Self> {
        let (started, its_started) = io::pipe()?;
        let (requests, its_requests) = UnixStream::pair()?;
        names::start(&[BRIEF_FORK_SERVER], its_requests, its_started)?;
        Self::new(started, Launch::Fork(requests))
    }

    /// Makes games by `posix_spawn`.
    pub(crate) fn spawning() -> io::Result<Self> {
        let (started, its_started) = io::pipe()?;
        Self::new(started, Launch::Spawn { its_started })
    }

    fn new(started: PipeReader, launch: Launch) -> io::Result<Self> {
        let started = pipe::Receiver::from(OwnedFd::from(started));
        started.set_nonblocking(true)?;
        Ok(Self { started, rest: Vec::new(), launch })
    }

    /// Readable when games have started.
    pub(crate) fn source(&mut self) -> &mut pipe::Receiver {
        &mut self.started
    }

    pub(crate) fn make(&mut self, game: u64) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        match &self.launch {
            Launch::Fork(requests) => {
                names::send_socket(requests, &game.to_ne_bytes(), socket.as_fd())
            }
            Launch::Spawn { its_started } => {
                names::start(&[BRIEF, &game.to_string()], socket, its_started.try_clone()?)
                    .map(drop)
            }
        }
    }

    /// The games that have started since the last call. Ended ones are reaped.
    pub(crate) fn read_started(&mut self) -> io::Result<Vec<u64>> {
        let mut bytes = [0; 4096];
        loop {
            match self.started.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.rest.extend_from_slice(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if matches!(self.launch, Launch::Spawn { .. }) {
            let has_reaped =
                || waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|it| it.pid().is_some());
            while has_reaped() {}
        }
        let whole = self.rest.len() / size_of::<u64>() * size_of::<u64>();
        let numbers = self.rest.drain(..whole).collect::<Vec<u8>>();
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).ok();
        Ok(numbers.chunks_exact(size_of::<u64>()).filter_map(number).collect())
    }
}
