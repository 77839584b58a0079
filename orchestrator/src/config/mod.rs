//! What an operator sets: read from TOML once, checked once, and from then on a [`Config`] that cannot hold
//! an invalid value.
//!
//! `raw` is the file's shape; `check`, `modes` and `confinement` turn it into this module's types and say what is
//! wrong, where.

mod check;
mod confinement;
#[cfg(test)]
mod delivered;
mod modes;
mod places;
mod positions;
mod raw;
mod reading;
mod warnings;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use launcher::{Confinement, Contract};
use log::LevelFilter;
use matchmaker::{ModeId, Skill};
use protocol::Visible;
use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use service::endpoint::Endpoint;

use crate::address::{self, Prefix};

pub(crate) use places::{Places, Program};
pub(crate) use warnings::Warning;

/// The most addresses of one game: as many as a connect token holds.
const PUBLIC_ADDRESSES_MAX: usize = 32;

/// Everything that `muster serve` needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    pub(crate) ports: Ports,
    pub(crate) limits: Limits,
    pub(crate) shutdown: Shutdown,
    /// Whether what happens is written down, so that a daemon that crashed can be replaced.
    pub(crate) crash_safe: bool,
    pub(crate) reports: Reports,
    /// How much is logged.
    pub(crate) log_level: LevelFilter,
    /// Where Muster runs as root, games run as users from this one on.
    pub(crate) first_user: u32,
    /// By their places, those that were removed included; see [`places`].
    pub(crate) modes: Vec<Mode>,
    /// The modes that are played, as the operator has ordered them. At least one; the first is the default queue.
    pub(crate) order: Vec<ModeId>,
    /// What games are made of, by the programs' places.
    pub(crate) programs: Vec<Program>,
    /// Where in the file the values stand.
    positions: positions::Positions,
}

/// Where Muster listens.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    /// For players. Port 0 lets the kernel choose one.
    pub(crate) tcp: SocketAddr,
    /// For operators.
    pub(crate) admin: Endpoint<PathBuf>,
    /// For figures, over HTTP. Port 0 lets the kernel choose one.
    pub(crate) metrics: Endpoint<SocketAddr>,
    /// Who passes connections on and says whose they are, in the PROXY protocol.
    pub(crate) proxy_from: Vec<Prefix>,
    /// Where the socket for players listens, once there is one: it may have been given.
    pub(crate) bound: Option<SocketAddr>,
}

impl Listen {
    /// Where players connect, as far as it is known.
    pub(crate) fn listens_on(&self) -> SocketAddr {
        self.bound.unwrap_or(self.tcp)
    }

    /// Whether a connection from an address begins with a PROXY header.
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxy_from.iter().any(|proxies| proxies.contains(address))
    }
}

/// The ring of UDP ports.
#[derive(Debug, Clone)]
pub(crate) struct Ports {
    pub(crate) range: RangeInclusive<u16>,
    /// What players are told.
    pub(crate) public_host: String,
    /// The addresses of `public_host` where that is a name, as far as they are known; see [`Lookup`](crate::lookup).
    pub(crate) resolved: Vec<IpAddr>,
    /// Where games' sockets are bound, if not where `public_host` leads.
    pub(crate) bind: Option<IpAddr>,
    pub(crate) quarantine: Duration,
}

/// Bounds on what players and games may use.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) clients: usize,
    pub(crate) clients_per_address: usize,
    /// Places of players who are away, that are kept for one address.
    pub(crate) away_per_address: usize,
    /// Seats that one address may hold which nobody has come into; zero: any number.
    pub(crate) seats_per_address: usize,
    /// Parties of one address.
    pub(crate) parties_per_address: usize,
    /// Clients beyond the bounds that are kept for a moment, to be told so in a way that reaches them. No key.
    pub(crate) refused: usize,
    pub(crate) queue: usize,
    /// From the connection to its first line.
    pub(crate) handshake_timeout: Duration,
    /// From a line's first byte to its end.
    pub(crate) line_timeout: Duration,
    /// Between two lines of a client that is not queued.
    pub(crate) idle_timeout: Duration,
    /// Without progress, while something is to be written.
    pub(crate) write_timeout: Duration,
    /// From the last line to the close, for a client that does not close.
    pub(crate) close_timeout: Duration,
    /// Without a sign of life from a client's machine, whether or not anything was sent to it.
    pub(crate) lost_timeout: Duration,
    /// How long the place of a player is kept whose connection is lost.
    pub(crate) resume_window: Duration,
    /// The addresses of those who may say what a player is able to.
    pub(crate) skill_from: Vec<IpAddr>,
    /// Lines that a client may send, in the long run.
    pub(crate) lines_per_second: u32,
    /// Lines that a client may send at once.
    pub(crate) lines_burst: u32,
    /// Bytes that wait to be written to a client, at most.
    pub(crate) write_buffer: usize,
    /// Games launching at a time.
    pub(crate) launching: usize,
    /// Lines of a game's stdout and stderr that go into the log, in the long run.
    pub(crate) output_lines_per_second: u32,
}

