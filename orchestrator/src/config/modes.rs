//! What the operator sets of modes: what is played in each queue, by which program, and how.

use std::collections::{BTreeMap, BTreeSet};

use launcher::{Contract, placeholders};
use matchmaker::limits::{PARTY_MAX, PLAYERS_PER_MATCH_MAX};
use matchmaker::{Skill, SkillRules};
use regex_lite::Regex;
use toml::Spanned;

use super::check::Checker;
use super::raw::{self, Key};
use super::{ConfigError, Mode, Transport};

/// As many modes as the greeting can name in one line.
const MODES_MAX: usize = 200;
const _: () = assert!(MODES_MAX * (MODE_NAME_MAX + 1) + 64 < protocol::SERVER_LINE_MAX);

/// The program of our own games.
const OWN_GAMES: &str = "muster-game";

/// As many warm games as there are ports.
const WARM_MAX: usize = 65_535;

/// The longest name of a mode, in bytes.
const MODE_NAME_MAX: usize = 32;

/// What depends on a mode's contract.
struct ByContract {
    contract: Contract,
    ready_line: Option<Regex>,
    template: Option<u64>,
    transport: Transport,
    rejoin: bool,
    /// At least, and at most.
    warm: (usize, usize),
}

impl Checker<'_> {
    /// All modes, each under a name of its own.
    pub(super) fn modes(
        &self,
        modes: &[Spanned<raw::Mode>],
        confinement: &raw::Confinement,
    ) -> Vec<Mode> {
        if let Some(one_too_many) = modes.get(MODES_MAX) {
            let problem = format!("there are {}; {MODES_MAX} at most", modes.len());
            self.note(self.wrong("mode", one_too_many, problem));
        }
        let mut names = BTreeSet::new();
        for mode in modes {
            let Some(name) = &mode.get_ref().name else { continue };
            if !names.insert(name.get_ref()) {
                let problem = format!("two modes are called \"{}\"", name.get_ref());
                self.note(self.wrong("mode.name", mode, problem));
            }
        }
        modes.iter().filter_map(|mode| self.kept(self.mode(mode, confinement))).collect()
    }

    /// A mode. What is wrong with it is noted as far as it can be told apart from what follows from that.
    fn mode(
        &self,
        spanned: &Spanned<raw::Mode>,
        confinement: &raw::Confinement,
    ) -> Result<Mode, ConfigError> {
        let mode = spanned.get_ref();
        let time = |key, value, default_ms| self.duration_over_zero(key, value, default_ms);
        let name = self.kept(self.mode_name(spanned));
        let command = self.kept(self.command(spanned));
        let teams = self.kept(self.teams(mode)).unwrap_or_default();
        let players = self.kept(self.players(mode, &teams)).unwrap_or(PLAYERS_PER_MATCH_MAX);
        let squad_max = teams.concat().into_iter().max().unwrap_or(players).min(PARTY_MAX);
        let max_duration = time("mode.max_duration", &mode.max_duration, 600_000)?;
        let is_ours = command.as_ref().is_some_and(|command| command[0] == OWN_GAMES);
        let by_contract = self.kept(self.by_contract(spanned));
        let env = self.kept(self.env(&mode.env));
        let skill = mode.skill.as_ref().map(|skill| self.skill(skill)).transpose();
        let longest = max_duration.as_secs();
        let confinement =
            self.kept(self.confinement(&mode.confinement, confinement, longest, is_ours));
        let by_contract = by_contract.ok_or(ConfigError::Told)?;
        let party_max = self.number("mode.party_max", &mode.party_max, 1, 1..=squad_max)?;
        let checked = Mode {
            name: name.unwrap_or_default(),
            is_closed: false,
            program: 0,
            players,
            party_max,
            skill: self.kept(skill).flatten(),
            max_wait: self.duration_if_set("mode.max_wait", &mode.max_wait)?,
            rounds: self.number("mode.rounds", &mode.rounds, 1, 1..=1_000)?,
            teams,
            confinement: confinement.ok_or(ConfigError::Told)?,
            command: command.unwrap_or_default(),
            contract: by_contract.contract,
            ready_line: by_contract.ready_line,
            template: by_contract.template,
            env: env.unwrap_or_default(),
            transport: by_contract.transport,
            warm_min: by_contract.warm.0,
            warm_max: by_contract.warm.1,
            ready_timeout: time("mode.ready_timeout", &mode.ready_timeout, 5_000)?,
            start_timeout: time("mode.start_timeout", &mode.start_timeout, 2_000)?,
            accept_timeout: self.duration_if_set("mode.accept_timeout", &mode.accept_timeout)?,
            rejoin: by_contract.rejoin,
            hello_timeout: time("mode.hello_timeout", &mode.hello_timeout, 10_000)?,
            max_duration,
            alive_timeout: self.duration_if_set("mode.alive_timeout", &mode.alive_timeout)?,
            stop_grace: time("mode.stop_grace", &mode.stop_grace, 5_000)?,
            #[cfg(feature = "stub-games")]
            is_stub: mode.stub.as_ref().is_some_and(|stub| *stub.get_ref()),
        };
        Ok(checked)
    }

    /// What has to fit the mode's contract. Without a contract that is known nothing is said of it.
    fn by_contract(&self, spanned: &Spanned<raw::Mode>) -> Result<ByContract, ConfigError> {
        let mode = spanned.get_ref();
        if ["contract", "bind"].iter().any(|key| self.is_left_out(spanned, key)) {
            return Err(ConfigError::Told);
        }
        let contract = self.contract(mode)?;
        self.placeholders(mode, contract);
        Ok(ByContract {
            contract,
            ready_line: self.kept(self.ready_line(mode, contract)).flatten(),
            template: self.kept(self.template(mode, contract)).flatten(),
            transport: self
                .kept(self.transport(&mode.transport, contract))
                .unwrap_or(Transport::Plain),
            rejoin: self.kept(self.rejoin(mode, contract)).unwrap_or_default(),
            warm: self.kept(self.warm(mode, contract)).unwrap_or_default(),
        })
    }

    /// What looks like a placeholder in the command or in a variable is one that will be filled in.
    fn placeholders(&self, mode: &raw::Mode, contract: Contract) {
        let known = placeholders::known(contract);
        if let Some(command) = &mode.command {
            let words = command.get_ref().iter().skip(1);
            for unknown in words.flat_map(|word| placeholders::unknown(word, known)) {
                let problem = match known {
                    [] => format!(
                        "there is no placeholder {{{unknown}}}: a game of {} is told everything by its environment and \
                         its channel; {{{{{unknown}}}}} stands for itself",
                        protocol::GAME_PROTOCOL
                    ),
                    known => format!(
                        "there is no placeholder {{{unknown}}}, only {}; {{{{{unknown}}}}} stands for itself",
                        placeholders::list(known)
                    ),
                };
                self.note(self.wrong("mode.command", command, problem));
            }
        }
        if let Some(env) = &mode.env {
            let values = env.get_ref().iter();
            for (name, unknown) in values.flat_map(|(name, value)| {
                placeholders::unknown(value, &[]).map(move |unknown| (name, unknown))
            }) {
                let problem = format!(
                    "{name}: there is no placeholder {{{unknown}}} in a variable; MUSTER_PORT holds the port, and \
                     {{{{{unknown}}}}} stands for itself"
                );
                self.note(self.wrong("mode.env", env, problem));
            }
        }
    }

    fn contract(&self, mode: &raw::Mode) -> Result<Contract, ConfigError> {
        let contract = mode.contract.as_ref().map(|it| (it, it.get_ref().as_str()));
        let bind = mode.bind.as_ref().map(|it| (it, it.get_ref().as_str()));
        match (contract, bind) {
            (None | Some((_, protocol::GAME_PROTOCOL)), None | Some((_, "muster"))) => {
                Ok(Contract::Muster)
            }
            (Some((_, "plain")), None | Some((_, "muster"))) => {
                Ok(Contract::Plain { binds: false })
            }
            (Some((_, "plain")), Some((_, "game"))) => Ok(Contract::Plain { binds: true }),
            (_, Some((bind, "game"))) => {
                let problem =
                    "\"game\" goes with contract = \"plain\": others are handed their socket";
                Err(self.wrong("mode.bind", bind, problem))
            }
            (Some((contract, other)), _)
                if other != "plain" && other != protocol::GAME_PROTOCOL =>
            {
                let own = protocol::GAME_PROTOCOL;
                let problem = format!("must be \"{own}\" or \"plain\", is \"{other}\"");
                Err(self.wrong("mode.contract", contract, problem))
            }
            (_, Some((bind, other))) => {
                let problem = format!("must be \"muster\" or \"game\", is \"{other}\"");
                Err(self.wrong("mode.bind", bind, problem))
            }
            (Some(_), None) => unreachable!("every contract without bind is matched above"),
        }
    }

    /// The squads of each team.
    fn teams(&self, mode: &raw::Mode) -> Result<Vec<Vec<usize>>, ConfigError> {
        let Some(teams) = &mode.teams else { return Ok(Vec::new()) };
        let size = |squad: &i64| usize::try_from(*squad).ok().filter(|size| *size > 0);
        let squads = |team: &Vec<i64>| -> Option<Vec<usize>> {
            team.iter()
                .map(size)
                .collect::<Option<_>>()
                .filter(|squads: &Vec<_>| !squads.is_empty())
        };
        let checked: Option<Vec<Vec<usize>>> = teams.get_ref().iter().map(squads).collect();
        checked.filter(|teams| !teams.is_empty()).ok_or_else(|| {
            let problem = "must be a list of teams, each a list of how many players go together: \
                           [[3], [3]] is three against three";
            self.wrong("mode.teams", teams, problem)
        })
    }

    /// Players in a match: as many as are in the teams, where there are any.
    fn players(&self, mode: &raw::Mode, teams: &[Vec<usize>]) -> Result<usize, ConfigError> {
        let in_teams = teams.concat().iter().fold(0, |sum: usize, size| sum.saturating_add(*size));
        if let Some(spanned) = mode.teams.as_ref().filter(|_| in_teams > PLAYERS_PER_MATCH_MAX) {
            let problem = format!("are {in_teams} players; {PLAYERS_PER_MATCH_MAX} at most");
            return Err(self.wrong("mode.teams", spanned, problem));
        }
        let default = if teams.is_empty() { 2 } else { in_teams };
        let players =
            self.number("mode.players", &mode.players, default, 1..=PLAYERS_PER_MATCH_MAX)?;
        match &mode.players {
            Some(said) if !teams.is_empty() && players != in_teams => {
                let problem = format!("is {players}, and the teams are {in_teams}; leave it out");
                Err(self.wrong("mode.players", said, problem))
            }
            _ => Ok(players),
        }
    }

    /// Who may meet whom by skill.
    fn skill(&self, skill: &raw::Skill) -> Result<Skill, ConfigError> {
        let number =
            |key, value: &Key<i64>, default| self.number(key, value, default, 0..=1_000_000);
        let window: u32 = number("mode.skill.window", &skill.window, 100)?;
        let window_max: u32 =
            number("mode.skill.window_max", &skill.window_max, window.saturating_mul(10))?;
        if let Some(said) = skill.window_max.as_ref().filter(|_| window_max < window) {
            let problem = format!("is {window_max}, less than the first window, which is {window}");
            return Err(self.wrong("mode.skill.window_max", said, problem));
        }
        let widen_by: u32 = number("mode.skill.widen_by", &skill.widen_by, 50)?;
        let widen_every =
            self.duration_over_zero("mode.skill.widen_every", &skill.widen_every, 5_000)?;
        let default: u32 = number("mode.skill.default", &skill.default, 1_000)?;
        Ok(Skill {
            default: i32::try_from(default).unwrap_or(i32::MAX),
            rules: SkillRules { window, widen_by, widen_every, window_max },
        })
    }

    /// Whether players may come back. A program that is told nothing cannot be told of them.
    fn rejoin(&self, mode: &raw::Mode, contract: Contract) -> Result<bool, ConfigError> {
        let Some(rejoin) = &mode.rejoin else { return Ok(false) };
        if *rejoin.get_ref() && contract != Contract::Muster {
            let problem = "a game with contract = \"plain\" cannot be told who comes back";
            return Err(self.wrong("mode.rejoin", rejoin, problem));
        }
        Ok(*rejoin.get_ref())
    }

    /// How many games are kept warm. A program that gets its players at birth cannot wait for them.
    fn warm(&self, mode: &raw::Mode, contract: Contract) -> Result<(usize, usize), ConfigError> {
        let is_plain = contract != Contract::Muster;
        let number = |key, value, default| self.number(key, value, default, 0..=WARM_MAX);
        let min_key = if mode.warm_min.is_some() { &mode.warm_min } else { &mode.warm };
        let min = number("mode.warm_min", min_key, if is_plain { 0 } else { 2 })?;
        let max = number("mode.warm_max", &mode.warm_max, min)?;
        for (name, key) in [("mode.warm_max", &mode.warm_max), ("mode.warm_min", min_key)] {
            let Some(key) = key else { continue };
            if max < min {
                let problem = format!("warm_max = {max} is below warm_min = {min}");
                return Err(self.wrong(name, key, problem));
            }
            if is_plain && *key.get_ref() > 0 {
                let problem =
                    "must be 0 with contract = \"plain\": such a game cannot wait for players";
                return Err(self.wrong(name, key, problem));
            }
        }
        Ok((min, max))
    }

    fn ready_line(
        &self,
        mode: &raw::Mode,
        contract: Contract,
    ) -> Result<Option<Regex>, ConfigError> {
        let Some(line) = &mode.ready_line else { return Ok(None) };
        if contract == Contract::Muster {
            let problem = "goes with contract = \"plain\": others say when they are ready";
            return Err(self.wrong("mode.ready_line", line, problem));
        }
        let problem = |error| format!("must be a regular expression: {error}");
        let parsed = Regex::new(line.get_ref());
        parsed.map(Some).map_err(|error| self.wrong("mode.ready_line", line, problem(error)))
    }

    fn template(&self, mode: &raw::Mode, contract: Contract) -> Result<Option<u64>, ConfigError> {
        let games = 1..=u64::MAX >> 1;
        let games = self.number("mode.template_games", &mode.template_games, 10_000, games)?;
        match mode.template.as_ref().filter(|it| *it.get_ref()) {
            None => Ok(None),
            Some(template) if contract != Contract::Muster => {
                let problem = "cannot go with contract = \"plain\": a template speaks with Muster";
                Err(self.wrong("mode.template", template, problem))
            }
            Some(_) => Ok(Some(games)),
        }
    }

    fn mode_name(&self, mode: &Spanned<raw::Mode>) -> Result<String, ConfigError> {
        let Some(name) = &mode.get_ref().name else {
            return Err(self.missing("mode.name", mode, "is missing: every mode needs a name"));
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.get_ref().is_empty()
            || name.get_ref().len() > MODE_NAME_MAX
            || !name.get_ref().chars().all(fits)
        {
            let problem = "must be 1 to 32 letters, digits, '-' or '_'";
            return Err(self.wrong("mode.name", name, problem));
        }
        Ok(name.get_ref().clone())
    }

    fn command(&self, mode: &Spanned<raw::Mode>) -> Result<Vec<String>, ConfigError> {
        let Some(command) = &mode.get_ref().command else {
            let problem = "is missing: every mode needs the program that is its game";
            return Err(self.missing("mode.command", mode, problem));
        };
        let words = command.get_ref();
        if words.first().is_none_or(String::is_empty)
            || words.iter().any(|word| word.contains('\0'))
        {
            let problem = "must be a list: the program, then its arguments";
            return Err(self.wrong("mode.command", command, problem));
        }
        Ok(words.clone())
    }

    fn env(
        &self,
        env: &Key<BTreeMap<String, String>>,
    ) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(env) = env else { return Ok(BTreeMap::new()) };
        for (name, value) in env.get_ref() {
            let bad = name.is_empty() || name.contains(['=', '\0']) || value.contains('\0');
            if bad || name.starts_with("MUSTER_") || name.starts_with("LISTEN_") {
                let problem =
                    format!("cannot set \"{name}\": not a name, or one that Muster sets itself");
                return Err(self.wrong("mode.env", env, problem));
            }
        }
        Ok(env.get_ref().clone())
    }

    fn transport(
        &self,
        transport: &Key<String>,
        contract: Contract,
    ) -> Result<Transport, ConfigError> {
        match transport {
            None => Ok(Transport::Plain),
            Some(word) if word.get_ref() == "plain" => Ok(Transport::Plain),
            Some(word) if word.get_ref() == "netcode" && contract != Contract::Muster => {
                let problem = "\"netcode\" cannot go with contract = \"plain\": nobody would hand such a game its key";
                Err(self.wrong("mode.transport", word, problem))
            }
            Some(word) if word.get_ref() == "netcode" => Ok(Transport::Netcode),
            Some(word) => {
                let problem =
                    format!("must be \"plain\" or \"netcode\", is \"{}\"", word.get_ref());
                Err(self.wrong("mode.transport", word, problem))
            }
        }
    }
}
