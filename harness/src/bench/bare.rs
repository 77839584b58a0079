//! The benchmark's side of a [bare server](crate::bare_server): starts it, upgrades it, stops it.

use std::io::{self, PipeReader, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::Backlog;
use nix::unistd::Pid;

use crate::failure::{Failure, os};
use crate::machine::pid_of;
use crate::names::{self, BARE_SERVER};

/// The games of a bare server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Games {
    /// None: a player is assigned at once.
    None,
    /// None, and players wait for ever.
    Never,
    /// A process for every two players, from a fork server.
    Forked,
    /// A process for every two players, by `posix_spawn`.
    Spawned,
}

impl Games {
    const ALL: [Self; 4] = [Self::None, Self::Never, Self::Forked, Self::Spawned];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Never => "never",
            Self::Forked => "forked",
            Self::Spawned => "spawned",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|games| games.name() == name)
    }
}

/// The server, a separate process. Dropping it stops it.
#[derive(Debug)]
pub(crate) struct BareServer {
    child: Child,
    address: SocketAddr,
    /// A byte each time that it begins to serve.
    ready: PipeReader,
}

impl BareServer {
    pub(crate) fn start(games: Games) -> Result<Self, Failure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(os("listen"))?;
        let address = listener.local_addr().map_err(os("read the address of a socket"))?;
        // As long a backlog as the daemon's.
        nix::sys::socket::listen(&listener, Backlog::MAXCONN)
            .map_err(|errno| os("listen")(errno.into()))?;
        let (ready, its_ready) = io::pipe().map_err(os("make a pipe"))?;
        let child = names::start(&[BARE_SERVER, games.name()], listener, its_ready)
            .map_err(os("start a child"))?;
        let mut server = Self { child, address, ready };
        server.wait_until_ready()?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> i32 {
        pid_of(&self.child)
    }

    /// Lets it execute itself, and waits until it serves again.
    pub(crate) fn upgrade(&mut self) -> Result<(), Failure> {
        kill(Pid::from_raw(self.pid()), Signal::SIGUSR2)
            .map_err(|errno| os("signal a child")(errno.into()))?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<(), Failure> {
        self.ready.read_exact(&mut [0]).map_err(os("wait for a child"))
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