/// How Muster goes down.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    /// How long running games may go on.
    pub(crate) drain_timeout: Duration,
}

/// What is remembered of games that ended.
#[derive(Debug, Clone)]
pub(crate) struct Reports {
    /// So many of them, at most.
    pub(crate) keep: usize,
}

/// What is played in a queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mode {
    pub(crate) name: String,
    /// Whether it was removed: what is played there is played to its end.
    pub(crate) is_closed: bool,
    /// The place of its program.
    pub(crate) program: usize,
    pub(crate) players: usize,
    /// The squads of each team; none: all play in one.
    pub(crate) teams: Vec<Vec<usize>>,
    /// Players who may be queued together.
    pub(crate) party_max: usize,
    /// Who may meet whom, where not whoever comes next.
    pub(crate) skill: Option<Skill>,
    /// How long players may wait for others in a round, and how many rounds.
    pub(crate) max_wait: Option<Duration>,
    pub(crate) rounds: u32,
    /// The program, then its arguments.
    pub(crate) command: Vec<String>,
    /// Variables for the game besides those of the contract.
    pub(crate) env: BTreeMap<String, String>,
    /// What the program knows of Muster.
    pub(crate) contract: Contract,
    /// For a program that knows nothing: what it prints when it can be played with.
    #[serde(with = "places::pattern")]
    pub(crate) ready_line: Option<Regex>,
    /// Where games are forked from a template: how many, before it is started anew.
    pub(crate) template: Option<u64>,
    pub(crate) confinement: Confinement,
    pub(crate) transport: Transport,
    /// Games kept ready for players: as many as matches come, between these.
    pub(crate) warm_min: usize,
    pub(crate) warm_max: usize,
    pub(crate) ready_timeout: Duration,
    pub(crate) start_timeout: Duration,
    /// How long players may take to accept a match, where they are asked.
    pub(crate) accept_timeout: Option<Duration>,
    pub(crate) hello_timeout: Duration,
    /// Whether players may come back into a running game.
    pub(crate) rejoin: bool,
    pub(crate) max_duration: Duration,
    pub(crate) alive_timeout: Option<Duration>,
    pub(crate) stop_grace: Duration,
    #[cfg(feature = "stub-games")]
    #[serde(default)]
    pub(crate) is_stub: bool,
}

/// How a game and its players speak over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Transport {
    Plain,
    Netcode,
}

