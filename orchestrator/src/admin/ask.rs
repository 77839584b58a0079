//! Asking a running daemon, as operators' commands do.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Done, END, Games, OneGame, Players, Refusal, Request, Status, Upgraded};
use crate::games::reports::Report;

/// How long a daemon may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a daemon may take to look at another program, and to become it.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(60);

/// Far longer than any answer.
const ANSWER_MAX: u64 = 64 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("cannot connect to Muster at {}: {source}; {}", path.display(), advice(source))]
    Connect { path: PathBuf, source: io::Error },
    #[error(
        "no Muster is running here: there is no socket {}; start one with `muster serve`, or name the socket of one \
         that runs: --admin PATH", either(.0)
    )]
    Nowhere(Vec<PathBuf>),
    #[error("cannot {attempt} Muster at {}: {source}", path.display())]
    Talk { attempt: &'static str, path: PathBuf, source: io::Error },
    #[error("Muster at {} says: {error}", path.display())]
    Refused { path: PathBuf, error: String },
}

/// What to do about a daemon that cannot be reached.
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

/// A conversation with a daemon.
pub(crate) struct Daemon {
    path: PathBuf,
    lines: BufReader<UnixStream>,
}

impl Daemon {
    /// Connects to the daemon whose admin socket is here.
    ///
    /// # Errors
    /// When nobody listens there.
    pub(crate) fn at(path: &Path) -> Result<Self, AskError> {
        let connect = |source| AskError::Connect { path: path.to_owned(), source };
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(connect)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(connect)?;
        // Of the connection, too: one that stands still has a queue at its door.
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
        Err(refused.unwrap_or(AskError::Nowhere(paths)))
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// How it is.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) fn status(&mut self) -> Result<Status, AskError> {
        self.ask(&Request::Status { reset_turns: false, watch: false })
    }

    /// How it is, port by port.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) fn watch(&mut self) -> Result<Status, AskError> {
        self.ask(&Request::Status { reset_turns: false, watch: true })
    }

    /// All that is known of a game.
    ///
    /// # Errors
    /// When nothing is.
    pub(crate) fn game(&mut self, game: u64) -> Result<OneGame<Report>, AskError> {
        self.ask(&Request::Game { game })
    }

    /// All who wait.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) fn players(&mut self) -> Result<Players, AskError> {
        let mut all: Players = self.ask(&Request::Players { from: 0 })?;
        while let Some(next) = all.next.take() {
            let page: Players = self.ask(&next)?;
            all.players.extend(page.players);
            all.next = page.next;
        }
        Ok(all)
    }

    /// Has it change something.
    ///
    /// # Errors
    /// When it refuses, with the reason.
    pub(crate) fn change(&mut self, request: &Request) -> Result<Done, AskError> {
        self.ask(request)
    }

    /// What its brain knows: JSON, and an end of the line.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) fn dump(&mut self) -> Result<String, AskError> {
        let state: serde_json::Value = self.ask(&Request::Dump)?;
        Ok(super::tables::json(&state))
    }

    /// All living games, and so many of those that ended last.
    ///
    /// # Errors
    /// When it does not say.
    pub(crate) fn games(&mut self, last: usize) -> Result<Games<Report>, AskError> {
        let first = Request::Games { last, before: END, from: 0 };
        let mut all: Games<Report> = self.ask(&first)?;
        while let Some(next) = all.next.take() {
            let page: Games<Report> = self.ask(&next)?;
            all.living.extend(page.living);
            all.ended.extend(page.ended);
            all.next = page.next;
        }
        Ok(all)
    }

    /// Has it go on as another program.
    ///
    /// # Errors
    /// When it refuses, with the reason; or does not say.
    pub(crate) fn upgrade(&mut self, binary: Option<PathBuf>) -> Result<Upgraded, AskError> {
        self.wait_for_preflight()?;
        self.ask(&Request::Upgrade { binary })
    }

    /// Has it end and leave everything to the next daemon.
    ///
    /// # Errors
    /// As for [`upgrade`](Self::upgrade).
    pub(crate) fn hand_over(&mut self) -> Result<Done, AskError> {
        self.wait_for_preflight()?;
        self.ask(&Request::Handover)
    }

    fn wait_for_preflight(&self) -> Result<(), AskError> {
        let talk = |source| AskError::Talk { attempt: "hear", path: self.path.clone(), source };
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
        match read.map_err(failed("hear"))? {
            0 => Err(failed("hear")(io::ErrorKind::UnexpectedEof.into())),
            _ => match serde_json::from_str(&answer) {
                Ok(Refusal { error }) => Err(AskError::Refused { path, error }),
                Err(_) => serde_json::from_str(&answer)
                    .map_err(|error| failed("understand")(error.into())),
            },
        }
    }
}
