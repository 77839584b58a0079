//! First come, first served, also for those who went back.
//!
//! Matches are formed as soon as enough players wait, and may then stand in line for a game. When a match in
//! the line comes to nothing, its players are queued again, behind nobody who came later; but those who came
//! later may stand in the line already. So the line is looked at before its first match gets a game, and not
//! each time that somebody goes: that costs nothing while all is in order, and else no more than a few matches.

use std::collections::BTreeSet;

use crate::matchmaker::Matchmaker;
use crate::players::{Player, PlayerPhase};
use crate::queue::Ticket;
use protocol::report::Event;
use protocol::{MatchId, ModeId, PlayerId};

impl Matchmaker {
    /// Sees to it that the first match in a mode's line holds the players who came first of all who wait.
    pub(crate) fn order_line(&mut self, mode: ModeId) {
        if !self.mode(mode).is_first_come_first_served() || self.is_line_in_order(mode) {
            return;
        }
        let mut moved: Vec<PlayerId> = Vec::new();
        for match_id in self.matches_of_the_first(mode) {
            let Some(apart) = self.matches.remove(&match_id) else {
                unreachable!("{match_id:?} is in line and does not exist");
            };
            self.modes[mode.0].waiting.remove(&apart.ticket);
            let tickets: BTreeSet<Ticket> =
                apart.players.iter().map(|id| self.players[id].ticket).collect();
            tickets.into_iter().for_each(|ticket| self.requeue(ticket));
            if let Some(&player) = apart.players.last() {
                self.report(Event::MatchDissolved { match_id, mode, player });
            }
            moved.extend(apart.players);
        }
        self.fill_open_slots(mode);
        self.form_matches(mode);
        // Only the last of them have to wait for others again; and a party may have been too large by now.
        let waits = |player: &Player| player.phase() == PlayerPhase::Queued;
        moved.retain(|id| self.players.get(id).is_some_and(waits));
        self.tell_requeued(mode, &moved);
    }

    fn is_line_in_order(&self, mode: ModeId) -> bool {
        let state = &self.modes[mode.0];
        let mut line = state.waiting.iter();
        let Some((_, first)) = line.next() else { return true };
        let last = self.matches[first].players.last().map(|id| self.players[id].ticket);
        let next_in_line = line.next().map(|(&ticket, _)| ticket);
        let next_in_queue = state.queue.first();
        next_in_line.into_iter().chain(next_in_queue).all(|next| Some(next) > last)
    }

    /// The matches in the line that hold any of the players who came first, as many players as a match needs.
    /// Each of them holds one at least, so there are no more of them than players in a match.
    fn matches_of_the_first(&self, mode: ModeId) -> Vec<MatchId> {
        let state = &self.modes[mode.0];
        let size = self.mode(mode).players;
        let mut first: Vec<Ticket> = state.queue.iter().map(|(ticket, _)| ticket).collect();
        let mut found = Vec::new();
        for (&ticket, &match_id) in &state.waiting {
            if first.get(size - 1).is_some_and(|&last| last < ticket) {
                break;
            }
            first.extend(self.matches[&match_id].players.iter().map(|id| self.players[id].ticket));
            first.sort_unstable();
            first.truncate(size);
            found.push(match_id);
        }
        found
    }
}
