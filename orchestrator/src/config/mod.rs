//! The configuration: read from TOML and checked once, and from then on a [`Config`] that cannot hold an invalid value.
//!
//! Each section is a struct with the keys' types, ranges and defaults; [`values`] reads values, [`mode`] has the keys of
//! a mode. `reading` finds all mistakes of a file; `check`, `modes` and `confinement` check what involves several keys.

mod check;
mod confinement;
#[cfg(test)]
mod delivered;
mod limits;
mod mode;
mod modes;
mod places;
mod positions;
mod raw;
mod reading;
mod values;
mod warnings;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brain::ModeId;
use log::LevelFilter;
use protocol::Visible;
use serde::Deserialize;
use service::endpoint::Endpoint;

use crate::address::{self, Prefix};

use limits::{PUBLIC_ADDRESSES_MAX, REFUSED_MAX, WRITE_BUFFER_MAX};

pub(crate) use mode::{Mode, Program, Transport};
pub(crate) use places::Places;
pub(crate) use warnings::Warning;

/// Everything that `muster serve` needs to know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) listen: Listen,
    pub(crate) ports: Ports,
    pub(crate) limits: Limits,
    pub(crate) shutdown: Shutdown,
    /// Whether the state survives a crash.
    pub(crate) crash_safe: bool,
    pub(crate) reports: Reports,
    /// The log level.
    pub(crate) log_level: LevelFilter,
    /// If Muster runs as root: the first of the games' users.
    pub(crate) first_user: u32,
    /// By index, removed ones included; see [`places`].
    pub(crate) modes: Vec<Mode>,
    /// The modes of the file, in its order. At least one; the first is the default queue.
    pub(crate) order: Vec<ModeId>,
    /// By index.
    pub(crate) programs: Vec<Program>,
    /// The positions of the values in the file.
    positions: positions::Positions,
}

/// The addresses on which Muster listens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Listen {
    /// For players. Port 0 lets the kernel choose one.
    #[serde(deserialize_with = "values::socket_address")]
    pub(crate) tcp: SocketAddr,
    /// For operators.
    #[serde(deserialize_with = "values::admin")]
    pub(crate) admin: Endpoint<PathBuf>,
    /// For metrics and the web page. Port 0 lets the kernel choose one.
    #[serde(deserialize_with = "values::metrics")]
    pub(crate) metrics: Endpoint<SocketAddr>,
    /// Proxies that name their clients in the PROXY protocol.
    #[serde(deserialize_with = "values::prefixes")]
    pub(crate) proxy_from: Vec<Prefix>,
    /// The address of the open listener, which may be an inherited one. Not a key.
    #[serde(skip)]
    pub(crate) bound: Option<SocketAddr>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            tcp: SocketAddr::from((Ipv4Addr::LOCALHOST, 7000)),
            admin: Endpoint::Default,
            metrics: Endpoint::Default,
            proxy_from: Vec::new(),
            bound: None,
        }
    }
}

impl Listen {
    /// The address at which players connect, as far as it is known.
    pub(crate) fn listens_on(&self) -> SocketAddr {
        self.bound.unwrap_or(self.tcp)
    }

    /// Whether a connection from an address begins with a PROXY header.
    pub(crate) fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxy_from.iter().any(|proxies| proxies.contains(address))
    }
}

/// The ring of UDP ports.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ports {
    #[serde(deserialize_with = "values::port_range")]
    pub(crate) range: RangeInclusive<u16>,
    /// The games' host in assignments.
    #[serde(deserialize_with = "values::public_host")]
    pub(crate) public_host: String,
    /// The addresses of `public_host` if it is a name, as far as they are resolved; [`Lookup`](crate::lookup). Not a key.
    #[serde(skip)]
    pub(crate) resolved: Vec<IpAddr>,
    /// The address of games' sockets, if it differs from that of `public_host`.
    #[serde(deserialize_with = "values::bind_address")]
    pub(crate) bind: Option<IpAddr>,
    /// The time that a port rests after its game.
    #[serde(with = "values::duration")]
    pub(crate) quarantine: Duration,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            range: 20000..=20099,
            public_host: Ipv4Addr::LOCALHOST.to_string(),
            resolved: Vec::new(),
            bind: None,
            quarantine: Duration::from_secs(5),
        }
    }
}

