//! The state of each queue.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::MatchId;
use serde::{Deserialize, Serialize};

use crate::limits::AHEAD_COUNTED_MAX;
use crate::lineup::{Lineup, Rules};
use crate::queue::Ticket;

/// A mode's queue, and its line of matches that wait for a game.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct QueueState {
    /// Tickets that wait for a match.
    pub(crate) queue: Lineup,
    /// Matches whose games want players, and for which slots.
    pub(crate) open_matches: BTreeMap<MatchId, BTreeSet<usize>>,
    /// Whether a ticket may fit into them that did not when they were last filled.
    pub(crate) fill_is_due: bool,
    /// Matches that wait for a game, in the order of their tickets.
    pub(crate) waiting: BTreeMap<Ticket, MatchId>,
    /// Matches that came to wait and whose players were not told yet for what.
    pub(crate) untold: Vec<MatchId>,
    /// Matches whose players are told something else when their pause is over.
    pub(crate) held_back: BTreeSet<(Duration, MatchId)>,
    /// When to check whether there are fewer matches ahead of those that wait for a port.
    pub(crate) looks_ahead_at: Option<Duration>,
    /// How many of the first waiting matches were told that a game is starting for them.
    pub(crate) told_starting: usize,
    /// Whether the waiting players were told that the mode's games keep failing.
    pub(crate) told_failing: bool,
    /// Players who joined and were not assigned yet: queued, or in a match without a game.
    pub(crate) players_waiting: usize,
    /// Those of them who are away.
    pub(crate) players_away: usize,
    /// Matches formed since the start.
    pub(crate) formed: u64,
}

impl QueueState {
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            queue: Lineup::new(rules),
            open_matches: BTreeMap::new(),
            fill_is_due: false,
            waiting: BTreeMap::new(),
            untold: Vec::new(),
            held_back: BTreeSet::new(),
            looks_ahead_at: None,
            told_starting: 0,
            told_failing: false,
            players_waiting: 0,
            players_away: 0,
            formed: 0,
        }
    }

    /// How many matches wait before a ticket; in the middle of a long line, about that many.
    pub(crate) fn waiting_before(&self, ticket: Ticket) -> usize {
        let behind = self.waiting.range(ticket..).take(AHEAD_COUNTED_MAX).count();
        match behind < AHEAD_COUNTED_MAX {
            true => self.waiting.len() - behind,
            false => self.waiting.range(..ticket).take(AHEAD_COUNTED_MAX).count(),
        }
    }
}
