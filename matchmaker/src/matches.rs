//! Matches and their phases.

use std::time::Duration;

use protocol::WaitReason;
use serde::{Deserialize, Serialize};

use crate::ids::{GameId, ModeId, PlayerId};
use crate::queue::Ticket;

/// The players picked together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Match {
    pub(crate) mode: ModeId,
    /// The players, by slot, in the order of their tickets.
    pub(crate) players: Vec<PlayerId>,
    /// The lowest ticket among them: the match's place among those that wait.
    pub(crate) ticket: Ticket,
    pub(crate) formed_at: Duration,
    /// What the players were last told that they wait for.
    pub(crate) told: Option<WaitReason>,
    pub(crate) has_result: bool,
    phase: MatchPhase,
}

/// Where a match stands. One that ended or came to nothing is gone. A ready check will come before `Waiting`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MatchPhase {
    /// For a game.
    Waiting,
    /// The game has the players, or is launched with them, and has not said `started`.
    Starting(GameId),
    /// The players were told where to play.
    Assigned { game: GameId, since: Duration },
}

impl Match {
    pub(crate) fn new(
        mode: ModeId,
        players: Vec<PlayerId>,
        ticket: Ticket,
        formed_at: Duration,
    ) -> Self {
        let phase = MatchPhase::Waiting;
        Self { mode, players, ticket, formed_at, told: None, has_result: false, phase }
    }

    pub(crate) fn phase(&self) -> MatchPhase {
        self.phase
    }

    /// The one place where a match changes its phase.
    pub(crate) fn enter(&mut self, next: MatchPhase) {
        use MatchPhase::{Assigned, Starting, Waiting};
        let legal = match (self.phase, next) {
            // The way back: the game failed before it had started.
            (Waiting, Starting(_)) | (Starting(_), Waiting) => true,
            (Starting(from), Assigned { game, .. }) => from == game,
            (Waiting, Waiting | Assigned { .. })
            | (Starting(_), Starting(_))
            | (Assigned { .. }, _) => false,
        };
        assert!(legal, "a match cannot go from {:?} to {next:?}", self.phase);
        self.phase = next;
    }
}
