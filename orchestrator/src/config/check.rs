//! From the file's shape to values that are known to be good, with an error that names the line and the key.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use launcher::DEFAULT_FIRST_USER;
use log::LevelFilter;
use service::endpoint::Endpoint;
use toml::Spanned;

use super::positions::{Positions, position};
use super::raw::{self, Key};
use super::{Config, ConfigError, Limits, Listen, Mode, Ports, Reports, Shutdown};
use crate::address::{self, Prefix};

/// What is played when nothing is configured.
const DEFAULT_MODE: &str = r#"
[[mode]]
name = "duel"
command = ["muster-game", "tictactoe"]
"#;

/// Ports are for everybody from here on; below, a process needs a right that games should not have.
const PORT_MIN: u16 = 1024;

/// Clients that are kept only to be refused, where there are descriptors enough.
const REFUSED_MAX: usize = 256;

/// The most mistakes of a file that are told.
pub(super) const MISTAKES_MAX: usize = 100;

/// The longest duration that a key takes, so that no sum of durations can overflow.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads and checks a whole file.
pub(super) fn config(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let checker =
        Checker { text, path, mistakes: RefCell::default(), left_out: RefCell::default() };
    let Some(mut file) = checker.read(text) else { return Err(checker.into_error()) };
    if file.mode.is_empty() {
        let default: raw::File =
            toml::from_str(DEFAULT_MODE).map_err(|error| checker.syntax(&error))?;
        file.mode = default.mode;
    }
    let modes = checker.modes(&file.mode, &file.confinement);
    let config = checker.whole(&file, modes);
    let is_good = checker.mistakes.borrow().is_empty();
    match (config, is_good) {
        (Ok(mut config), true) => {
            config.positions = Positions::read(text, path);
            config.take_places();
            Ok(config)
        }
        (config, _) => {
            checker.kept(config);
            Err(checker.into_error())
        }
    }
}

impl Checker<'_> {
    /// All but the modes.
    fn whole(&self, file: &raw::File, modes: Vec<Mode>) -> Result<Config, ConfigError> {
        let ports = self.ports(&file.ports)?;
        let limits = self.limits(&file.limits)?;
        self.kept(self.queue_holds_a_match(&file.limits, &limits, &modes));
        let drain = &file.shutdown.drain_timeout;
        Ok(Config {
            listen: self.listen(&file.listen)?,
            shutdown: Shutdown {
                drain_timeout: self.duration("shutdown.drain_timeout", drain, 120_000)?,
            },
            crash_safe: file.state.crash_safe.unwrap_or(true),
            reports: Reports {
                keep: self.number("reports.keep", &file.reports.keep, 1_000, 0..=100_000)?,
            },
            log_level: self
                .parsed("log.level", &file.log.level, "off, error, warn, info, debug or trace")?
                .unwrap_or(LevelFilter::Info),
            first_user: self.number(
                "confinement.first_user",
                &file.confinement.first_user,
                DEFAULT_FIRST_USER,
                1_000..=DEFAULT_FIRST_USER,
            )?,
            modes,
            order: Vec::new(),
            programs: Vec::new(),
            positions: Positions::default(),
            ports,
            limits,
        })
    }
}

/// `"20000-20099"`, or one port.
pub(super) fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| text.trim().parse::<u16>().ok();
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first >= PORT_MIN && first <= last => Ok(first..=last),
        _ => Err(format!(
            "must be two ports from {PORT_MIN} to 65535, \"FIRST-LAST\", or one, is \"{text}\""
        )),
    }
}

/// Checks a file. Mistakes are noted, and a value that is none is taken for its default, so that one run finds all of
/// them; a configuration is given only if there is none.
pub(super) struct Checker<'a> {
    text: &'a str,
    path: &'a Path,
    mistakes: RefCell<Vec<ConfigError>>,
    /// Keys that are set and could not be read, by where the table begins that they are in.
    left_out: RefCell<Vec<(usize, String)>>,
}