/// Bounds on what players and games may use.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    #[serde(deserialize_with = "values::number::<usize, 1, 1_000_000, _>")]
    pub(crate) clients: usize,
    #[serde(deserialize_with = "values::number::<usize, 1, 1_000_000, _>")]
    pub(crate) clients_per_address: usize,
    /// Sessions of absent players per address. By default as many as clients.
    #[serde(deserialize_with = "values::number_if_set::<usize, 1, 1_000_000, _>")]
    pub(super) away_per_address: Option<usize>,
    /// Seats per address that no player has joined; zero: no bound.
    #[serde(deserialize_with = "values::number::<usize, 0, 1_000_000, _>")]
    pub(crate) seats_per_address: usize,
    /// Parties per address.
    #[serde(deserialize_with = "values::number::<usize, 1, 1_000_000, _>")]
    pub(crate) parties_per_address: usize,
    /// Clients beyond the bounds that stay connected until they have received their refusal. Not a key.
    #[serde(skip)]
    pub(crate) refused: usize,
    #[serde(deserialize_with = "values::number::<usize, 1, 10_000_000, _>")]
    pub(crate) queue: usize,
    /// From the connection to its first line.
    #[serde(with = "values::timeout")]
    pub(crate) handshake_timeout: Duration,
    /// From a line's first byte to its end.
    #[serde(with = "values::timeout")]
    pub(crate) line_timeout: Duration,
    /// Between two lines of a client that is not queued.
    #[serde(with = "values::timeout")]
    pub(crate) idle_timeout: Duration,
    /// Without progress while output is pending.
    #[serde(with = "values::timeout")]
    pub(crate) write_timeout: Duration,
    /// From the last line to the close, for a client that does not close.
    #[serde(with = "values::timeout")]
    pub(crate) close_timeout: Duration,
    /// Without an acknowledgement by the client's machine.
    #[serde(with = "values::timeout")]
    pub(crate) lost_timeout: Duration,
    /// The time that the session of a player without a connection is kept.
    #[serde(with = "values::duration")]
    pub(crate) resume_window: Duration,
    /// Clients whose `skill=` is accepted.
    #[serde(deserialize_with = "values::addresses")]
    pub(crate) skill_from: Vec<IpAddr>,
    /// Lines from one client per second, in the long run.
    #[serde(deserialize_with = "values::number::<u32, 1, 1_000_000, _>")]
    pub(crate) lines_per_second: u32,
    /// Lines from one client at once.
    #[serde(deserialize_with = "values::number::<u32, 1, 1_000_000, _>")]
    pub(crate) lines_burst: u32,
    /// Bytes of pending output for one client.
    #[serde(deserialize_with = "values::number::<usize, WRITE_BUFFER_MIN, WRITE_BUFFER_MAX, _>")]
    pub(crate) write_buffer: usize,
    /// Launches under way.
    #[serde(deserialize_with = "values::number::<usize, 1, 1_024, _>")]
    pub(crate) launching: usize,
    /// Lines of one game's stdout and stderr that are logged per second, in the long run.
    #[serde(deserialize_with = "values::number::<u32, 1, 100_000, _>")]
    pub(crate) output_lines_per_second: u32,
}

const WRITE_BUFFER_MIN: i64 = 2 * protocol::SERVER_LINE_MAX as i64;

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 20_000,
            clients_per_address: 1_000,
            away_per_address: None,
            seats_per_address: 64,
            parties_per_address: 100,
            refused: REFUSED_MAX,
            queue: 100_000,
            handshake_timeout: Duration::from_secs(10),
            line_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(2),
            lost_timeout: Duration::from_secs(60),
            resume_window: Duration::from_secs(30),
            skill_from: Vec::new(),
            lines_per_second: 1_000,
            lines_burst: 10_000,
            write_buffer: 65_536,
            launching: 32,
            output_lines_per_second: 100,
        }
    }
}

