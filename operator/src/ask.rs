//! The connection of a command to a running daemon.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::admin::{
    Done, Games, ID_END, OneGame, Players, Refusal, Report, Request, Status, Upgraded,
};
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::tables;

/// The time that a daemon may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that a daemon may take to test another program and to become it.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(60);

/// Longer than any answer, in bytes.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No daemon accepts connections there.
    #[error("cannot connect to Muster at {}: {source}; {}", path.display(), advice(source))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// None of the default sockets exists.
    #[error(
        "no Muster is running here: there is no socket {}; start a daemon with `muster serve`, or name the socket of \
         a running one: --admin PATH", either(.0)
    )]
    NoSocket(Vec<PathBuf>),
    /// The connection failed.
    #[error("cannot {attempt} Muster at {}: {source}", path.display())]
    Talk {
        /// The attempted operation.
        attempt: &'static str,
        /// The socket.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The daemon refuses the request.
    #[error("Muster at {}: {error}", path.display())]
    Refused {
        /// The socket.
        path: PathBuf,
        /// The daemon's reason.
        error: String,
    },
}

/// Advice about a daemon that cannot be reached.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "the socket belongs to another user: run this as that user, or with sudo"
        }
        _ => {
            "is it running? `muster serve --admin PATH` starts one there, --admin PATH names another socket"
        }
    }
}

fn either(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(" or ")
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Daemon {
    path: PathBuf,
    lines: BufReader<UnixStream>,
}

impl Daemon {
    /// Connects to the daemon whose admin socket is here.
    ///
    /// # Errors
    /// When no daemon listens there.
    pub fn at(path: &Path) -> Result<Self, AskError> {
        let connect = |source| AskError::Connect { path: path.to_owned(), source };
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(connect)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(connect)?;
        // Also for the connection: the queue of a hanging daemon's listener fills up.
        socket.set_write_timeout(Some(ANSWER_TIMEOUT)).map_err(connect)?;
        socket.connect(&SockAddr::unix(path).map_err(connect)?).map_err(connect)?;
        let stream = UnixStream::from(OwnedFd::from(socket));
        Ok(Self { path: path.to_owned(), lines: BufReader::new(stream) })
    }

    /// Connects to the daemon at the first of these paths where one listens.
    ///
    /// # Errors
    /// When none does.
    pub(crate) fn at_one_of(paths: Vec<PathBuf>) -> Result<Self, AskError> {
        let mut refused = None;
        for path in &paths {
            match Self::at(path) {
                Err(AskError::Connect { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => refused = refused.or(Some(error)),
                daemon => return daemon,
            }
        }
        Err(refused.unwrap_or(AskError::NoSocket(paths)))
    }

    /// Its socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its state.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn status(&mut self) -> Result<Status, AskError> {
        self.ask(&Request::Status { reset_turns: false, watch: false })
    }

    /// Its state, with every port and the last log lines.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn watch(&mut self) -> Result<Status, AskError> {
        self.ask(&Request::Status { reset_turns: false, watch: true })
    }

    /// A game, living or ended.
    ///
    /// # Errors
    /// When it is unknown.
    pub(crate) fn game(&mut self, game: u64) -> Result<OneGame<Report>, AskError> {
        self.ask(&Request::Game { game })
    }

    /// All waiting players.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn players(&mut self) -> Result<Players, AskError> {
        let mut all: Players = self.ask(&Request::Players { from: 0 })?;
        while let Some(next) = all.next.take() {
            let page: Players = self.ask(&next)?;
            all.players.extend(page.players);
            all.next = page.next;
        }
        Ok(all)
    }

    /// Requests a change.
    ///
    /// # Errors
    /// When it refuses, with the reason.
    pub(crate) fn change(&mut self, request: &Request) -> Result<Done, AskError> {
        self.ask(request)
    }

    /// The matchmaker's state: one line of JSON.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn dump(&mut self) -> Result<String, AskError> {
        let state: serde_json::Value = self.ask(&Request::Dump)?;
        Ok(tables::json(&state))
    }

    /// All living games, and the `last` ended ones.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn games(&mut self, last: usize) -> Result<Games<Report>, AskError> {
        let first = Request::Games { last, before: ID_END, from: 0 };
        let mut all: Games<Report> = self.ask(&first)?;
        while let Some(next) = all.next.take() {
            let page: Games<Report> = self.ask(&next)?;
            all.living.extend(page.living);
            all.ended.extend(page.ended);
            all.next = page.next;
        }
        Ok(all)
    }

    /// Replaces its program in place.
    ///
    /// # Errors
    /// When it refuses, with the reason, or does not answer.
    pub(crate) fn upgrade(&mut self, binary: Option<PathBuf>) -> Result<Upgraded, AskError> {
        self.wait_for_preflight()?;
        self.ask(&Request::Upgrade { binary })
    }

    /// Makes it exit and leave everything to the next daemon.
    ///
    /// # Errors
    /// As for [`upgrade`](Self::upgrade).
    pub(crate) fn hand_over(&mut self) -> Result<Done, AskError> {
        self.wait_for_preflight()?;
        self.ask(&Request::Handover)
    }

    fn wait_for_preflight(&self) -> Result<(), AskError> {
        let talk =
            |source| AskError::Talk { attempt: "read from", path: self.path.clone(), source };
        self.lines.get_ref().set_read_timeout(Some(UPGRADE_TIMEOUT)).map_err(talk)
    }

    fn ask<A: DeserializeOwned>(&mut self, request: &Request) -> Result<A, AskError> {
        let path = self.path.clone();
        let failed = |attempt| {
            let path = path.clone();
            move |source| AskError::Talk { attempt, path, source }
        };
        let mut line = serde_json::to_string(request).unwrap_or_default();
        line.push('\n');
        self.lines.get_mut().write_all(line.as_bytes()).map_err(failed("ask"))?;
        let mut answer = String::new();
        let read = self.lines.by_ref().take(ANSWER_MAX).read_line(&mut answer);
        match read.map_err(failed("read from"))? {
            0 => Err(failed("read from")(io::ErrorKind::UnexpectedEof.into())),
            _ => match serde_json::from_str(&answer) {
                Ok(Refusal { error }) => Err(AskError::Refused { path, error }),
                Err(_) => serde_json::from_str(&answer)
                    .map_err(|error| failed("understand")(error.into())),
            },
        }
    }
}
