//! The ready check: a match that was found is offered to its players, and is one when all have accepted it.
//!
//! Whoever declines, or says nothing in time, is out. A player who leaves or is lost meanwhile takes the offer along, too.
//! In each case all others go back to where they stood, at once, and are told so.

use protocol::{EvictReason, Notice, Refusal};

use crate::deadlines::Owner;
use crate::matches::MatchPhase;
use crate::matchmaker::Matchmaker;
use crate::players::PlayerPhase;
use crate::queue::Ticket;
use protocol::{ConnectionId, MatchId, PlayerId};

impl Matchmaker {
    /// Asks the players of a match that was just formed.
    pub(crate) fn offer(&mut self, match_id: MatchId) {
        let found = &self.matches[&match_id];
        let MatchPhase::Offered { until } = found.phase() else {
            unreachable!("{match_id:?} is offered and is {:?}", found.phase())
        };
        let accept_within = until.saturating_sub(self.now);
        self.deadlines.set(Owner::Offer(match_id), Some(until));
        for connection in self.connections_of(match_id) {
            self.send(connection, Notice::Found { match_id, accept_within });
        }
    }

    pub(crate) fn handle_answer(&mut self, connection: ConnectionId, accepts: bool) {
        let Some((player, match_id)) = self.asked_on(connection) else {
            return self.refuse(connection, Refusal::NothingToAnswer);
        };
        if accepts { self.accept(player, match_id) } else { self.decline(player, match_id) }
    }

    /// Who speaks on a connection and may answer for which match. An offer whose time is over is no longer one, whether
    /// or not the time was told yet.
    fn asked_on(&mut self, connection: ConnectionId) -> Option<(PlayerId, MatchId)> {
        let id = *self.connections.get(&connection)?;
        let PlayerPhase::Matched(match_id) = self.players[&id].phase() else { return None };
        let MatchPhase::Offered { until } = self.matches[&match_id].phase() else { return None };
        if until <= self.now {
            self.handle_offer_deadline(match_id);
            return None;
        }
        Some((id, match_id))
    }

    fn accept(&mut self, player: PlayerId, match_id: MatchId) {
        let found = self.match_mut(match_id);
        found.accepted.insert(player);
        let is_agreed = found.accepted.len() == found.players.len();
        for connection in self.connections_of(match_id) {
            self.tell_accepted(match_id, connection);
        }
        if is_agreed {
            self.note_accepted(match_id);
            self.deadlines.set(Owner::Offer(match_id), None);
            self.match_mut(match_id).enter(MatchPhase::Placing);
            self.await_game(match_id);
        }
    }

    fn decline(&mut self, player: PlayerId, match_id: MatchId) {
        self.evict_from(match_id, &[player], EvictReason::Declined);
    }

    pub(crate) fn handle_offer_deadline(&mut self, match_id: MatchId) {
        let found = &self.matches[&match_id];
        let is_silent = |id: &PlayerId| !found.accepted.contains(id);
        let silent: Vec<PlayerId> = found.players.iter().copied().filter(is_silent).collect();
        self.evict_from(match_id, &silent, EvictReason::Timeout);
    }

    /// Sends players out of a match, and their parties with them. The match comes to nothing.
    fn evict_from(&mut self, match_id: MatchId, players: &[PlayerId], reason: EvictReason) {
        let tickets: Vec<Ticket> = players.iter().map(|id| self.players[id].ticket).collect();
        for player in players {
            self.note_if_offered(*player);
            self.evict(*player, reason);
        }
        for ticket in tickets {
            self.disband(ticket);
        }
        self.dissolve(match_id, players[0]);
    }

    pub(crate) fn tell_accepted(&mut self, match_id: MatchId, connection: ConnectionId) {
        let found = &self.matches[&match_id];
        let (count, of) = (found.accepted.len(), found.players.len());
        self.send(connection, Notice::Accepted { count, of });
    }

    /// Where the players of a match are spoken to.
    pub(crate) fn connections_of(&self, match_id: MatchId) -> Vec<ConnectionId> {
        let players = self.matches[&match_id].players.iter();
        players.filter_map(|id| self.players[id].connection).collect()
    }
}
