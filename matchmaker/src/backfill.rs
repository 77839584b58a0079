//! Backfill: a running game asks for players, in place of those who went.
//!
//! The next who wait and fit get its open slots, before they are picked for a match of their own. The game is told of
//! them first, and they where to play: it asked for them and awaits their hello, as it did with those before them.

use std::collections::BTreeSet;

use protocol::placement::ToHosting;
use protocol::report::Event;
use protocol::{GameId, MatchId, ModeId, PlayerId};

use crate::matchmaker::Matchmaker;
use crate::players::PlayerPhase;
use crate::queue::Ticket;

impl Matchmaker {
    /// A game wants players in these slots, and in no others. A slot whose player is in the game is not open, nor one whose
    /// player was just told to join.
    pub(crate) fn handle_open(&mut self, match_id: MatchId, slots: Vec<usize>) {
        let Some(found) = self.matches.get(&match_id) else { return };
        if found.is_ending || self.location_of(match_id).is_none() {
            return;
        }
        let mode = found.mode;
        let is_open = |slot: &usize| {
            *slot < found.players.len()
                && !found.present.contains(slot)
                && !self.is_awaited(match_id, *slot)
        };
        let open: BTreeSet<usize> = slots.into_iter().filter(is_open).collect();
        self.modes[mode.0].fill_is_due = true;
        match open.is_empty() {
            true => drop(self.modes[mode.0].open_matches.remove(&match_id)),
            false => drop(self.modes[mode.0].open_matches.insert(match_id, open)),
        }
    }

    /// Whether a player was told to join in a slot, has not joined, and still has time to.
    pub(crate) fn is_awaited(&self, match_id: MatchId, slot: usize) -> bool {
        let played = &self.matches[&match_id];
        let player = &self.players[&played.players[slot]];
        let until = player.assigned_at.saturating_add(self.mode(played.mode).hello_timeout);
        !played.arrived.contains(&slot) && self.now < until
    }

    /// Gives the open slots of a mode's running games to those who wait, the oldest match first. It is looked at when
    /// somebody came, a window widened or a game asked: nothing else makes a difference.
    pub(crate) fn fill_open_slots(&mut self, mode: ModeId) {
        let state = &mut self.modes[mode.0];
        if !std::mem::take(&mut state.fill_is_due) || state.queue.present_players() == 0 {
            return;
        }
        let open: Vec<MatchId> = self.modes[mode.0].open_matches.keys().copied().collect();
        for match_id in open {
            while self.fill_a_slot(mode, match_id) {}
        }
    }

    fn fill_a_slot(&mut self, mode: ModeId, match_id: MatchId) -> bool {
        let Some(open) = self.modes[mode.0].open_matches.get(&match_id) else { return false };
        let Some(location) = self.location_of(match_id) else { return false };
        let squads = self.matches[&match_id].squads();
        let open: Vec<Vec<usize>> =
            squads.map(|slots| open.range(slots).copied().collect()).collect();
        let free: Vec<usize> = open.iter().map(Vec::len).collect();
        let skill = self.mode(mode).skill.and(self.skill_of_match(match_id));
        let Some((ticket, squad)) = self.modes[mode.0].queue.take_fitting(&free, skill, self.now)
        else {
            return false;
        };
        self.seat_in_running_match(match_id, location.game, ticket, &open[squad]);
        true
    }

    /// What those are able to who are in a match: its best player, as of a party.
    fn skill_of_match(&self, match_id: MatchId) -> Option<i32> {
        let found = &self.matches[&match_id];
        let open = self.modes[found.mode.0].open_matches.get(&match_id);
        let is_played = |slot: &usize| open.is_none_or(|open| !open.contains(slot));
        let slots = (0..found.players.len()).filter(is_played);
        slots.map(|slot| self.players[&found.players[slot]].skill).max()
    }

    /// Seats those on a ticket in the first of these slots.
    fn seat_in_running_match(
        &mut self,
        match_id: MatchId,
        game: GameId,
        ticket: Ticket,
        open: &[usize],
    ) {
        let mode = self.matches[&match_id].mode;
        let players = self.members(ticket);
        self.end_wait(ticket);
        self.companies.remove(&ticket);
        let seated: Vec<(usize, PlayerId)> =
            open.iter().copied().zip(players.iter().copied()).collect();
        assert_eq!(seated.len(), players.len(), "{ticket:?} does not fit into {open:?}");
        let slots = seated.iter().map(|&(slot, _)| slot).collect();
        self.report(Event::MatchBackfilled { match_id, mode, game, slots, players });
        for &(slot, id) in &seated {
            self.close_slot(mode, match_id, slot);
            self.replace_player(match_id, slot, id);
            self.match_mut(match_id).await_join(slot);
        }
        let seats = seated.iter().map(|&(slot, id)| self.seat_of(slot, id)).collect();
        self.ask_hosting(ToHosting::Fill { match_id, seats });
        for (slot, id) in seated {
            self.assign(id, match_id, slot);
        }
        self.await_arrivals(match_id);
        self.review_accounts();
    }

    /// Puts a player into the slot of another, who went, and whose session ends with that.
    fn replace_player(&mut self, match_id: MatchId, slot: usize, id: PlayerId) {
        let before = std::mem::replace(&mut self.match_mut(match_id).players[slot], id);
        // Whoever had the slot had its time to come: a slot is open only then.
        self.release_seat(before);
        if let Some(gone) = self.players.remove(&before) {
            self.sessions.remove(&gone.resume_key, before);
        }
        self.player_mut(id).enter(PlayerPhase::Matched(match_id));
    }

    /// A slot is open no more.
    pub(crate) fn close_slot(&mut self, mode: ModeId, match_id: MatchId, slot: usize) {
        if let Some(open) = self.modes[mode.0].open_matches.get_mut(&match_id) {
            open.remove(&slot);
            if open.is_empty() {
                self.modes[mode.0].open_matches.remove(&match_id);
            }
        }
    }
}