impl Checker<'_> {
    fn listen(&self, listen: &raw::Listen) -> Result<Listen, ConfigError> {
        let tcp = self.socket_address("listen.tcp", &listen.tcp)?;
        Ok(Listen {
            tcp: tcp.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 7000))),
            admin: self.kept(self.admin(&listen.admin)).unwrap_or(Endpoint::Default),
            metrics: self.metrics(&listen.metrics)?,
            proxy_from: self.prefixes("listen.proxy_from", &listen.proxy_from)?,
            bound: None,
        })
    }

    fn ports(&self, ports: &raw::Ports) -> Result<Ports, ConfigError> {
        let range = match &ports.range {
            None => 20000..=20099,
            Some(range) => self
                .kept(
                    port_range(range.get_ref())
                        .map_err(|problem| self.wrong("ports.range", range, problem)),
                )
                .unwrap_or(20000..=20099),
        };
        let host = match &ports.public_host {
            None => Ipv4Addr::LOCALHOST.to_string(),
            Some(host) => self
                .kept(
                    address::public_host(host.get_ref())
                        .map_err(|problem| self.wrong("ports.public_host", host, problem)),
                )
                .unwrap_or_default(),
        };
        let bind: Option<IpAddr> = self.parsed("ports.bind", &ports.bind, "an IP address")?;
        if let (Some(address), Some(written)) = (bind, &ports.bind) {
            self.kept(self.can_be_bound("ports.bind", address, written));
        }
        Ok(Ports {
            range,
            bind: bind.map(address::canonical),
            public_host: host,
            resolved: Vec::new(),
            quarantine: self.duration("ports.quarantine", &ports.quarantine, 5_000)?,
        })
    }

    fn limits(&self, limits: &raw::Limits) -> Result<Limits, ConfigError> {
        let time = |key, value, default_ms| self.duration_over_zero(key, value, default_ms);
        let clients_per_address = self.number(
            "limits.clients_per_address",
            &limits.clients_per_address,
            1_000,
            1..=1_000_000,
        )?;
        Ok(Limits {
            clients: self.number("limits.clients", &limits.clients, 20_000, 1..=1_000_000)?,
            clients_per_address,
            // Whoever may be here may be away.
            away_per_address: self.number(
                "limits.away_per_address",
                &limits.away_per_address,
                clients_per_address,
                1..=1_000_000,
            )?,
            seats_per_address: self.number(
                "limits.seats_per_address",
                &limits.seats_per_address,
                64,
                0..=1_000_000,
            )?,
            parties_per_address: self.number(
                "limits.parties_per_address",
                &limits.parties_per_address,
                100,
                1..=1_000_000,
            )?,
            refused: REFUSED_MAX,
            queue: self.number("limits.queue", &limits.queue, 100_000, 1..=10_000_000)?,
            handshake_timeout: time("limits.handshake_timeout", &limits.handshake_timeout, 10_000)?,
            line_timeout: time("limits.line_timeout", &limits.line_timeout, 10_000)?,
            idle_timeout: time("limits.idle_timeout", &limits.idle_timeout, 60_000)?,
            write_timeout: time("limits.write_timeout", &limits.write_timeout, 10_000)?,
            close_timeout: time("limits.close_timeout", &limits.close_timeout, 2_000)?,
            lost_timeout: time("limits.lost_timeout", &limits.lost_timeout, 60_000)?,
            resume_window: self.duration("limits.resume_window", &limits.resume_window, 30_000)?,
            skill_from: limits
                .skill_from
                .as_ref()
                .map(|fronts| fronts.get_ref().iter().copied().map(address::canonical).collect())
                .unwrap_or_default(),
            lines_per_second: self.number(
                "limits.lines_per_second",
                &limits.lines_per_second,
                1_000,
                1..=1_000_000,
            )?,
            lines_burst: self.number(
                "limits.lines_burst",
                &limits.lines_burst,
                10_000,
                1..=1_000_000,
            )?,
            write_buffer: self.number(
                "limits.write_buffer",
                &limits.write_buffer,
                65_536,
                protocol::SERVER_LINE_MAX * 2..=16 * 1024 * 1024,
            )?,
            launching: self.number("limits.launching", &limits.launching, 32, 1..=1_024)?,
            output_lines_per_second: self.number(
                "limits.output_lines_per_second",
                &limits.output_lines_per_second,
                100,
                1..=100_000,
            )?,
        })
    }

    /// A queue that is full before it holds a match would never give one.
    fn queue_holds_a_match(
        &self,
        raw: &raw::Limits,
        limits: &Limits,
        modes: &[Mode],
    ) -> Result<(), ConfigError> {
        let too_large = modes.iter().find(|mode| mode.players > limits.queue);
        let (Some(mode), Some(queue)) = (too_large, &raw.queue) else { return Ok(()) };
        let (name, players) = (&mode.name, mode.players);
        let problem =
            format!("is {}, but a match of mode \"{name}\" is {players} players", limits.queue);
        Err(self.wrong("limits.queue", queue, problem))
    }

    // ---- Values ----

    fn socket_address(
        &self,
        key: &str,
        value: &Key<String>,
    ) -> Result<Option<SocketAddr>, ConfigError> {
        let parsed: Option<SocketAddr> = self.parsed(key, value, "an address and port")?;
        let (Some(mut parsed), Some(written)) = (parsed, value) else { return Ok(None) };
        let has_zone = matches!(parsed, SocketAddr::V6(address) if address.scope_id() != 0);
        if !has_zone {
            self.kept(self.can_be_bound(key, parsed.ip(), written));
            parsed.set_ip(address::canonical(parsed.ip()));
        }
        Ok(Some(parsed))
    }

    fn prefixes(
        &self,
        key: &str,
        values: &Key<Vec<Spanned<String>>>,
    ) -> Result<Vec<Prefix>, ConfigError> {
        let values = values.iter().flat_map(|values| values.get_ref());
        let prefix = |value: &Spanned<String>| {
            let what = "an IP address, or a prefix like \"10.0.0.0/8\"";
            let problem = || format!("must be {what}, is \"{}\"", value.get_ref());
            value.get_ref().parse().map_err(|()| self.wrong(key, value, problem()))
        };
        Ok(values.filter_map(|value| self.kept(prefix(value))).collect())
    }

    /// Makes sure of an address to listen on: all addresses of the machine, or one at which it can be reached.
    fn can_be_bound(
        &self,
        key: &str,
        address: IpAddr,
        written: &Spanned<String>,
    ) -> Result<(), ConfigError> {
        match address::unreachable(address) {
            Some(why) if !address::canonical(address).is_unspecified() => Err(self.wrong(
                key,
                written,
                format!("nobody can connect to {address}, which {why}"),
            )),
            Some(_) | None => Ok(()),
        }
    }

    fn parsed<T: FromStr>(
        &self,
        key: &str,
        value: &Key<String>,
        what: &str,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = value else { return Ok(None) };
        let parsed = value.get_ref().parse();
        let problem = || format!("must be {what}, is \"{}\"", value.get_ref());
        Ok(self.kept(parsed.map_err(|_| self.wrong(key, value, problem()))))
    }

    fn admin(&self, value: &Key<String>) -> Result<Endpoint<PathBuf>, ConfigError> {
        let Some(value) = value else { return Ok(Endpoint::Default) };
        value
            .get_ref()
            .parse()
            .map_err(|problem: String| self.wrong("listen.admin", value, problem))
    }

    fn metrics(&self, value: &Key<String>) -> Result<Endpoint<SocketAddr>, ConfigError> {
        if value.as_ref().is_some_and(|it| it.get_ref() == "off") {
            return Ok(Endpoint::Off);
        }
        let address = self.socket_address("listen.metrics", value)?;
        Ok(address.map_or(Endpoint::Default, Endpoint::At))
    }

    pub(super) fn number<T>(
        &self,
        key: &str,
        value: &Key<i64>,
        default: T,
        range: RangeInclusive<T>,
    ) -> Result<T, ConfigError>
    where
        T: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        let Some(value) = value else { return Ok(default) };
        let number = T::try_from(*value.get_ref()).ok().filter(|number| range.contains(number));
        let number = number.ok_or_else(|| {
            let (first, last) = (range.start(), range.end());
            self.wrong(key, value, format!("must be {first} to {last}, is {}", value.get_ref()))
        });
        Ok(self.kept(number).unwrap_or(default))
    }

    fn duration(
        &self,
        key: &str,
        value: &Key<String>,
        default_ms: u64,
    ) -> Result<Duration, ConfigError> {
        let Some(value) = value else { return Ok(Duration::from_millis(default_ms)) };
        match humantime::parse_duration(value.get_ref()) {
            Ok(duration) if duration <= DURATION_MAX => Ok(duration),
            _ => {
                let problem = format!(
                    "must be a duration of at most a year like \"5s\", \"250ms\" or \"10m\", is \"{}\"",
                    value.get_ref()
                );
                self.note(self.wrong(key, value, problem));
                Ok(Duration::from_millis(default_ms.max(1)))
            }
        }
    }

    pub(super) fn duration_over_zero(
        &self,
        key: &str,
        value: &Key<String>,
        default_ms: u64,
    ) -> Result<Duration, ConfigError> {
        let duration = self.duration(key, value, default_ms)?;
        match value {
            Some(value) if duration.is_zero() => {
                self.note(self.wrong(key, value, "must be over zero"));
                Ok(Duration::from_millis(default_ms.max(1)))
            }
            _ => Ok(duration),
        }
    }

    /// A duration over zero where there is one.
    pub(super) fn duration_if_set(
        &self,
        key: &str,
        value: &Key<String>,
    ) -> Result<Option<Duration>, ConfigError> {
        if value.is_none() { Ok(None) } else { self.duration_over_zero(key, value, 0).map(Some) }
    }

    // ---- Errors ----

    /// Notes a mistake and goes on.
    pub(super) fn note(&self, mistake: ConfigError) {
        let mut mistakes = self.mistakes.borrow_mut();
        if !matches!(mistake, ConfigError::Told) && mistakes.len() < MISTAKES_MAX {
            mistakes.push(mistake);
        }
    }

    /// A value if there is one; else its mistake is noted.
    pub(super) fn kept<T>(&self, value: Result<T, ConfigError>) -> Option<T> {
        value.map_err(|mistake| self.note(mistake)).ok()
    }

    /// Notes that a key of a table is set to something that cannot be read.
    pub(super) fn leave_out(&self, table: usize, key: &str) {
        self.left_out.borrow_mut().push((table, key.to_owned()));
    }

    /// A key that has to be there is not in a table; or what is there was told of.
    pub(super) fn missing<T>(
        &self,
        key: &str,
        table: &Spanned<T>,
        problem: impl Into<String>,
    ) -> ConfigError {
        let (_, last) = key.rsplit_once('.').unwrap_or(("", key));
        match self.is_left_out(table, last) {
            true => ConfigError::Told,
            false => self.wrong(key, table, problem),
        }
    }

    /// Whether a key of a table is set to something that cannot be read.
    pub(super) fn is_left_out<T>(&self, table: &Spanned<T>, key: &str) -> bool {
        let begins = table.span().start;
        let is_it = |(table, name): &(usize, String)| *table == begins && name == key;
        self.left_out.borrow().iter().any(is_it)
    }

    /// All mistakes in the order of the file.
    fn into_error(self) -> ConfigError {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(ConfigError::position);
        match mistakes.len() {
            1 => mistakes.remove(0),
            _ => ConfigError::Several(mistakes),
        }
    }

    pub(super) fn wrong<T>(
        &self,
        key: &str,
        value: &Spanned<T>,
        problem: impl Into<String>,
    ) -> ConfigError {
        self.at(value.span(), key.to_owned(), problem.into())
    }

    /// An error of the TOML reader: a key that does not exist, a value of another type, bad syntax.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let span = error.span().unwrap_or(0..0);
        let key = self.line_at(span.start).split('=').next().unwrap_or_default().trim();
        let key = if key.is_empty() { "(end of file)" } else { key };
        let problem = error.message().trim().replace('\n', "; ");
        self.at(span, key.to_owned(), suggestion(&problem).unwrap_or(problem))
    }

    fn line_at(&self, at: usize) -> &str {
        let at = self.text.floor_char_boundary(at);
        let start = self.text[..at].rfind('\n').map_or(0, |at| at + 1);
        self.text[start..].lines().next().unwrap_or_default()
    }

    pub(super) fn at(&self, span: Range<usize>, key: String, problem: String) -> ConfigError {
        let (line, column) = position(self.text, span.start);
        ConfigError::Key { path: self.path.to_owned(), line, column, key, problem }
    }
}

