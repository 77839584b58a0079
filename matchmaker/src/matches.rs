//! Matches and their phases.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use protocol::placement::{GameSource, Location};
use protocol::{ModeId, PlayerId, WaitReason};
use serde::{Deserialize, Serialize};

use crate::queue::Ticket;

/// The players picked together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Match {
    pub(crate) mode: ModeId,
    /// The players, by slot: squad after squad, and in each in the order of their tickets; but who came in later is where
    /// there was room.
    pub(crate) players: Vec<PlayerId>,
    /// How many players each squad has: what its mode had when it was formed.
    squads: Vec<usize>,
    /// The lowest ticket among them: the match's place among those that wait.
    pub(crate) ticket: Ticket,
    pub(crate) formed_at: Duration,
    /// Who has said that it takes part, where that is asked.
    pub(crate) accepted: BTreeSet<PlayerId>,
    /// What the players were last told that they wait for.
    pub(crate) told: Option<WaitReason>,
    /// When they were told that, and for how long they are told nothing more.
    pub(crate) told_at: Duration,
    pub(crate) told_pause: Duration,
    /// How many matches they were told to be ahead of them.
    pub(crate) told_ahead: Option<usize>,
    /// What they wait for by now, if that is another thing.
    pub(crate) untold: Option<WaitReason>,
    /// Slots whose present player has joined since they were last told where to play.
    pub(crate) arrived: BTreeSet<usize>,
    /// Slots whose player is in the game.
    pub(crate) present: BTreeSet<usize>,
    /// Whether its game is being stopped.
    pub(crate) is_ending: bool,
    phase: MatchPhase,
}

/// Where a match stands. One that ended or came to nothing is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MatchPhase {
    /// To its players, who have to accept it by this time.
    Offered { until: Duration },
    /// Waits for a game.
    Placing,
    /// Hosting places it; its game has not started. The source is known once hosting has answered.
    Starting { source: Option<GameSource> },
    /// The players were told where to play.
    Assigned { location: Location, since: Duration },
}

impl Match {
    pub(crate) fn new(
        mode: ModeId,
        players: Vec<PlayerId>,
        squads: Vec<usize>,
        ticket: Ticket,
        formed_at: Duration,
        accept_until: Option<Duration>,
    ) -> Self {
        let phase = accept_until.map_or(MatchPhase::Placing, |until| MatchPhase::Offered { until });
        Self {
            mode,
            players,
            squads,
            ticket,
            formed_at,
            accepted: BTreeSet::new(),
            told: None,
            told_at: Duration::ZERO,
            told_pause: Duration::ZERO,
            told_ahead: None,
            untold: None,
            arrived: BTreeSet::new(),
            present: BTreeSet::new(),
            is_ending: false,
            phase,
        }
    }

    /// The slots of each squad.
    pub(crate) fn squads(&self) -> impl Iterator<Item = Range<usize>> {
        self.squads.iter().scan(0, |first, size| {
            let slots = *first..*first + size;
            *first = slots.end;
            Some(slots)
        })
    }

    /// Whether it is made of these squads.
    pub(crate) fn is_of(&self, squads: &[usize]) -> bool {
        self.squads().map(|slots| slots.len()).eq(squads.iter().copied())
    }

    pub(crate) fn phase(&self) -> MatchPhase {
        self.phase
    }

    /// Another player, or the same with another token, has to join in a slot.
    pub(crate) fn await_join(&mut self, slot: usize) {
        self.arrived.remove(&slot);
        self.present.remove(&slot);
    }

    /// The one place where a match changes its phase.
    pub(crate) fn enter(&mut self, next: MatchPhase) {
        use MatchPhase::{Assigned, Offered, Placing, Starting};
        let legal = match (self.phase, next) {
            (Offered { .. }, Placing) => self.accepted.len() == self.players.len(),
            (Placing, Starting { source }) => source.is_none(),
            (Starting { source: from }, Starting { source: to }) => from.is_none() && to.is_some(),
            // The game failed before it had started.
            (Starting { .. }, Placing | Assigned { .. }) => true,
            (Placing, Placing | Assigned { .. })
            | (Offered { .. }, Starting { .. } | Assigned { .. })
            | (Assigned { .. }, _)
            | (_, Offered { .. }) => false,
        };
        assert!(legal, "a match cannot go from {:?} to {next:?}", self.phase);
        self.phase = next;
    }
}
