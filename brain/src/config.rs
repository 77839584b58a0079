//! How the brain is set up.

use std::ops::RangeInclusive;
use std::time::Duration;

use matchmaker::Skill;
use protocol::ModeId;
use serde::{Deserialize, Serialize};

/// How the brain is set up. The body checks an operator's values before they come here; see [`Config::assert_valid`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The modes, by [`ModeId`]. A mode keeps its place for as long as there is this brain, whatever else changes.
    pub modes: Vec<Mode>,
    /// The mode of who names none.
    pub default_mode: ModeId,
    /// The ports of the ring.
    pub ports: RangeInclusive<u16>,
    /// How long a port rests after players were told of it.
    pub quarantine: Duration,
    /// How long running games may go on once the drain began.
    pub drain_timeout: Duration,
    /// Players who may wait in one queue, those who are away included.
    pub queue_max: usize,
    /// How long the place of a player is kept whose connection is lost. Zero: not at all.
    pub resume_window: Duration,
    /// Games that may be launching at a time, in all modes together.
    pub launching_max: usize,
    /// Places of players who are away that an account may have, in all modes together.
    pub away_per_account: usize,
    /// Seats that an account may hold which nobody has come into, in all modes together; zero: as many as there are, and
    /// nothing is held against anybody.
    pub seats_per_account: usize,
    /// Parties that an account may have.
    pub parties_per_account: usize,
}

/// A mode: the game that is played in a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mode {
    /// The mode's name, which is its queue's name.
    pub name: String,
    /// Whether it is not played any more: nobody is taken in, and what is played there already is played to its end.
    pub is_closed: bool,
    /// The program that the mode runs, as numbered by the body. When it changes, games without players are stopped.
    pub program: usize,
    /// Players in a match.
    pub players: usize,
    /// The teams, each of one or more squads of so many players: a party is in one squad. None: all play in one squad.
    pub teams: Vec<Vec<usize>>,
    /// Players who may be queued together, on one ticket.
    pub party_max: usize,
    /// The skill window of players who may meet; `None`: any players.
    pub skill: Option<Skill>,
    /// How long a ticket may wait for others in one round; `None`: as long as it takes.
    pub max_wait: Option<Duration>,
    /// In how many rounds it may wait.
    pub rounds: u32,
    /// Games to keep warm, however few matches come.
    pub warm_min: usize,
    /// Games to keep warm, however many matches come.
    pub warm_max: usize,
    /// From the launch to `ready`.
    pub ready_timeout: Duration,
    /// From `start` to `started`. Where players are seated at launch, from `ready` on.
    pub start_timeout: Duration,
    /// How long players may take to accept a match that was found, where the mode asks them.
    pub accept_timeout: Option<Duration>,
    /// From `started` until a game that nobody came into gives up. As long may a player who lost its connection
    /// ask for its assignment again.
    pub hello_timeout: Duration,
    /// Whether a player may come back into a running game, with another token.
    pub rejoin: bool,
    /// From `started` until the game is stopped.
    pub max_duration: Duration,
    /// The longest silence between two heartbeats, where the mode asks for them.
    pub alive_timeout: Option<Duration>,
    /// How long a game may take to end once it is asked to, until SIGKILL. A game with a control channel gets SIGTERM
    /// halfway, any other gets it at once.
    pub stop_grace: Duration,
    /// Whether its games have a control channel: they receive `stop` and report which players join. Any other program
    /// receives signals only.
    pub has_control: bool,
}

impl Config {
    /// Checks what the brain relies on.
    ///
    /// # Panics
    /// When there is no mode or no port, or a bound is zero, over its limit or on the wrong side of another: the body has to refuse such a
    /// configuration with a word to the operator.
    pub fn assert_valid(&self) {
        let default = self.modes.get(self.default_mode.0);
        assert!(default.is_some_and(|mode| !mode.is_closed), "a configuration without a mode");
        assert!(!self.ports.is_empty(), "a configuration without ports");
        assert!(self.queue_max > 0 && self.launching_max > 0, "a bound of zero");
        for mode in &self.modes {
            mode.for_matchmaker().assert_valid();
            assert!(!mode.is_closed || mode.warm_max == 0, "mode {}: closed and warm", mode.name);
            let (min, max) = (mode.warm_min, mode.warm_max);
            assert!(min <= max, "mode {}: {min} to {max} warm games", mode.name);
        }
    }

    /// Whether the brain can continue with another configuration.
    ///
    /// # Errors
    /// [`Unchangeable`] when the ports differ, or a mode is not at its index.
    pub fn may_become(&self, next: &Self) -> Result<(), Unchangeable> {
        let mut names = next.modes.iter().map(|mode| &mode.name);
        if !self.modes.iter().all(|mode| names.next() == Some(&mode.name)) {
            return Err(Unchangeable("the places of the modes"));
        }
        if self.ports != next.ports {
            return Err(Unchangeable("the ring of ports"));
        }
        Ok(())
    }

    /// The matchmaker's part.
    pub(crate) fn for_matchmaker(&self) -> matchmaker::Config {
        matchmaker::Config {
            modes: self.modes.iter().map(Mode::for_matchmaker).collect(),
            default_mode: self.default_mode,
            games_max: self.ports.len(),
            queue_max: self.queue_max,
            resume_window: self.resume_window,
            away_per_account: self.away_per_account,
            seats_per_account: self.seats_per_account,
            parties_per_account: self.parties_per_account,
        }
    }

    /// Hosting's part.
    pub(crate) fn for_hosting(&self) -> hosting::Config {
        hosting::Config {
            modes: self.modes.iter().map(Mode::for_hosting).collect(),
            ports: self.ports.clone(),
            quarantine: self.quarantine,
            drain_timeout: self.drain_timeout,
            launching_max: self.launching_max,
        }
    }
}

impl Mode {
    /// How many players are in each squad, team by team.
    pub fn squads(&self) -> Vec<usize> {
        self.for_matchmaker().squads()
    }

    /// The skill of a player of whom none is known.
    pub fn skill_default(&self) -> i32 {
        self.for_matchmaker().skill_default()
    }

    /// Whether players who came first always play first.
    pub fn is_first_come_first_served(&self) -> bool {
        self.for_matchmaker().is_first_come_first_served()
    }

    fn for_matchmaker(&self) -> matchmaker::Mode {
        matchmaker::Mode {
            name: self.name.clone(),
            is_closed: self.is_closed,
            players: self.players,
            teams: self.teams.clone(),
            party_max: self.party_max,
            skill: self.skill,
            max_wait: self.max_wait,
            rounds: self.rounds,
            accept_timeout: self.accept_timeout,
            hello_timeout: self.hello_timeout,
            rejoin: self.rejoin,
            has_control: self.has_control,
        }
    }

    fn for_hosting(&self) -> hosting::Mode {
        hosting::Mode {
            is_closed: self.is_closed,
            program: self.program,
            warm_min: self.warm_min,
            warm_max: self.warm_max,
            ready_timeout: self.ready_timeout,
            start_timeout: self.start_timeout,
            max_duration: self.max_duration,
            alive_timeout: self.alive_timeout,
            stop_grace: self.stop_grace,
            has_control: self.has_control,
        }
    }
}

/// A part of the configuration that cannot change while there are players and games.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchangeable(pub &'static str);
