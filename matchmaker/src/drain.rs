//! The drain: no player is accepted, and waiting players are refused.

use protocol::{PlayerId, Refusal};

use crate::deadlines::Owner;
use crate::matches::MatchPhase;
use crate::matchmaker::{Matchmaker, Phase};
use crate::players::{Player, PlayerPhase};

impl Matchmaker {
    /// Refuses waiting players, except those whose game starts.
    pub(crate) fn handle_drain(&mut self) {
        if self.phase != Phase::Serving {
            return;
        }
        self.phase = Phase::Draining;
        for mode in self.mode_ids() {
            self.deadlines.set(Owner::Windows(mode), None);
            self.deadlines.set(Owner::Telling(mode), None);
        }
        let is_refused = |player: &Player| match player.phase() {
            PlayerPhase::Queued => true,
            PlayerPhase::Matched(id) => {
                !matches!(self.matches[&id].phase(), MatchPhase::Starting { .. })
            }
            PlayerPhase::Assigned(_) => false,
        };
        let refused = self.players.iter().filter(|(_, player)| is_refused(player));
        let refused: Vec<PlayerId> = refused.map(|(&id, _)| id).collect();
        self.refuse_waiting(&refused);
    }

    /// Accepts players again.
    pub(crate) fn handle_undrain(&mut self) {
        self.phase = Phase::Serving;
    }

    /// Removes a player from their queue, or forgets their match, which has no game.
    pub(crate) fn unqueue(&mut self, id: PlayerId) {
        let player = &self.players[&id];
        let (mode, ticket, phase) = (&mut self.modes[player.mode.0], player.ticket, player.phase());
        match phase {
            // The first on its ticket takes the ticket along, and the first in a match the match.
            PlayerPhase::Queued if !mode.queue.contains(ticket) => {}
            PlayerPhase::Queued => mode.queue.remove(ticket),
            PlayerPhase::Matched(match_id) => {
                if let Some(forgotten) = self.matches.remove(&match_id) {
                    mode.waiting.remove(&forgotten.ticket);
                    self.deadlines.set(Owner::Offer(match_id), None);
                }
            }
            PlayerPhase::Assigned(_) => unreachable!("an assigned player waits for nothing"),
        }
        self.companies.remove(&ticket);
    }

    /// Refuses players who were not assigned yet, and forgets their matches, none of which has a game.
    pub(crate) fn refuse_waiting(&mut self, players: &[PlayerId]) {
        for id in players {
            self.unqueue(*id);
            let Some(player) = self.forget(*id) else {
                unreachable!("{id:?} is refused and does not exist");
            };
            self.totals.refused += 1;
            if let Some(connection) = player.connection {
                self.refuse(connection, Refusal::Draining);
            }
        }
    }
}
