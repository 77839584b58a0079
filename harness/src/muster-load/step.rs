//! The steps of players: runs of scenarios, and the games after them.

use std::time::Duration;

use serde::Deserialize;

/// The scenarios that an idle player can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Matchmaking,
    Impatient,
    Flaky,
    Lurker,
    Logout,
    Slow,
    Firehose,
    Resets,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Matchmaking => "matchmaking",
            Self::Impatient => "impatient",
            Self::Flaky => "flaky",
            Self::Lurker => "lurker",
            Self::Logout => "logout",
            Self::Slow => "slow",
            Self::Firehose => "firehose",
            Self::Resets => "resets",
        }
    }

    /// Whether the player plays when assigned. The others never send a hello, like hostile and absent players.
    pub(crate) const fn plays(self) -> bool {
        match self {
            Self::Matchmaking | Self::Impatient | Self::Flaky | Self::Slow => true,
            Self::Lurker | Self::Logout | Self::Firehose | Self::Resets => false,
        }
    }
}

/// One run of a scenario, with all that was left to chance. All durations are drawn, whether the run needs them or
/// not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Step {
    /// How long the player is idle before.
    pub(crate) idle: Duration,
    pub(crate) kind: Kind,
    /// Which of the queues, from 0.
    pub(crate) queue: usize,
    /// How long the scenario lasts, where it has such a time: until LEAVE, until the connection is lost.
    pub(crate) pause: Duration,
    /// A second time of that kind: how long the player is away, how long it takes for a byte.
    pub(crate) second_pause: Duration,
    /// Which of two ways, where a scenario can end in two.
    pub(crate) coin: bool,
    pub(crate) answer: Answer,
    pub(crate) game: GameStep,
}

/// The player's answer to an offered match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Accept,
    Decline,
    Nothing,
}

/// The player's behaviour when assigned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GameStep {
    pub(crate) game: GameName,
    pub(crate) shows_up: bool,
    pub(crate) stays: Duration,
    pub(crate) ping_every: Duration,
    /// How long the player thinks about each move.
    pub(crate) think: Duration,
    /// The seed of the moves.
    pub(crate) seed: u64,
}

/// The game that a player expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GameName {
    /// Recognized by its first messages.
    Auto,
    Echo,
    TicTacToe,
    Arena,
}
