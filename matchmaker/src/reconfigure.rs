//! Going on with another configuration, while there are players and games.
//!
//! A mode keeps its place for as long as there is this brain. One that is not played any more is closed: who waits there
//! is out, its games without players end, and what is played is played to its end; it may be opened again. What has
//! changed in a mode counts from the next decision on: a deadline that runs stays, and so does a match that has a game.
//! Whoever waits stays where it stood; where matches have another size, those without a game are formed anew.

use std::collections::BTreeSet;

use protocol::EvictReason;

use crate::config::{Config, Mode};
use crate::deadlines::Owner;
use crate::matches::MatchPhase;
use crate::matchmaker::Matchmaker;
use crate::players::PlayerPhase;
use crate::queue::Ticket;
use crate::queue_state::QueueState;
use protocol::report::Event;
use protocol::{MatchId, ModeId, PlayerId};

impl Matchmaker {
    /// Continues with another configuration, which has every mode of the one before at its index.
    pub(crate) fn reconfigure(&mut self, config: Config) {
        let before = std::mem::replace(&mut self.config, config);
        for mode in self.mode_ids() {
            let now = self.mode(mode).clone();
            match before.modes.get(mode.0) {
                None => self.modes.push(QueueState::new(now.rules())),
                Some(before) => self.change_mode(mode, before, &now),
            }
        }
        self.count_charges();
        for account in self.charges.accounts() {
            self.charges.note_changed(account);
        }
    }

    fn change_mode(&mut self, mode: ModeId, before: &Mode, now: &Mode) {
        if now.is_closed {
            let waiting = self.waiting_without_a_game(mode);
            self.evict_waiting(&waiting, EvictReason::ModeRemoved);
        }
        if now.party_max < before.party_max {
            self.evict_large_parties(mode);
        }
        if now.rules() != before.rules() {
            self.form_anew(mode);
        }
        if now.players != before.players {
            self.tell_queued_anew(mode);
        }
        if now.max_wait != before.max_wait {
            self.queued_tickets(mode).into_iter().for_each(|ticket| self.set_wait(ticket));
        }
        self.modes[mode.0].fill_is_due = true;
        if now.skill.is_none() || now.is_closed {
            self.deadlines.set(Owner::Windows(mode), None);
        }
    }

    /// The players of a mode who are queued, or in a match that no game was sent.
    fn waiting_without_a_game(&self, mode: ModeId) -> Vec<PlayerId> {
        let waits = |phase| match phase {
            PlayerPhase::Queued => true,
            PlayerPhase::Matched(id) => {
                !matches!(self.matches[&id].phase(), MatchPhase::Starting { .. })
            }
            PlayerPhase::Assigned(_) => false,
        };
        let of_mode = self.players.iter().filter(|(_, player)| player.mode == mode);
        of_mode.filter(|(_, player)| waits(player.phase())).map(|(&id, _)| id).collect()
    }

    fn queued_tickets(&self, mode: ModeId) -> BTreeSet<Ticket> {
        let of_mode = self.players.values().filter(|player| player.mode == mode);
        let queued = of_mode.filter(|player| player.phase() == PlayerPhase::Queued);
        queued.map(|player| player.ticket).collect()
    }

    /// Sends players out who wait, and forgets their matches, none of which has a game.
    pub(crate) fn evict_waiting(&mut self, players: &[PlayerId], reason: EvictReason) {
        for id in players {
            self.unqueue(*id);
            self.evict(*id, reason);
        }
    }

    /// Parties are out that are too large now. What is formed is played.
    fn evict_large_parties(&mut self, mode: ModeId) {
        for ticket in self.queued_tickets(mode) {
            let members = self.members(ticket);
            if self.is_too_large(mode, &members) {
                self.evict_waiting(&members, EvictReason::Party);
            }
        }
    }

    /// Matches have another size, or others may meet: matches that have no game yet are taken apart, and whoever waits
    /// is looked at anew, where it stands.
    fn form_anew(&mut self, mode: ModeId) {
        let has_no_game = |id: &MatchId| {
            let found = &self.matches[id];
            let phase = found.phase();
            found.mode == mode && matches!(phase, MatchPhase::Offered { .. } | MatchPhase::Placing)
        };
        let formed: Vec<MatchId> = self.matches.keys().copied().filter(has_no_game).collect();
        let rules = self.mode(mode).rules();
        self.modes[mode.0].queue.change_rules(rules);
        self.line_up_anew(mode, &formed);
    }

    /// Another number of players makes a match.
    fn tell_queued_anew(&mut self, mode: ModeId) {
        for ticket in self.queued_tickets(mode) {
            for id in self.members(ticket) {
                self.tell_queued(id);
            }
        }
    }

    /// Takes matches apart that have no game; their players stand where they stood.
    pub(crate) fn line_up_anew(&mut self, mode: ModeId, matches: &[MatchId]) {
        let mut apart: Vec<PlayerId> = Vec::new();
        for &match_id in matches {
            let Some(taken) = self.matches.remove(&match_id) else { continue };
            self.modes[mode.0].waiting.remove(&taken.ticket);
            self.deadlines.set(Owner::Offer(match_id), None);
            if let Some(&player) = taken.players.last() {
                self.report(Event::MatchDissolved { match_id, mode, player });
            }
            apart.extend(taken.players);
        }
        let tickets: BTreeSet<Ticket> = apart.iter().map(|id| self.players[id].ticket).collect();
        tickets.into_iter().for_each(|ticket| self.requeue(ticket));
        apart.retain(|id| self.players.contains_key(id));
        self.tell_requeued(mode, &apart);
    }

    /// Whether a party is too large by now for the mode that it came for.
    pub(crate) fn is_too_large(&self, mode: ModeId, members: &[PlayerId]) -> bool {
        members.len() > self.mode(mode).party_max
    }
}