/// A configuration that cannot be used. Names the file, the line, the column and the key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}:{column}: {key}: {}", path.display(), Visible(problem))]
    Key { path: PathBuf, line: usize, column: usize, key: String, problem: String },
    #[error("{name}: {problem}")]
    Flag { name: &'static str, problem: String },
    /// All that is wrong with a file, each in a line of its own.
    #[error("{}", lines(.0))]
    Several(Vec<ConfigError>),
    /// What is wrong was told before.
    #[error("this was told before")]
    Told,
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    /// The line and the column of the file where it stands, where there are any.
    fn position(&self) -> Option<(usize, usize)> {
        match self {
            Self::Key { line, column, .. } => Some((*line, *column)),
            Self::Read { .. } | Self::Flag { .. } | Self::Several(_) | Self::Told => None,
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`] for everything that is wrong with it.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::from_text(&text, path)
    }

    /// What is used where there is no file.
    pub(crate) fn default_config() -> Self {
        match Self::from_text("", Path::new("(default)")) {
            Ok(config) => config,
            Err(error) => unreachable!("the default configuration is wrong: {error}"),
        }
    }

    fn from_text(text: &str, path: &Path) -> Result<Self, ConfigError> {
        check::config(text, path)
    }

    /// Takes a value from the command line or the environment in place of the file's.
    ///
    /// # Errors
    /// When the value is not one that the key can hold.
    pub(crate) fn set_port_range(&mut self, text: &str) -> Result<(), ConfigError> {
        self.ports.range = check::port_range(text)
            .map_err(|problem| ConfigError::Flag { name: "--ports", problem })?;
        Ok(())
    }

    /// Takes the games' host from the command line or the environment in place of the file's.
    ///
    /// # Errors
    /// When it is no host.
    pub(crate) fn set_public_host(&mut self, host: &str) -> Result<(), ConfigError> {
        self.ports.public_host = address::public_host(host)
            .map_err(|problem| ConfigError::Flag { name: "--public-host", problem })?;
        Ok(())
    }

    /// The part that the brain needs.
    pub(crate) fn for_brain(&self) -> matchmaker::Config {
        let mode = |mode: &Mode| matchmaker::Mode {
            name: mode.name.clone(),
            is_closed: mode.is_closed,
            program: mode.program,
            players: mode.players,
            teams: mode.teams.clone(),
            party_max: mode.party_max,
            skill: mode.skill,
            max_wait: mode.max_wait,
            rounds: mode.rounds,
            warm_min: mode.warm_min,
            warm_max: mode.warm_max,
            ready_timeout: mode.ready_timeout,
            start_timeout: mode.start_timeout,
            accept_timeout: mode.accept_timeout,
            hello_timeout: mode.hello_timeout,
            rejoin: mode.rejoin,
            max_duration: mode.max_duration,
            alive_timeout: mode.alive_timeout,
            stop_grace: mode.stop_grace,
            has_control: mode.contract == Contract::Muster,
        };
        matchmaker::Config {
            modes: self.modes.iter().map(mode).collect(),
            default_mode: self.order[0],
            ports: self.ports.range.clone(),
            quarantine: self.ports.quarantine,
            drain_timeout: self.shutdown.drain_timeout,
            queue_max: self.limits.queue,
            resume_window: self.limits.resume_window,
            launching_max: self.limits.launching,
            away_per_account: self.limits.away_per_address,
            seats_per_account: self.limits.seats_per_address,
            parties_per_account: self.limits.parties_per_address,
        }
    }
}

impl Mode {
    /// The part that a game keeps for its life.
    fn as_program(&self) -> Program {
        let run = launcher::Program {
            mode: self.name.clone(),
            command: self.command.clone(),
            env: self.env.clone(),
            contract: self.contract,
            template: self.template,
            ready_timeout: self.ready_timeout,
            confinement: self.confinement.clone(),
        };
        Program { run, transport: self.transport, ready_line: self.ready_line.clone() }
    }

    /// The slots of each team, which follow each other.
    pub(crate) fn slots_by_team(&self) -> Vec<Vec<usize>> {
        let mut slots = 0..;
        let size = |team: &Vec<usize>| team.iter().sum();
        self.teams.iter().map(|team| slots.by_ref().take(size(team)).collect()).collect()
    }
}

impl Ports {
    /// The addresses at which players reach games, as far as they are known: one if `public_host` is an address; none
    /// while its name was not resolved. Only those that lead to where games listen, and IPv4 first: more players have it.
    pub(crate) fn public_addresses(&self) -> Vec<IpAddr> {
        let listens_on = self.bind_address();
        let leads_there = |address: &IpAddr| {
            let fits = address.is_ipv4() == listens_on.is_ipv4()
                || listens_on == IpAddr::from(Ipv6Addr::UNSPECIFIED);
            fits && address::unreachable(*address).is_none()
        };
        let known = match self.public_host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => self.resolved.clone(),
        };
        let mut addresses = Vec::new();
        for address in known.into_iter().map(address::canonical).filter(leads_there) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.truncate(PUBLIC_ADDRESSES_MAX);
        addresses
    }

    /// The name that has to be resolved for that, if one has to be.
    pub(crate) fn name_to_resolve(&self) -> Option<&str> {
        let host = self.public_host.as_str();
        (host.parse::<IpAddr>().is_err()).then_some(host)
    }

    /// The addresses on which a game may listen: the first one that this machine has. What players are told, so that
    /// answers come from where they send to; else all addresses, of both families where the name has both.
    pub(crate) fn bind_addresses(&self) -> Vec<IpAddr> {
        const ALL_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        const ALL: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        if let Some(bind) = self.bind {
            return vec![bind];
        }
        match self.public_host.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() => vec![address],
            Ok(address @ IpAddr::V4(_)) => vec![address, ALL_V4],
            Ok(address @ IpAddr::V6(_)) => vec![address, ALL],
            Err(_) if address::is_loopback_host(&self.public_host) => {
                vec![Ipv4Addr::LOCALHOST.into()]
            }
            Err(_) if self.resolved.iter().any(IpAddr::is_ipv6) => vec![ALL, ALL_V4],
            Err(_) => vec![ALL_V4],
        }
    }

    /// The address on which games listen, if this machine has it.
    pub(crate) fn bind_address(&self) -> IpAddr {
        self.bind_addresses()[0]
    }
}

impl Transport {
    /// The word that players are told.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Netcode => protocol::netcode::TRANSPORT,
        }
    }
}