impl Limits {
    /// Sessions of absent players per address.
    pub(crate) fn away_per_address(&self) -> usize {
        self.away_per_address.unwrap_or(self.clients_per_address)
    }
}

/// Shutting down.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Shutdown {
    /// The time that running games may continue.
    #[serde(with = "values::duration")]
    pub(crate) drain_timeout: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { drain_timeout: Duration::from_secs(120) }
    }
}

/// Reports of ended games.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reports {
    /// Reports that are kept.
    #[serde(deserialize_with = "values::number::<usize, 0, 100_000, _>")]
    pub(crate) keep: usize,
}

impl Default for Reports {
    fn default() -> Self {
        Self { keep: 1_000 }
    }
}

/// The log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Log {
    #[serde(deserialize_with = "values::level")]
    level: LevelFilter,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LevelFilter::Info }
    }
}

/// The daemon's state.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct State {
    /// Whether it survives a crash.
    crash_safe: bool,
}

impl Default for State {
    fn default() -> Self {
        Self { crash_safe: true }
    }
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
    /// All mistakes of a file, one per line.
    #[error("{}", lines(.0))]
    Several(Vec<ConfigError>),
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    /// The line and the column in the file, if there are any.
    fn position(&self) -> Option<(usize, usize)> {
        match self {
            Self::Key { line, column, .. } => Some((*line, *column)),
            Self::Read { .. } | Self::Flag { .. } | Self::Several(_) => None,
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`], with all mistakes.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::from_text(&text, path)
    }

    /// The configuration without a file.
    pub(crate) fn default_config() -> Self {
        match Self::from_text("", Path::new("(default)")) {
            Ok(config) => config,
            Err(error) => unreachable!("the default configuration is wrong: {error}"),
        }
    }

    fn from_text(text: &str, path: &Path) -> Result<Self, ConfigError> {
        check::config(text, path)
    }

    /// Replaces the file's port range by that of the command line or the environment.
    ///
    /// # Errors
    /// When it is not a port range.
    pub(crate) fn set_port_range(&mut self, text: &str) -> Result<(), ConfigError> {
        self.ports.range = values::parse_port_range(text)
            .map_err(|problem| ConfigError::Flag { name: "--ports", problem })?;
        Ok(())
    }

    /// Replaces the file's public host by that of the command line or the environment.
    ///
    /// # Errors
    /// When it is not a host.
    pub(crate) fn set_public_host(&mut self, host: &str) -> Result<(), ConfigError> {
        self.ports.public_host = address::public_host(host)
            .map_err(|problem| ConfigError::Flag { name: "--public-host", problem })?;
        Ok(())
    }

    /// The matchmaker's view.
    pub(crate) fn for_brain(&self) -> brain::Config {
        brain::Config {
            modes: self.modes.iter().map(brain::Mode::from).collect(),
            default_mode: self.order[0],
            ports: self.ports.range.clone(),
            quarantine: self.ports.quarantine,
            drain_timeout: self.shutdown.drain_timeout,
            queue_max: self.limits.queue,
            resume_window: self.limits.resume_window,
            launching_max: self.limits.launching,
            away_per_account: self.limits.away_per_address(),
            seats_per_account: self.limits.seats_per_address,
            parties_per_account: self.limits.parties_per_address,
        }
    }
}

impl Ports {
    /// The addresses at which players reach games, as far as they are known: one if `public_host` is an address; none
    /// while its name is not resolved. Only addresses on which games listen, and IPv4 first, as more players have it.
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

    /// The name to resolve for that, if `public_host` is a name.
    pub(crate) fn name_to_resolve(&self) -> Option<&str> {
        let host = self.public_host.as_str();
        (host.parse::<IpAddr>().is_err()).then_some(host)
    }

    /// The addresses on which a game may listen, of which the first that this machine has is used: `public_host`, so that
    /// answers come from the address to which players send; else all addresses, of both families if the name has both.
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
