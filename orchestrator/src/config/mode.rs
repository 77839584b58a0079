//! A mode: its keys in the file with their types, ranges and defaults, and the views of it that the matchmaker and the
//! launcher need.
//!
//! A new key is a field of [`ModeKeys`] with its default, and an entry in deploy/muster.toml.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use brain::limits::{PARTY_MAX, PLAYERS_PER_MATCH_MAX};
use brain::{Skill, SkillRules};
use launcher::{Confinement, Contract};
use serde::{Deserialize, Serialize};

use super::limits::WARM_MAX;
use super::raw;
use super::values::{self, Pattern, Word};

/// The keys of a mode. Its saved form is that of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ModeKeys {
    /// Empty until the file sets it, which it must.
    #[serde(deserialize_with = "values::mode_name")]
    pub(crate) name: String,
    /// Players in a match. By default those of the teams, or two.
    #[serde(deserialize_with = "values::number_if_set::<usize, 1, PLAYERS_MAX, _>")]
    pub(super) players: Option<usize>,
    /// The squads of each team; none: all play in one.
    #[serde(deserialize_with = "values::teams")]
    pub(crate) teams: Vec<Vec<usize>>,
    /// Players on one ticket.
    #[serde(deserialize_with = "values::number::<usize, 1, PARTY, _>")]
    pub(crate) party_max: usize,
    /// Matching by skill; `None`: in the order of arrival.
    pub(crate) skill: Option<SkillKeys>,
    /// The time that players may wait for others in one round.
    #[serde(with = "values::timeout_if_set")]
    pub(crate) max_wait: Option<Duration>,
    /// Rounds in which they may wait.
    #[serde(deserialize_with = "values::number::<u32, 1, 1_000, _>")]
    pub(crate) rounds: u32,
    /// The program, then its arguments. Empty until the file sets it, which it must.
    #[serde(deserialize_with = "values::command")]
    pub(crate) command: Vec<String>,
    /// Environment variables for the game besides those of the contract.
    #[serde(deserialize_with = "values::variables")]
    pub(crate) env: BTreeMap<String, String>,
    /// Whether the program knows Muster's contract.
    #[serde(with = "values::words")]
    pub(super) contract: ContractKey,
    /// Which process binds the port.
    #[serde(with = "values::words")]
    pub(super) bind: Bind,
    /// For a plain program: the line that it prints when it accepts players.
    pub(crate) ready_line: Option<Pattern>,
    /// Whether games are forked from a template.
    pub(crate) template: bool,
    /// Games after which a template is restarted.
    #[serde(deserialize_with = "values::number::<u64, 1, { i64::MAX }, _>")]
    pub(crate) template_games: u64,
    /// How games and players exchange datagrams.
    #[serde(with = "values::words")]
    pub(crate) transport: Transport,
    /// An alias of `warm_min`, which takes precedence.
    #[serde(deserialize_with = "values::number_if_set::<usize, 0, WARM_MAX, _>")]
    pub(super) warm: Option<usize>,
    /// Games to keep warm, at least.
    #[serde(deserialize_with = "values::number_if_set::<usize, 0, WARM_MAX, _>")]
    pub(super) warm_min: Option<usize>,
    /// Games to keep warm, at most.
    #[serde(deserialize_with = "values::number_if_set::<usize, 0, WARM_MAX, _>")]
    pub(super) warm_max: Option<usize>,
    /// From the launch to `ready`.
    #[serde(with = "values::timeout")]
    pub(crate) ready_timeout: Duration,
    /// From `start` to `started`.
    #[serde(with = "values::timeout")]
    pub(crate) start_timeout: Duration,
    /// The time to accept an offered match; `None`: players are not asked.
    #[serde(with = "values::timeout_if_set")]
    pub(crate) accept_timeout: Option<Duration>,
    /// The time until the first hello of the players.
    #[serde(with = "values::timeout")]
    pub(crate) hello_timeout: Duration,
    /// Whether a player may return into a running game.
    pub(crate) rejoin: bool,
    /// From `started` until the game is stopped.
    #[serde(with = "values::timeout")]
    pub(crate) max_duration: Duration,
    /// The longest silence of a game that sends heartbeats; `None`: heartbeats are not required.
    #[serde(with = "values::timeout_if_set")]
    pub(crate) alive_timeout: Option<Duration>,
    /// From the order to stop until SIGKILL.
    #[serde(with = "values::timeout")]
    pub(crate) stop_grace: Duration,
    /// For the benchmark: games that are no processes.
    #[cfg(feature = "stub-games")]
    #[serde(rename = "stub")]
    pub(crate) is_stub: bool,
    /// The mode's own keys of confinement, which [`Mode::confinement`] combines with those of all modes.
    #[serde(skip_serializing)]
    pub(super) confinement: raw::Confinement,
}

