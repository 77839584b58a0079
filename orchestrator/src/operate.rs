//! What operators' commands do: each asks a running daemon one thing, and shows the answer to people or to programs.

mod drained;

use std::fmt::Display;
use std::io::{self, Write as _};

use clap::CommandFactory as _;
use serde::Serialize;

use crate::Failure;
use crate::accessories;
use crate::admin::Request;
use crate::admin::ask::Daemon;
use crate::admin::tables;
use crate::cli::{Ask, Cli, Command};
use crate::config::{Accessory, Config};
use crate::watch;

/// Does what an operator wants.
///
/// # Errors
/// When no daemon is to be reached, or it refuses.
pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Games { last, ask } => {
            let games = daemon(&ask)?.games(last)?;
            show(&ask, &games, tables::games)
        }
        Command::Game { game, ask } => {
            let found = daemon(&ask)?.game(game)?;
            show(&ask, &found, tables::game)
        }
        Command::Players { ask } => {
            let players = daemon(&ask)?.players()?;
            show(&ask, &players, tables::players)
        }
        Command::Status { watch: true, ask } => watch::run(daemon(&ask)?),
        Command::Status { watch: false, ask } => {
            let status = daemon(&ask)?.status()?;
            show(&ask, &status, tables::status)
        }
        Command::Upgrade { binary, ask } => {
            let absolute = binary.map(std::path::absolute).transpose();
            let binary = absolute.map_err(Failure::run("tell where the program is"))?;
            let upgraded = daemon(&ask)?.upgrade(binary)?;
            show(&ask, &upgraded, tables::upgraded)
        }
        Command::Handover { ask } => {
            let done = daemon(&ask)?.hand_over()?;
            show(&ask, &done, tables::done)
        }
        Command::Log { level, ask } => change(&ask, &Request::Log { level: level.to_string() }),
        Command::Dump { ask } => say(daemon(&ask)?.dump()?),
        Command::Drain { wait: false, ask } => change(&ask, &Request::Drain),
        Command::Drain { wait: true, ask } => {
            let mut daemon = daemon(&ask)?;
            let path = daemon.path().to_owned();
            // Asked first: it may be gone as soon as it drains.
            let pid = daemon.status()?.pid;
            let done = daemon.change(&Request::Drain)?;
            drop(daemon);
            show(&ask, &done, tables::done)?;
            drained::wait(&path, pid)
        }
        Command::Undrain { ask } => change(&ask, &Request::Undrain),
        Command::Reload { ask } => change(&ask, &Request::Reload),
        Command::Kick { player, ask } => change(&ask, &Request::Kick { player }),
        Command::Kill { game, now, ask } => change(&ask, &Request::Kill { game, now }),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "muster", &mut script);
            say(String::from_utf8_lossy(&script))
        }
        Command::Serve(_) | Command::Preflight(_) | Command::CheckConfig { .. } => {
            unreachable!("these are no operator's commands")
        }
    }
}

/// Has the daemon change something, and says what it says to that.
fn change(ask: &Ask, request: &Request) -> Result<(), Failure> {
    let done = daemon(ask)?.change(request)?;
    show(ask, &done, tables::done)
}

/// Connects to the daemon that an operator asks: as a flag or the environment says, else the file, else at the usual
/// places.
fn daemon(ask: &Ask) -> Result<Daemon, Failure> {
    let config = match (&ask.admin, &ask.config) {
        (None, Some(file)) => Some(Config::from_file(file)?),
        _ => None,
    };
    let wanted = ask.admin.clone().unwrap_or_default();
    match wanted.or(config.map(|config| config.listen.admin).unwrap_or_default()) {
        Accessory::At(path) => Ok(Daemon::at(&path)?),
        Accessory::Usual => Ok(Daemon::at_one_of(accessories::places())?),
        Accessory::Off => Err(Failure::Usage(
            "listen.admin is \"off\": that daemon has no socket for operators; --admin PATH names another",
        )),
    }
}

fn show<A: Serialize>(ask: &Ask, answer: &A, table: fn(&A) -> String) -> Result<(), Failure> {
    say(if ask.json { tables::json(answer) } else { table(answer) })
}

/// The answer to a person's command.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn say(text: impl Display) -> Result<(), Failure> {
    match write!(io::stdout(), "{text}") {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::run("write the answer")),
    }
}
