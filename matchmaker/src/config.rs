//! What the brain is told once, at its start.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits;

/// How the brain is set up. The body checks an operator's values before they come here; see [`Config::assert_valid`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// The modes, in the order in which clients are told of them. The first one is the default.
    pub modes: Vec<Mode>,
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
}

/// What is played in a queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mode {
    /// The mode's name, which is its queue's name.
    pub name: String,
    /// Players in a match.
    pub players: usize,
    /// Games to keep warm, however few matches come.
    pub warm_min: usize,
    /// Games to keep warm, however many matches come.
    pub warm_max: usize,
    /// Whether a game that is launched because a match waits gets that match's players at birth. A program that
    /// knows nothing of Muster needs it so; to any other it saves two trips.
    pub seat_at_launch: bool,
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
    /// From `stop` to SIGKILL; SIGTERM comes halfway.
    pub stop_grace: Duration,
}

impl Config {
    /// Checks what the brain relies on.
    ///
    /// # Panics
    /// When there is no mode or no port, or a bound is zero, over its limit or on the wrong side of another: the body has to refuse such a
    /// configuration with a word to the operator.
    pub fn assert_valid(&self) {
        assert!(!self.modes.is_empty(), "a configuration without modes");
        assert!(!self.ports.is_empty(), "a configuration without ports");
        assert!(self.queue_max > 0 && self.launching_max > 0, "a bound of zero");
        for mode in &self.modes {
            let players = 1..=limits::PLAYERS_PER_MATCH_MAX;
            assert!(
                players.contains(&mode.players),
                "mode {}: {} players",
                mode.name,
                mode.players
            );
            let (min, max) = (mode.warm_min, mode.warm_max);
            assert!(min <= max, "mode {}: {min} to {max} warm games", mode.name);
        }
    }
}
