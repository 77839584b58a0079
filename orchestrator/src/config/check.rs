//! From the file's sections to a [`Config`], with every mistake by line, column and key.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use launcher::DEFAULT_FIRST_USER;
use toml::Spanned;

use super::limits::MISTAKES_MAX;
use super::positions::{Positions, position};
use super::raw;
use super::{Config, ConfigError, Mode};

/// The mode of a configuration without modes.
const DEFAULT_MODE: &str = r#"
[[mode]]
name = "duel"
command = ["muster-game", "tictactoe"]
"#;

/// Reads and checks a whole file.
pub(super) fn config(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let checker = Checker::new(text, path);
    let Some(mut file) = checker.read(text) else { return Err(checker.into_error()) };
    if file.mode.is_empty() {
        let default = toml::from_str::<raw::File>(DEFAULT_MODE);
        file.mode = default.map_err(|error| checker.syntax(&error))?.mode;
    }
    let modes = checker.modes(std::mem::take(&mut file.mode), &file.confinement);
    checker.queue_holds_a_match(&file, &modes);
    if !checker.mistakes.borrow().is_empty() {
        return Err(checker.into_error());
    }
    let mut config = Config {
        listen: file.listen,
        ports: file.ports,
        limits: file.limits,
        shutdown: file.shutdown,
        crash_safe: file.state.crash_safe,
        reports: file.reports,
        log_level: file.log.level,
        first_user: file.confinement.first_user.unwrap_or(DEFAULT_FIRST_USER),
        modes,
        order: Vec::new(),
        programs: Vec::new(),
        positions: checker.positions,
    };
    config.take_places();
    Ok(config)
}

/// Checks a file. A mistake is noted, and the default takes the place of the value, so that one run finds all mistakes.
/// The result is used only if there are none.
pub(super) struct Checker<'a> {
    text: &'a str,
    path: &'a Path,
    positions: Positions,
    mistakes: RefCell<Vec<ConfigError>>,
    /// The paths of keys that are set to a value that cannot be used.
    left_out: RefCell<BTreeSet<String>>,
}

impl<'a> Checker<'a> {
    fn new(text: &'a str, path: &'a Path) -> Self {
        let positions = Positions::read(text, path);
        let (mistakes, left_out) = (RefCell::default(), RefCell::default());
        Self { text, path, positions, mistakes, left_out }
    }
}

impl Checker<'_> {
    /// A queue that is full before it holds a match would never form one.
    fn queue_holds_a_match(&self, file: &raw::File, modes: &[Mode]) {
        let queue = file.limits.queue;
        if let Some(mode) = modes.iter().find(|mode| mode.players() > queue)
            && self.positions.of("limits.queue").is_some()
        {
            let (name, players) = (&mode.name, mode.players());
            let problem =
                format!("is {queue}, but a match of mode \"{name}\" is {players} players");
            self.note(self.wrong_at("limits.queue", "limits.queue", problem));
        }
    }

    // ---- Mistakes ----

    /// Notes a mistake.
    pub(super) fn note(&self, mistake: ConfigError) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MISTAKES_MAX {
            mistakes.push(mistake);
        }
    }

    /// A value; or `None`, and its mistake is noted.
    pub(super) fn kept<T>(&self, value: Result<T, ConfigError>) -> Option<T> {
        value.map_err(|mistake| self.note(mistake)).ok()
    }

    /// Notes that the value of a key, by its path, is not used.
    pub(super) fn leave_out(&self, path: String) {
        self.left_out.borrow_mut().insert(path);
    }

    /// Whether a key is set to a value that is not used.
    pub(super) fn is_left_out(&self, path: &str) -> bool {
        self.left_out.borrow().contains(path)
    }

    /// Whether the file sets a key, by its path.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.positions.of(path).is_some()
    }

    /// All mistakes, in the order of the file.
    fn into_error(self) -> ConfigError {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(ConfigError::position);
        match mistakes.len() {
            1 => mistakes.remove(0),
            _ => ConfigError::Several(mistakes),
        }
    }

    /// A mistake in a value.
    pub(super) fn wrong<T>(
        &self,
        key: &str,
        value: &Spanned<T>,
        problem: impl Into<String>,
    ) -> ConfigError {
        self.at(value.span().start, key.to_owned(), problem.into())
    }

    /// A mistake in the value with a path; see [`Positions`].
    pub(super) fn wrong_at(
        &self,
        key: &str,
        path: &str,
        problem: impl Into<String>,
    ) -> ConfigError {
        let (line, column) = self.positions.line_and_column(path).unwrap_or((1, 1));
        let (path, key) = (self.path.to_owned(), key.to_owned());
        ConfigError::Key { path, line, column, key, problem: problem.into() }
    }

    /// An error of the TOML reader: a key that does not exist, a value of another type, bad syntax.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let start = error.span().unwrap_or(0..0).start;
        let key = self.line_at(start).split('=').next().unwrap_or_default().trim();
        let key = if key.is_empty() { "(end of file)" } else { key };
        let problem = error.message().trim().replace('\n', "; ");
        self.at(start, key.to_owned(), suggestion(&problem).unwrap_or(problem))
    }

    fn line_at(&self, at: usize) -> &str {
        let at = self.text.floor_char_boundary(at);
        let start = self.text[..at].rfind('\n').map_or(0, |at| at + 1);
        self.text[start..].lines().next().unwrap_or_default()
    }

    pub(super) fn at(&self, start: usize, key: String, problem: String) -> ConfigError {
        let (line, column) = position(self.text, start);
        ConfigError::Key { path: self.path.to_owned(), line, column, key, problem }
    }
}

/// A clearer problem for an unknown key that resembles a known one.
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
    use std::net::IpAddr;

    use super::*;

    fn error_of(text: &str) -> String {
        config(text, Path::new("muster.toml")).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let config = Config::default_config();
        assert_eq!(config.listen.tcp.to_string(), "127.0.0.1:7000");
        assert_eq!(config.ports.range, 20000..=20099);
        assert_eq!(config.modes.len(), 1);
        assert_eq!((config.modes[0].name.as_str(), config.modes[0].players()), ("duel", 2));
        config.for_brain().assert_valid();
    }

    /// The error names the line, any column, and the key.
    fn assert_named(text: &str, expected: &str) {
        let error = error_of(text);
        let (place, key) = error.split_once(": ").unwrap();
        let (line, column) = place.rsplit_once(':').unwrap();
        assert!(column.parse::<usize>().is_ok_and(|column| column > 0), "{error:?}");
        let error = format!("{line}: {key}");
        assert!(error.starts_with(expected), "{text:?} gave {error:?}, not {expected:?}");
    }

    #[test]
    fn addresses_that_cannot_be_connected_to_are_refused() {
        for (text, expected) in [
            (
                "[listen]\nproxy_from = [\"10.0.0.0/40\"]",
                "muster.toml:2: listen.proxy_from: must be an IP",
            ),
            (
                "[listen]\ntcp = \"224.0.0.1:7000\"",
                "muster.toml:2: listen.tcp: players cannot connect to 224",
            ),
            (
                "[ports]\nbind = \"255.255.255.255\"",
                "muster.toml:2: ports.bind: players cannot connect",
            ),
            (
                "[ports]\npublic_host = \"0.0.0.0\"",
                "muster.toml:2: ports.public_host: players cannot",
            ),
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
    fn errors_name_the_column_of_the_value_or_of_an_unknown_key() {
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
