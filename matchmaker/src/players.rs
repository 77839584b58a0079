//! Players and their phases.

use std::time::Duration;

use protocol::Secret;
use serde::{Deserialize, Serialize};

use crate::brief;
use crate::queue::Ticket;
use protocol::{Account, ConnectionId, MatchId, ModeId};

/// A player's session, from READY on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Player {
    /// The player's connection. `None` while the player is absent, and after the assignment.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) mode: ModeId,
    pub(crate) ticket: Ticket,
    pub(crate) name: String,
    /// The key that resumes the session.
    pub(crate) resume_key: Secret,
    pub(crate) token: Secret,
    #[serde(serialize_with = "brief::duration")]
    pub(crate) joined_at: Duration,
    #[serde(default, skip_serializing_if = "brief::is_default")]
    pub(crate) skill: i32,
    /// The round that its ticket waits in, from 1; kept by the first player on it.
    #[serde(default = "first_round", skip_serializing_if = "brief::is_one")]
    pub(crate) round: u32,
    /// When the player was assigned.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    pub(crate) assigned_at: Duration,
    /// The account that the player is charged to.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    pub(crate) account: Account,
    /// Since when the player is absent, if so.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    pub(crate) away_since: Duration,
    /// Whether an untaken seat is charged to the account.
    #[serde(default, skip_serializing_if = "brief::is_default")]
    pub(crate) owes_seat: bool,
    phase: PlayerPhase,
}

/// The phase of a player. A player who left, expired, was evicted or refused does not exist any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PlayerPhase {
    /// In its mode's queue.
    Queued,
    /// Picked for a match that has no running game yet. Such a player is present: a match whose player is lost is
    /// dissolved.
    Matched(MatchId),
    /// Assigned; removed when the match ends.
    Assigned(MatchId),
}

/// The first round of a ticket.
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

    /// The only function that changes a player's phase.
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
