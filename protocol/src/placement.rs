//! The messages between the two halves of the brain: the matchmaker, which knows players and matches, and hosting, which
//! knows games and ports. On one box they are exchanged within a turn; between boxes they travel over a link.
//!
//! Each names its match and can be repeated without harm: a message about a match that the other half does not know, or
//! that is past the phase it speaks of, changes nothing.

use serde::{Deserialize, Serialize};

use crate::report::MatchEnd;
use crate::{GameId, MatchId, ModeId, Seat};

/// From the matchmaker to hosting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHosting {
    /// Play a match in a warm game, or in one that is launched for it. Answered by `Placed`, then by `Started` or `Failed`.
    Place {
        /// Counts placements, from 1: see [`Capacity::placed_up_to`].
        number: u64,
        /// The match.
        match_id: MatchId,
        /// Its mode.
        mode: ModeId,
        /// Its players, by slot.
        seats: Vec<Seat>,
    },
    /// A match that was placed and has not started is not played. Its game is killed; no answer follows.
    Withdraw {
        /// The match.
        match_id: MatchId,
    },
    /// Players join a running match in open slots.
    Fill {
        /// The match.
        match_id: MatchId,
        /// The players, by slot.
        seats: Vec<Seat>,
    },
    /// A player rejoins a running match with a new token.
    Rejoin {
        /// The match.
        match_id: MatchId,
        /// The player's slot and new token.
        seat: Seat,
    },
    /// The demand that the warm pool has to serve. Sent last in each turn: only then hosting launches and stops warm games.
    Demand {
        /// The demand of each mode, by [`ModeId`].
        modes: Vec<ModeDemand>,
    },
}

/// The demand of a mode for games.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeDemand {
    /// Matches that wait for a game.
    pub waiting: usize,
    /// Matches that were formed since the start.
    pub formed: u64,
}

/// From hosting to the matchmaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToMatchmaker {
    /// A match has a game, which starts.
    Placed {
        /// The match.
        match_id: MatchId,
        /// Where its game comes from.
        source: GameSource,
    },
    /// The game of a match failed before it started: the match has to be placed again.
    Failed {
        /// The match.
        match_id: MatchId,
    },
    /// The game of a match has started: its players can join.
    Started {
        /// The match.
        match_id: MatchId,
        /// Where it is played.
        location: Location,
    },
    /// A player joined the game.
    Joined {
        /// The match.
        match_id: MatchId,
        /// The player's slot.
        slot: usize,
    },
    /// A player left the game.
    Left {
        /// The match.
        match_id: MatchId,
        /// The player's slot.
        slot: usize,
    },
    /// The game wants players in these slots, and in no others.
    Open {
        /// The match.
        match_id: MatchId,
        /// The slots.
        slots: Vec<usize>,
    },
    /// The game reported a result. Sent once.
    Result {
        /// The match.
        match_id: MatchId,
        /// The result's fields, as JSON.
        result: String,
    },
    /// The game is being stopped: no player can join any more.
    Ending {
        /// The match.
        match_id: MatchId,
    },
    /// The match is over, and its game gone.
    Ended {
        /// The match.
        match_id: MatchId,
        /// How it ended.
        end: MatchEnd,
    },
}

/// Where the game of a match comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GameSource {
    /// It was warm.
    Warm,
    /// It was launched for the match.
    Launched,
}

impl GameSource {
    /// Every source.
    pub const ALL: [Self; 2] = [Self::Warm, Self::Launched];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Launched => "launched",
        }
    }
}

/// Where a match is played. The matchmaker only passes it on to players.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The game.
    pub game: GameId,
    /// Its port.
    pub port: u16,
}

/// How many matches hosting can place. The matchmaker subtracts the placements that are under way exactly, so a host is
/// never over-committed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Free ports.
    pub free: usize,
    /// Games that may be launched now, beside those that are launching.
    pub launches: usize,
    /// The capacity of each mode, by [`ModeId`].
    pub modes: Vec<ModeCapacity>,
    /// The number of the last placement that is included.
    pub placed_up_to: u64,
}

/// The capacity of hosting for a mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeCapacity {
    /// Warm games.
    pub warm: usize,
    /// Games that are launching to be warm.
    pub launching: usize,
    /// Whether a game of the mode may be launched.
    pub may_launch: bool,
    /// Whether the mode's games keep failing: they are launched one at a time, with pauses.
    pub is_failing: bool,
}
