//! Players and their phases.

use std::time::Duration;

use protocol::Secret;
use serde::{Deserialize, Serialize};

use crate::brief;
use crate::queue::Ticket;
use protocol::{Account, ConnectionId, MatchId, ModeId};

/// One session of one person, from READY on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Player {
    /// Where the player is spoken to. `None` while it is away, and once it was told where to play.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) mode: ModeId,
    pub(crate) ticket: Ticket,
    pub(crate) name: String,
    /// What names the session to whoever takes it up again.
    pub(crate) resume_key: Secret,
    pub(crate) token: Secret,
    #[serde(serialize_with = "brief::duration")]
    pub(crate) joined_at: Duration,
    #[serde(default, skip_serializing_if = "brief::is_default")]
    pub(crate) skill: i32,
    /// The round that its ticket waits in, from 1; kept by the first on it.
    #[serde(default = "first_round", skip_serializing_if = "brief::is_one")]
    pub(crate) round: u32,
    /// When it was told where to play.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    pub(crate) assigned_at: Duration,
    /// Whom it is charged to what this player uses.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    pub(crate) account: Account,
    /// Since when it is away, if it is.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    pub(crate) away_since: Duration,
    /// Whether a seat is charged to its account that it has not come into.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    pub(crate) owes_seat: bool,
    phase: PlayerPhase,
}

/// Where a player stands. Who leaves, expires, is evicted or refused is gone, and has no phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PlayerPhase {
    /// In its mode's queue.
    Queued,
    /// Picked for a match whose game is not there yet. Such a player is here: a match whose player is lost comes to
    /// nothing.
    Matched(MatchId),
    /// Told where to play; gone when the match ends.
    Assigned(MatchId),
}

/// The round in which a ticket begins.
fn first_round() -> u32 {
    1
}

impl Player {
    pub(crate) fn new(
        connection: ConnectionId,
        mode: ModeId,
        ticket: Ticket,
        name: String,
        (resume_key, token): (Secret, Secret),
        joined_at: Duration,
    ) -> Self {
        let (connection, phase) = (Some(connection), PlayerPhase::Queued);
        Self {
            connection,
            mode,
            ticket,
            name,
            resume_key,
            token,
            joined_at,
            skill: 0,
            round: 1,
            assigned_at: Duration::ZERO,
            account: Account::UNKNOWN,
            away_since: Duration::ZERO,
            owes_seat: false,
            phase,
        }
    }

    pub(crate) fn phase(&self) -> PlayerPhase {
        self.phase
    }

    /// The one place where a player changes its phase.
    pub(crate) fn enter(&mut self, next: PlayerPhase) {
        use PlayerPhase::{Assigned, Matched, Queued};
        let legal = match (self.phase, next) {
            (Queued, Matched(_)) => self.connection.is_some(),
            (Matched(_), Queued) => true,
            (Matched(from), Assigned(to)) => from == to,
            (Queued, Queued | Assigned(_)) | (Matched(_), Matched(_)) | (Assigned(_), _) => false,
        };
        assert!(legal, "a player cannot go from {:?} to {next:?}", self.phase);
        self.phase = next;
    }
}