/// What the TOML reader says of a key that does not exist, with the one that may have been meant. `None`: it says something
/// else, or there is none like it.
fn suggestion(problem: &str) -> Option<String> {
    let (unknown, known) = problem.strip_prefix("unknown field `")?.split_once('`')?;
    // "expected one of `a`, `b`": every other piece is a key.
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    let distance = |key: &&str| strsim::damerau_levenshtein(unknown, key);
    let nearest = known.iter().copied().min_by_key(distance)?;
    let is_near = distance(&nearest) <= 1 + unknown.len() / 3;
    is_near.then(|| format!("no such key; did you mean `{nearest}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> String {
        config(text, Path::new("muster.toml")).unwrap_err().to_string()
    }

    #[test]
    fn nothing_configured_is_the_default() {
        let config = Config::default_config();
        assert_eq!(config.listen.tcp.to_string(), "127.0.0.1:7000");
        assert_eq!(config.ports.range, 20000..=20099);
        assert_eq!(config.modes.len(), 1);
        assert_eq!((config.modes[0].name.as_str(), config.modes[0].players), ("duel", 2));
        config.for_brain().assert_valid();
    }

    /// Its error names the line, any column, and the key.
    fn assert_named(text: &str, expected: &str) {
        let error = error_of(text);
        let (place, key) = error.split_once(": ").unwrap();
        let (line, column) = place.rsplit_once(':').unwrap();
        assert!(column.parse::<usize>().is_ok_and(|column| column > 0), "{error:?}");
        let error = format!("{line}: {key}");
        assert!(error.starts_with(expected), "{text:?} gave {error:?}, not {expected:?}");
    }

    #[test]
    fn addresses_that_nobody_can_connect_to_are_refused() {
        for (text, expected) in [
            (
                "[listen]\nproxy_from = [\"10.0.0.0/40\"]",
                "muster.toml:2: listen.proxy_from: must be an IP",
            ),
            (
                "[listen]\ntcp = \"224.0.0.1:7000\"",
                "muster.toml:2: listen.tcp: nobody can connect to 224",
            ),
            (
                "[ports]\nbind = \"255.255.255.255\"",
                "muster.toml:2: ports.bind: nobody can connect",
            ),
            ("[ports]\npublic_host = \"0.0.0.0\"", "muster.toml:2: ports.public_host: nobody can"),
        ] {
            assert_named(text, expected);
        }
    }

    #[test]
    fn errors_name_the_line_and_the_key() {
        for (text, expected) in [
            ("[limits]\nclients = 0", "muster.toml:2: limits.clients: must be 1 to 1000000, is 0"),
            ("[ports]\npublic_host = \"[::1]\"", "muster.toml:2: ports.public_host: must be an IP"),
            ("[ports]\npublic_host = \"a\\u0000b\"", "muster.toml:2: ports.public_host: must be"),
            ("[limits]\nclient = 1", "muster.toml:2: client: no such key; did you mean `clients`?"),
            ("[prots]", "muster.toml:1: [prots]: no such key; did you mean `ports`?"),
            (
                "[[mode]]\nname = \"a\"\ncommand = [\"x\"]\n  redy_timeout = \"1s\"",
                "muster.toml:4: redy_timeout: no such key; did you mean `ready_timeout`?",
            ),
            (
                "[log]\ncolour = true",
                "muster.toml:2: colour: unknown field `colour`, expected `level`",
            ),
            ("[limits]\n\nclients = \"many\"", "muster.toml:3: clients: invalid type"),
            ("[ports]\nrange = \"9-1\"", "muster.toml:2: ports.range: must be two ports"),
            ("[ports]\nquarantine = \"5\"", "muster.toml:2: ports.quarantine: must be a duration"),
            ("[listen]\ntcp = \"here\"", "muster.toml:2: listen.tcp: must be an address and port"),
            ("[[mode]]\ncommand = [\"x\"]", "muster.toml:1: mode.name: is missing"),
            ("\n[[mode]]\nname = \"a\"", "muster.toml:2: mode.command: is missing"),
            (
                "[[mode]]\nname = \"a b\"\ncommand = [\"x\"]",
                "muster.toml:2: mode.name: must be 1 to 32",
            ),
            ("[[mode]]\nname = \"a\"\ncommand = []", "muster.toml:3: mode.command: must be a list"),
            (
                "[[mode]]\nname = \"a\"\ncommand = [\"x\"]\nplayers = 0",
                "muster.toml:4: mode.players",
            ),
            (
                "[[mode]]\nname = \"a\"\ncommand = [\"x\"]\ntransport = \"pigeon\"",
                "muster.toml:4: mode.transport: must be \"plain\" or \"netcode\", is \"pigeon\"",
            ),
            (
                "[[mode]]\nname = \"a\"\ncommand = [\"x\"]\ncontract = \"plain\"\ntransport = \"netcode\"",
                "muster.toml:5: mode.transport: \"netcode\" cannot go with contract = \"plain\"",
            ),
            (
                "[[mode]]\nname = \"a\"\ncommand = [\"x\"]\nenv = { MUSTER_GAME = \"1\" }",
                "muster.toml:4: mode.env: cannot set \"MUSTER_GAME\"",
            ),
            (
                "[[mode]]\nname = \"a\"\ncommand = [\"x\"]\n[[mode]]\nname = \"a\"\ncommand = [\"x\"]",
                "muster.toml:4: mode.name: two modes are called \"a\"",
            ),
            (
                "[limits]\nqueue = 1",
                "muster.toml:2: limits.queue: is 1, but a match of mode \"duel\" is 2 players",
            ),
            ("[reports]\nkeep = -1", "muster.toml:2: reports.keep: must be 0 to 100000, is -1"),
            ("[listen]\nadmin = \"\"", "muster.toml:2: listen.admin: must be a path, or \"off\""),
            (
                "[listen]\nmetrics = \"on\"",
                "muster.toml:2: listen.metrics: must be an address and port, is \"on\"",
            ),
            ("[log]\nlevel = \"loud\"", "muster.toml:2: log.level: must be off, error"),
            ("[limits\n", "muster.toml:1: [limits: "),
        ] {
            assert_named(text, expected);
        }
    }

    #[test]
    fn errors_name_the_column_of_the_value_or_of_the_key_that_is_none() {
        for (text, expected) in [
            ("[limits]\nclients = 0", "muster.toml:2:11: limits.clients: "),
            ("[limits]\n# é\n  client = 1", "muster.toml:3:3: client: "),
            ("[log]\nlevel = \"é", "muster.toml:2:"),
        ] {
            let error = error_of(text);
            assert!(error.starts_with(expected), "{text:?} gave {error:?}, not {expected:?}");
        }
    }

    #[test]
    fn games_listen_where_players_are_sent() {
        for (host, bind) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.9", "127.0.0.9"),
            ("::1", "::1"),
            ("play.example.org", "0.0.0.0"),
            ("192.0.2.1", "192.0.2.1 0.0.0.0"),
            ("2001:db8::1", "2001:db8::1 ::"),
            ("localhost", "127.0.0.1"),
        ] {
            let mut config = Config::default_config();
            config.set_public_host(host).unwrap();
            let addresses = config.ports.bind_addresses();
            let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            assert_eq!(addresses.join(" "), bind, "{host}");
        }
    }

    #[test]
    fn a_name_is_its_addresses_where_games_listen() {
        let mut config = Config::default_config();
        config.set_public_host("play.example.org").unwrap();
        assert_eq!(config.ports.name_to_resolve(), Some("play.example.org"));
        assert!(config.ports.public_addresses().is_empty(), "nothing is known yet");
        let addresses = ["2001:db8::1", "::ffff:192.0.2.1", "192.0.2.1", "0.0.0.0"];
        config.ports.resolved = addresses.map(|it| it.parse().unwrap()).to_vec();
        let known = |config: &Config| -> Vec<String> {
            config.ports.public_addresses().iter().map(IpAddr::to_string).collect()
        };
        assert_eq!(config.ports.bind_address().to_string(), "::", "of both families");
        assert_eq!(known(&config), ["192.0.2.1", "2001:db8::1"]);
        config.ports.bind = Some("0.0.0.0".parse().unwrap());
        assert_eq!(known(&config), ["192.0.2.1"]);
        config.ports.bind = Some("2001:db8::1".parse().unwrap());
        assert_eq!(known(&config), ["2001:db8::1"]);
        config.set_public_host("192.0.2.7").unwrap();
        config.ports.bind = None;
        assert_eq!(
            (known(&config), config.ports.name_to_resolve()),
            (vec!["192.0.2.7".into()], None)
        );
    }
}
