//! What operators are shown of the brain: read-only figures, each of them cheap.

use std::time::Duration;

use crate::matches::MatchPhase;
use crate::matchmaker::{Matchmaker, Totals};
use crate::players::PlayerPhase;
use protocol::{ConnectionId, MatchId, ModeId, PlayerId};

/// How a mode fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeFigures {
    /// Players who wait, those in a match without a game included.
    pub waiting: usize,
    /// Players who are away and whose place is kept.
    pub away: usize,
    /// Since when the one waits who joined first, of those who were not sent to a game yet.
    pub oldest_since: Option<Duration>,
    /// Matches that wait for a game.
    pub matches_waiting: usize,
}

/// A player who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayerFigures<'a> {
    /// Who.
    pub player: PlayerId,
    /// As it called itself.
    pub name: &'a str,
    /// What it waits for.
    pub mode: ModeId,
    /// Its match, which has no game that plays yet.
    pub match_id: Option<MatchId>,
    /// When it joined.
    pub since: Duration,
    /// Whether it is connected; if not, its place is kept.
    pub is_here: bool,
}

impl Matchmaker {
    /// Who waits, from this player on, in the order in which they came.
    pub fn players_figures(&self, from: PlayerId) -> impl Iterator<Item = PlayerFigures<'_>> {
        self.players.range(from..).filter_map(|(&id, player)| {
            let match_id = match player.phase() {
                PlayerPhase::Queued => None,
                PlayerPhase::Matched(match_id) => Some(match_id),
                PlayerPhase::Assigned(_) => return None,
            };
            Some(PlayerFigures {
                player: id,
                name: &player.name,
                mode: player.mode,
                match_id,
                since: player.joined_at,
                is_here: player.connection.is_some(),
            })
        })
    }

    /// How a mode fares.
    ///
    /// # Panics
    /// When the mode is not one of the configuration.
    pub fn mode_figures(&self, mode: ModeId) -> ModeFigures {
        let state = &self.modes[mode.0];
        let queued = state.queue.first();
        let matched = state.waiting.first_key_value().map(|(&ticket, _)| ticket);
        // A ticket's number is its player's.
        let first = queued.into_iter().chain(matched).min().map(|ticket| PlayerId(ticket.0));
        ModeFigures {
            waiting: state.players_waiting - state.players_away,
            away: state.players_away,
            oldest_since: first.and_then(|player| self.joined_at(player)),
            matches_waiting: state.waiting.len(),
        }
    }

    /// When a player joined, as long as its match is not over.
    pub fn joined_at(&self, player: PlayerId) -> Option<Duration> {
        self.players.get(&player).map(|player| player.joined_at)
    }
}

impl Matchmaker {
    /// The connections of waiting players and of party members.
    pub fn connections(&self) -> Vec<ConnectionId> {
        let mut all: Vec<ConnectionId> = self.connections.keys().copied().collect();
        all.extend(self.parties.connections().filter(|id| !self.connections.contains_key(id)));
        all
    }

    /// The matches that hosting plays or places, and whether their players were told.
    pub fn placed_matches(&self) -> impl Iterator<Item = (MatchId, bool)> {
        self.matches.iter().filter_map(|(&id, found)| match found.phase() {
            MatchPhase::Starting { .. } => Some((id, false)),
            MatchPhase::Assigned { .. } => Some((id, true)),
            MatchPhase::Offered { .. } | MatchPhase::Placing => None,
        })
    }
}

impl Totals {
    /// What became of all players so far, by the words for it.
    pub fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("joined", self.joined),
            ("assigned", self.assigned),
            ("left", self.left),
            ("expired", self.expired),
            ("timed_out", self.timed_out),
            ("evicted", self.evicted),
            ("refused", self.refused),
        ]
    }
}
