//! The commands of `muster` for operators: each asks a running daemon over its admin socket, and prints the answer for
//! people or as JSON.
//!
//! [`Command`] is the command line, [`ask`] the connection to the daemon, `tables` the output for people, `watch`
//! the live view. The requests and answers are [`protocol::admin`]. Nothing here knows the daemon's code.

#![forbid(unsafe_code)]

pub mod ask;
mod command;
mod drained;
mod tables;
mod watch;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use protocol::admin::Request;
use serde::Serialize;
use service::endpoint::{Endpoint, admin_socket_candidates};

use self::ask::{AskError, Daemon};
pub use self::command::{Ask, Command};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The daemon does not answer, or refuses.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// A daemon that drains did not end.
    #[error(transparent)]
    Drain(#[from] drained::DrainError),
    /// The command makes no sense here.
    #[error("{0}")]
    Usage(&'static str),
    /// A system call failed.
    #[error("cannot {attempt}: {source}")]
    Run {
        /// The attempted operation.
        attempt: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}

impl Error {
    /// The exit code of the process, by sysexits(3) where it has one.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Ask(AskError::Connect { .. } | AskError::NoSocket(_)) => 69,
            Self::Ask(_) | Self::Drain(_) | Self::Run { .. } => 1,
            Self::Usage(_) => 2,
        }
    }

    fn run(attempt: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Run { attempt, source }
    }
}

/// Runs a command. `admin_of` reads `listen.admin` from a configuration.
///
/// # Errors
/// When no daemon can be reached, or it refuses; and those of `admin_of`.
pub fn run<E: From<Error>>(
    command: Command,
    admin_of: impl FnOnce(&Path) -> Result<Endpoint<PathBuf>, E>,
) -> Result<(), E> {
    let ask = command.ask();
    let configured = match (&ask.admin, &ask.config) {
        (None, Some(file)) => admin_of(file)?,
        _ => Endpoint::Default,
    };
    let wanted = ask.admin.clone().unwrap_or_default().or(configured);
    connect(wanted).and_then(|daemon| carry_out(command, daemon)).map_err(E::from)
}

fn connect(wanted: Endpoint<PathBuf>) -> Result<Daemon, Error> {
    match wanted {
        Endpoint::At(path) => Ok(Daemon::at(&path)?),
        Endpoint::Default => Ok(Daemon::at_one_of(admin_socket_candidates())?),
        Endpoint::Off => Err(Error::Usage(
            "listen.admin is \"off\": that daemon has no admin socket; --admin PATH names another",
        )),
    }
}

fn carry_out(command: Command, mut daemon: Daemon) -> Result<(), Error> {
    match command {
        Command::Games { last, ask } => show(&ask, &daemon.games(last)?, tables::games),
        Command::Game { game, ask } => show(&ask, &daemon.game(game)?, tables::game),
        Command::Players { ask } => show(&ask, &daemon.players()?, tables::players),
        Command::Status { watch: true, .. } => watch::run(daemon),
        Command::Status { watch: false, ask } => show(&ask, &daemon.status()?, tables::status),
        Command::Upgrade { binary, ask } => {
            let absolute = binary.map(std::path::absolute).transpose();
            let binary = absolute.map_err(Error::run("find the program's absolute path"))?;
            show(&ask, &daemon.upgrade(binary)?, tables::upgraded)
        }
        Command::Handover { ask } => show(&ask, &daemon.hand_over()?, tables::done),
        Command::Dump { .. } => print(daemon.dump()?),
        Command::Drain { wait: true, ask } => {
            let path = daemon.path().to_owned();
            // Before the drain, as the daemon may exit at once.
            let pid = daemon.status()?.pid;
            let done = daemon.change(&Request::Drain)?;
            drop(daemon);
            show(&ask, &done, tables::done)?;
            drained::wait(&path, pid)
        }
        Command::Drain { wait: false, ask } => change(&ask, daemon, &Request::Drain),
        Command::Undrain { ask } => change(&ask, daemon, &Request::Undrain),
        Command::Reload { ask } => change(&ask, daemon, &Request::Reload),
        Command::Log { level, ask } => {
            change(&ask, daemon, &Request::Log { level: level.to_string() })
        }
        Command::Kick { player, ask } => change(&ask, daemon, &Request::Kick { player }),
        Command::Kill { game, now, ask } => change(&ask, daemon, &Request::Kill { game, now }),
    }
}

fn change(ask: &Ask, mut daemon: Daemon, request: &Request) -> Result<(), Error> {
    show(ask, &daemon.change(request)?, tables::done)
}

fn show<A: Serialize>(ask: &Ask, answer: &A, table: fn(&A) -> String) -> Result<(), Error> {
    print(if ask.json { tables::json(answer) } else { table(answer) })
}

/// Prints a command's answer on stdout.
///
/// # Errors
/// When it cannot be written, except to a pipe whose reader is gone.
pub fn print(text: impl Display) -> Result<(), Error> {
    match write!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Error::run("write the answer")),
    }
}
