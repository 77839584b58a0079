//! How the matchmaker is set up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::lineup::{Rules, SkillRules};
use protocol::ModeId;

/// How the matchmaker is set up. The body checks an operator's values before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The modes, by [`ModeId`]. A mode keeps its place for as long as there is this brain, whatever else changes.
    pub modes: Vec<Mode>,
    /// The mode of who names none.
    pub default_mode: ModeId,
    /// Games that can run at a time: ports of the ring.
    pub games_max: usize,
    /// Players who may wait in one queue, those who are away included.
    pub queue_max: usize,
    /// How long the place of a player is kept whose connection is lost. Zero: not at all.
    pub resume_window: Duration,
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
    /// How long players may take to accept a match that was found, where the mode asks them.
    pub accept_timeout: Option<Duration>,
    /// From `started` until a game that nobody came into gives up. As long may a player who lost its connection
    /// ask for its assignment again.
    pub hello_timeout: Duration,
    /// Whether a player may come back into a running game, with another token.
    pub rejoin: bool,
    /// Whether its games have a control channel: they receive `stop` and report which players join. Any other program
    /// receives signals only.
    pub has_control: bool,
}

/// How far apart in skill those may be who meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skill {
    /// Of a player of whom nothing is known.
    pub default: i32,
    /// How far from its own skill a ticket accepts others, and how that widens as it waits.
    pub rules: SkillRules,
}

impl Mode {
    /// Checks what the matchmaker relies on.
    ///
    /// # Panics
    /// When a bound is zero, over its limit, or on the wrong side of another: the body has to refuse such a configuration.
    pub fn assert_valid(&self) {
        let (name, rules) = (&self.name, self.rules());
        let players = 1..=limits::PLAYERS_PER_MATCH_MAX;
        assert!(players.contains(&self.players), "mode {name}: {} players", self.players);
        assert_eq!(rules.flaw(), None, "mode {name}");
        assert_eq!(rules.players(), self.players, "mode {name}: its teams");
        let parties = 1..=rules.party_max().min(limits::PARTY_MAX);
        assert!(parties.contains(&self.party_max), "mode {name}: its parties");
        assert!(self.rounds > 0, "mode {name}: no round");
    }

    /// How many players are in each squad, team by team.
    pub fn squads(&self) -> Vec<usize> {
        if self.teams.is_empty() { vec![self.players] } else { self.teams.concat() }
    }

    /// The rules of its queue.
    pub(crate) fn rules(&self) -> Rules {
        Rules { squads: self.squads(), skill: self.skill.map(|skill| skill.rules) }
    }

    /// The skill of a player of whom nothing is known.
    pub fn skill_default(&self) -> i32 {
        self.skill.map_or(0, |skill| skill.default)
    }

    /// Whether those who come first always play first. Elsewhere who fits together does; and who has accepted a match is
    /// not taken out of it for one who came back later.
    pub fn is_first_come_first_served(&self) -> bool {
        self.teams.is_empty()
            && self.party_max == 1
            && self.skill.is_none()
            && self.accept_timeout.is_none()
    }
}
