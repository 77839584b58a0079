//! How matches are formed of those who wait, and what becomes of them when one comes to nothing.

use std::collections::BTreeSet;

use protocol::placement::ToHosting;
use protocol::report::Event;
use protocol::{EvictReason, Notice};

use crate::deadlines::Owner;
use crate::matches::{Match, MatchPhase};
use crate::matchmaker::{Matchmaker, Phase};
use crate::players::PlayerPhase;
use crate::queue::Ticket;
use protocol::{MatchId, ModeId, PlayerId};

impl Matchmaker {
    /// Forms matches while there are any to be made of those who wait.
    pub(crate) fn form_matches(&mut self, mode: ModeId) {
        while let Some(picked) = self.modes[mode.0].queue.take_match(self.now) {
            let match_id = MatchId(self.next_match);
            self.next_match += 1;
            let ticket = picked[0].0;
            let players = self.seat_by_squad(picked);
            for id in &players {
                self.player_mut(*id).enter(PlayerPhase::Matched(match_id));
                self.charge_seat(*id);
            }
            self.report(Event::MatchFormed { match_id, mode, players: players.clone() });
            let accept_until = self.mode(mode).accept_timeout.map(|span| self.after(span));
            let squads = self.mode(mode).squads();
            let formed = Match::new(mode, players, squads, ticket, self.now, accept_until);
            self.matches.insert(match_id, formed);
            match accept_until {
                Some(_) => self.offer(match_id),
                None => self.await_game(match_id),
            }
            self.modes[mode.0].formed += 1;
            self.review_accounts();
        }
    }

    /// The players on tickets, by slot: squad after squad, and in each in the order of their tickets.
    fn seat_by_squad(&mut self, mut picked: Vec<(Ticket, usize)>) -> Vec<PlayerId> {
        picked.sort_by_key(|&(ticket, squad)| (squad, ticket));
        let mut players = Vec::new();
        for (ticket, _) in picked {
            self.end_wait(ticket);
            players.extend(self.members(ticket));
        }
        players
    }

    /// Puts a match into the line of those that wait for a game, at its own place.
    pub(crate) fn await_game(&mut self, match_id: MatchId) {
        let waiting = &self.matches[&match_id];
        let mode = &mut self.modes[waiting.mode.0];
        let before = mode.waiting.insert(waiting.ticket, match_id);
        assert!(before.is_none(), "two matches on one ticket");
        mode.untold.push(match_id);
    }

    /// Takes a match apart because `gone` went or is away; the others go back to where they stood.
    pub(crate) fn dissolve(&mut self, match_id: MatchId, gone: PlayerId) {
        let Some(dissolved) = self.matches.remove(&match_id) else {
            unreachable!("{match_id:?} has a player and does not exist");
        };
        let mode = dissolved.mode;
        match dissolved.phase() {
            MatchPhase::Offered { .. } => self.deadlines.set(Owner::Offer(match_id), None),
            MatchPhase::Placing => drop(self.modes[mode.0].waiting.remove(&dissolved.ticket)),
            MatchPhase::Starting { .. } => self.ask_hosting(ToHosting::Withdraw { match_id }),
            MatchPhase::Assigned { .. } => unreachable!("an assigned match is not taken apart"),
        }
        self.report(Event::MatchDissolved { match_id, mode, player: gone });
        let mut survivors: Vec<PlayerId> =
            dissolved.players.into_iter().filter(|id| self.players.contains_key(id)).collect();
        let tickets: BTreeSet<Ticket> =
            survivors.iter().map(|id| self.players[id].ticket).collect();
        for ticket in tickets {
            self.requeue(ticket);
        }
        survivors.retain(|id| self.players.contains_key(id));
        if self.phase != Phase::Serving {
            return self.refuse_waiting(&survivors);
        }
        if self.mode(mode).is_closed {
            return self.evict_waiting(&survivors, EvictReason::ModeRemoved);
        }
        self.tell_requeued(mode, &survivors);
    }

    /// Tells players their places, once all of them are back.
    pub(crate) fn tell_requeued(&mut self, mode: ModeId, players: &[PlayerId]) {
        for id in players {
            let player = &self.players[id];
            let (position, _) = self.place(mode, player.ticket);
            if let Some(connection) = player.connection {
                self.send(connection, Notice::Requeued { mode, position });
            }
        }
    }
}