const PLAYERS_MAX: i64 = PLAYERS_PER_MATCH_MAX as i64;
const PARTY: i64 = PARTY_MAX as i64;

impl Default for ModeKeys {
    fn default() -> Self {
        Self {
            name: String::new(),
            players: None,
            teams: Vec::new(),
            party_max: 1,
            skill: None,
            max_wait: None,
            rounds: 1,
            command: Vec::new(),
            env: BTreeMap::new(),
            contract: ContractKey::Muster,
            bind: Bind::Muster,
            ready_line: None,
            template: false,
            template_games: 10_000,
            transport: Transport::Plain,
            warm: None,
            warm_min: None,
            warm_max: None,
            ready_timeout: Duration::from_secs(5),
            start_timeout: Duration::from_secs(2),
            accept_timeout: None,
            hello_timeout: Duration::from_secs(10),
            rejoin: false,
            max_duration: Duration::from_secs(600),
            alive_timeout: None,
            stop_grace: Duration::from_secs(5),
            #[cfg(feature = "stub-games")]
            is_stub: false,
            confinement: raw::Confinement::default(),
        }
    }
}

/// The keys of matching by skill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Skill", deny_unknown_fields, default)]
pub(crate) struct SkillKeys {
    /// The skill of a player without a rating.
    #[serde(deserialize_with = "values::number::<i32, 0, 1_000_000, _>")]
    pub(super) default: i32,
    /// The difference in skill that a ticket accepts at first.
    #[serde(deserialize_with = "values::number::<u32, 0, 1_000_000, _>")]
    pub(super) window: u32,
    /// The growth of the window after each `widen_every`.
    #[serde(deserialize_with = "values::number::<u32, 0, 1_000_000, _>")]
    pub(super) widen_by: u32,
    /// The time between two growths.
    #[serde(with = "values::timeout")]
    pub(super) widen_every: Duration,
    /// The largest window. By default ten times the first.
    #[serde(deserialize_with = "values::number_if_set::<u32, 0, 1_000_000, _>")]
    pub(super) window_max: Option<u32>,
}

impl Default for SkillKeys {
    fn default() -> Self {
        let widen_every = Duration::from_secs(5);
        Self { default: 1_000, window: 100, widen_by: 50, widen_every, window_max: None }
    }
}

impl SkillKeys {
    pub(super) fn window_max(&self) -> u32 {
        self.window_max.unwrap_or_else(|| self.window.saturating_mul(10))
    }
}

impl From<&SkillKeys> for Skill {
    fn from(keys: &SkillKeys) -> Self {
        let &SkillKeys { default, window, widen_by, widen_every, .. } = keys;
        let window_max = keys.window_max();
        Self { default, rules: SkillRules { window, widen_by, widen_every, window_max } }
    }
}

/// Whether a program knows Muster's contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContractKey {
    Muster,
    Plain,
}

impl Word for ContractKey {
    const WORDS: &'static [(&'static str, Self)] =
        &[(protocol::GAME_PROTOCOL, Self::Muster), ("plain", Self::Plain)];
}

/// Which process binds a game's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bind {
    Muster,
    Game,
}

impl Word for Bind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("muster", Self::Muster), ("game", Self::Game)];
}

/// How a game and its players exchange datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Transport {
    /// As they are.
    Plain,
    /// Encrypted, by the netcode standard.
    Netcode,
}

impl Word for Transport {
    const WORDS: &'static [(&'static str, Self)] =
        &[("plain", Self::Plain), (protocol::netcode::TRANSPORT, Self::Netcode)];
}

impl Transport {
    /// The word in assignments.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Netcode => protocol::netcode::TRANSPORT,
        }
    }
}

/// A mode with its index in the daemon's tables.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Mode {
    keys: ModeKeys,
    /// Whether it was removed from the file: running games end normally, and no players are accepted.
    pub(crate) is_closed: bool,
    /// The index of its program.
    pub(crate) program: usize,
    pub(crate) confinement: Confinement,
}

impl Deref for Mode {
    type Target = ModeKeys;

    fn deref(&self) -> &ModeKeys {
        &self.keys
    }
}

