//! How hosting is set up.

use std::ops::RangeInclusive;
use std::time::Duration;

use protocol::ModeId;
use serde::{Deserialize, Serialize};

/// How hosting is set up. The body checks an operator's values before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The modes, by [`ModeId`].
    pub modes: Vec<Mode>,
    /// The ports of the ring.
    pub ports: RangeInclusive<u16>,
    /// How long a port rests after players were told of it.
    pub quarantine: Duration,
    /// How long running games may continue during a drain.
    pub drain_timeout: Duration,
    /// Games that may be launching at a time, in all modes together.
    pub launching_max: usize,
}

/// A mode, as far as its games are concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mode {
    /// Whether the mode is no longer played: games without players are stopped.
    pub is_closed: bool,
    /// The program that the mode runs, as numbered by the body. When it changes, games without players are stopped.
    pub program: usize,
    /// Games to keep warm, however few matches are formed.
    pub warm_min: usize,
    /// Games to keep warm, however many matches are formed.
    pub warm_max: usize,
    /// From the launch to `ready`.
    pub ready_timeout: Duration,
    /// From `start` to `started`, or from `ready` to `started` for a game that was launched with its players.
    pub start_timeout: Duration,
    /// From `started` until the game is stopped.
    pub max_duration: Duration,
    /// The longest silence between two heartbeats, where the mode requires them.
    pub alive_timeout: Option<Duration>,
    /// How long a game may take to end once it is asked to, until SIGKILL. A game with a control channel gets SIGTERM
    /// halfway, any other gets it at once.
    pub stop_grace: Duration,
    /// Whether its games have a control channel, on which they receive `stop`.
    pub has_control: bool,
}

impl Config {
    pub(crate) fn mode_ids(&self) -> impl DoubleEndedIterator<Item = ModeId> + use<> {
        (0..self.modes.len()).map(ModeId)
    }
}