impl Mode {
    /// A mode by its checked keys.
    pub(super) fn new(mut keys: ModeKeys, confinement: Confinement) -> Self {
        // Defaults that depend on other keys take their values here, so that equal modes compare equal.
        let (min, max) = keys.warm();
        keys.players = Some(keys.players());
        (keys.warm, keys.warm_min, keys.warm_max) = (None, Some(min), Some(max));
        if let Some(skill) = &mut keys.skill {
            skill.window_max = Some(skill.window_max());
        }
        keys.confinement = raw::Confinement::default();
        Self { keys, is_closed: false, program: 0, confinement }
    }

    /// The same mode, removed from the file.
    pub(super) fn closed(&self) -> Self {
        let keys = ModeKeys { warm_min: Some(0), warm_max: Some(0), ..self.keys.clone() };
        Self { keys, is_closed: true, ..self.clone() }
    }

    #[cfg(test)]
    pub(super) fn keys_mut(&mut self) -> &mut ModeKeys {
        &mut self.keys
    }

    /// The slots of each team, which follow each other.
    pub(crate) fn slots_by_team(&self) -> Vec<Vec<usize>> {
        let mut slots = 0..;
        let size = |team: &Vec<usize>| team.iter().sum();
        self.teams.iter().map(|team| slots.by_ref().take(size(team)).collect()).collect()
    }
}

impl ModeKeys {
    /// Players in a match.
    pub(crate) fn players(&self) -> usize {
        let in_teams =
            || self.teams.iter().flatten().fold(0, |sum: usize, it| sum.saturating_add(*it));
        self.players.unwrap_or_else(|| if self.teams.is_empty() { 2 } else { in_teams() })
    }

    /// The size of the largest squad.
    pub(super) fn squad_max(&self) -> usize {
        self.teams.iter().flatten().copied().max().unwrap_or_else(|| self.players())
    }

    /// The contract with the program.
    pub(crate) fn contract(&self) -> Contract {
        match self.contract {
            ContractKey::Muster => Contract::Muster,
            ContractKey::Plain => Contract::Plain { binds: self.bind == Bind::Game },
        }
    }

    /// Games to keep warm, at least and at most. A plain program receives its players at launch and cannot wait.
    pub(crate) fn warm(&self) -> (usize, usize) {
        let default = if self.contract == ContractKey::Muster { 2 } else { 0 };
        let min = self.warm_min.or(self.warm).unwrap_or(default);
        (min, self.warm_max.unwrap_or(min))
    }
}

impl From<&Mode> for brain::Mode {
    fn from(mode: &Mode) -> Self {
        let (warm_min, warm_max) = mode.warm();
        Self {
            name: mode.name.clone(),
            is_closed: mode.is_closed,
            program: mode.program,
            players: mode.players(),
            teams: mode.teams.clone(),
            party_max: mode.party_max,
            skill: mode.skill.as_ref().map(Skill::from),
            max_wait: mode.max_wait,
            rounds: mode.rounds,
            warm_min,
            warm_max,
            ready_timeout: mode.ready_timeout,
            start_timeout: mode.start_timeout,
            accept_timeout: mode.accept_timeout,
            hello_timeout: mode.hello_timeout,
            rejoin: mode.rejoin,
            max_duration: mode.max_duration,
            alive_timeout: mode.alive_timeout,
            stop_grace: mode.stop_grace,
            has_control: mode.contract() == Contract::Muster,
        }
    }
}

/// The program of a game and the transport to its players. A game keeps both when the mode changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Program {
    /// The launcher's part.
    pub(crate) run: launcher::Program,
    pub(crate) transport: Transport,
    /// For a plain program: the line that it prints when it accepts players.
    pub(crate) ready_line: Option<Pattern>,
}

impl Program {
    /// Whether the games of both are the same; the ready timeout makes no difference.
    pub(super) fn same_program_as(&self, other: &Self) -> bool {
        self.run.same_process_as(&other.run)
            && self.transport == other.transport
            && self.ready_line == other.ready_line
    }
}

impl From<&Mode> for Program {
    fn from(mode: &Mode) -> Self {
        let run = launcher::Program {
            mode: mode.name.clone(),
            command: mode.command.clone(),
            env: mode.env.clone(),
            contract: mode.contract(),
            template: mode.template.then_some(mode.template_games),
            ready_timeout: mode.ready_timeout,
            confinement: mode.confinement.clone(),
        };
        Self { run, transport: mode.transport, ready_line: mode.ready_line.clone() }
    }
}
