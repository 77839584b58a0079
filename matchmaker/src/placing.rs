//! How matches get their games: warm games first, then games that are launched for them, in the order of their tickets over
//! all modes; and what hosting reports of them.
//!
//! The first match of a line is placed first, even if a game of its mode is already launching to be warm: that game goes to
//! the next match. So matches are placed in their order, and may start in another one.

use protocol::placement::{GameSource, Location, ToHosting, ToMatchmaker};
use protocol::report::{Event, MatchEnd};
use protocol::{
    Assignment, ConnectionId, EvictReason, MatchId, ModeId, Notice, PlayerId, Seat, WaitReason,
};

use crate::deadlines::Owner;
use crate::matches::MatchPhase;
use crate::matchmaker::{Matchmaker, Phase};
use crate::players::PlayerPhase;
use crate::queue::Ticket;

impl Matchmaker {
    // ---- Places ----

    /// Places the first matches of a mode in its warm games.
    pub(crate) fn place_in_warm_games(&mut self, mode: ModeId) {
        while self.placements.mode(mode).warm > 0 && !self.modes[mode.0].waiting.is_empty() {
            self.order_line(mode);
            if !self.place_first(mode) {
                return;
            }
        }
    }

    /// Places matches in games that are launched for them, in their order over all modes.
    pub(crate) fn place_in_launched_games(&mut self) {
        while self.placements.has_launches() && self.placements.free_ports() > 0 {
            for mode in self.mode_ids() {
                if self.first_in_need(mode).is_some() {
                    self.order_line(mode);
                }
            }
            let in_need =
                self.mode_ids().filter_map(|mode| Some((self.first_in_need(mode)?, mode)));
            let Some((_, mode)) = in_need.min() else { return };
            if !self.place_first(mode) {
                return;
            }
        }
    }

    /// The first match of a mode for which no game is launching, if one may be launched.
    fn first_in_need(&self, mode: ModeId) -> Option<Ticket> {
        let capacity = self.placements.mode(mode);
        let line = &self.modes[mode.0].waiting;
        capacity.may_launch.then(|| line.keys().nth(capacity.launching).copied()).flatten()
    }

    /// Places the first match of a mode, which is in order.
    fn place_first(&mut self, mode: ModeId) -> bool {
        let Some((_, match_id)) = self.modes[mode.0].waiting.pop_first() else { return false };
        self.match_mut(match_id).enter(MatchPhase::Starting { source: None });
        let (number, is_warm) = self.placements.place(mode);
        let seats = self.seats_of(match_id);
        self.ask_hosting(ToHosting::Place { number, match_id, mode, seats });
        if !is_warm {
            self.tell_match(match_id, WaitReason::GameStarting);
        }
        true
    }

    fn seats_of(&self, match_id: MatchId) -> Vec<Seat> {
        let players = self.matches[&match_id].players.iter().enumerate();
        players.map(|(slot, id)| self.seat_of(slot, *id)).collect()
    }

    pub(crate) fn seat_of(&self, slot: usize, id: PlayerId) -> Seat {
        let player = &self.players[&id];
        Seat { slot, name: player.name.clone(), token: player.token }
    }

    // ---- Messages of hosting ----

    pub(crate) fn handle_message(&mut self, message: ToMatchmaker) {
        match message {
            ToMatchmaker::Placed { match_id, source } => self.handle_placed(match_id, source),
            ToMatchmaker::Failed { match_id } => self.handle_failed(match_id),
            ToMatchmaker::Started { match_id, location } => self.handle_started(match_id, location),
            ToMatchmaker::Joined { match_id, slot } => self.handle_presence(match_id, slot, true),
            ToMatchmaker::Left { match_id, slot } => self.handle_presence(match_id, slot, false),
            ToMatchmaker::Open { match_id, slots } => self.handle_open(match_id, slots),
            ToMatchmaker::Result { match_id, result } => self.handle_result(match_id, result),
            ToMatchmaker::Ending { match_id } => self.handle_ending(match_id),
            ToMatchmaker::Ended { match_id, end } => self.handle_ended(match_id, end),
        }
    }

    fn handle_placed(&mut self, match_id: MatchId, source: GameSource) {
        let Some(placed) = self.matches.get_mut(&match_id) else { return };
        if placed.phase() == (MatchPhase::Starting { source: None }) {
            placed.enter(MatchPhase::Starting { source: Some(source) });
        }
    }

    /// The game of a match failed before it started: the match goes back to its position in the line.
    fn handle_failed(&mut self, match_id: MatchId) {
        let Some(found) = self.matches.get_mut(&match_id) else { return };
        if !matches!(found.phase(), MatchPhase::Starting { .. }) {
            return;
        }
        found.enter(MatchPhase::Placing);
        let (mode, players) = (found.mode, found.players.clone());
        self.await_game(match_id);
        if self.phase != Phase::Serving {
            self.refuse_waiting(&players);
        } else if self.mode(mode).is_closed {
            self.evict_waiting(&players, EvictReason::ModeRemoved);
        } else if !self.matches[&match_id].is_of(&self.mode(mode).squads()) {
            self.line_up_anew(mode, &[match_id]);
        }
    }

    /// The game of a match has started: its players are told where to play.
    fn handle_started(&mut self, match_id: MatchId, location: Location) {
        let now = self.now;
        let Some(started) = self.matches.get_mut(&match_id) else { return };
        let MatchPhase::Starting { source } = started.phase() else { return };
        started.enter(MatchPhase::Assigned { location, since: now });
        let (mode, players) = (started.mode, started.players.clone());
        let waited = now.saturating_sub(started.formed_at);
        let Location { game, port } = location;
        let source = source.unwrap_or(GameSource::Launched);
        self.report(Event::MatchAssigned { match_id, mode, game, port, waited, source });
        for (slot, id) in players.into_iter().enumerate() {
            self.assign(id, match_id, slot);
        }
        self.await_arrivals(match_id);
    }

    /// Tells a player where to play. From here on the game waits for them, and they wait for nothing here.
    pub(crate) fn assign(&mut self, id: PlayerId, match_id: MatchId, slot: usize) {
        let now = self.now;
        let player = self.player_mut(id);
        player.enter(PlayerPhase::Assigned(match_id));
        player.assigned_at = now;
        let (mode, ticket, account) = (player.mode, player.ticket, player.account);
        let (connection, waited) = (player.connection.take(), now.saturating_sub(player.joined_at));
        self.report(Event::PlayerAssigned { player: id, mode, waited });
        self.charge_seat(id);
        self.charges.remove_waiting(account, id);
        self.companies.remove(&ticket);
        self.modes[mode.0].players_waiting -= 1;
        self.totals.assigned += 1;
        if let Some(connection) = connection {
            self.connections.remove(&connection);
            self.send_assignment(id, match_id, slot, connection);
        }
    }

    /// Sends a player where to play.
    pub(crate) fn send_assignment(
        &mut self,
        player: PlayerId,
        match_id: MatchId,
        slot: usize,
        to: ConnectionId,
    ) {
        let Some(Location { game, port }) = self.location_of(match_id) else {
            unreachable!("{match_id:?} has no game and {player:?} is sent to one")
        };
        let found = &self.matches[&match_id];
        let (mode, players) = (found.mode, found.players.len());
        let token = self.players[&player].token;
        let assignment = Assignment { mode, match_id, game, port, slot, players, token };
        self.send(to, Notice::Assigned(assignment));
    }

    fn handle_presence(&mut self, match_id: MatchId, slot: usize, joined: bool) {
        let Some(found) = self.matches.get_mut(&match_id) else { return };
        let Some(&player) = found.players.get(slot) else { return };
        let mode = found.mode;
        match joined {
            true => {
                found.arrived.insert(slot);
                found.present.insert(slot);
                self.close_slot(mode, match_id, slot);
                self.note_arrival(player);
                self.report(Event::PlayerJoined { match_id, slot });
            }
            false => {
                found.present.remove(&slot);
                self.report(Event::PlayerLeft { match_id, slot });
            }
        }
    }

    fn handle_result(&mut self, match_id: MatchId, result: String) {
        let Some(Location { game, .. }) = self.location_of(match_id) else { return };
        let mode = self.matches[&match_id].mode;
        self.report(Event::MatchResult { match_id, mode, game, result });
    }

    /// The game of a match is being stopped: no player joins any more.
    fn handle_ending(&mut self, match_id: MatchId) {
        let Some(found) = self.matches.get_mut(&match_id) else { return };
        found.is_ending = true;
        let mode = found.mode;
        self.modes[mode.0].open_matches.remove(&match_id);
    }

    /// A match is over: its players are forgotten.
    fn handle_ended(&mut self, match_id: MatchId, end: MatchEnd) {
        let Some(found) = self.matches.get(&match_id) else { return };
        let MatchPhase::Assigned { location, since } = found.phase() else { return };
        let Some(ended) = self.matches.remove(&match_id) else { return };
        let mode = ended.mode;
        self.modes[mode.0].open_matches.remove(&match_id);
        self.deadlines.set(Owner::Arrivals(match_id), None);
        self.settle_seats(&ended, end);
        for id in ended.players {
            if let Some(player) = self.players.remove(&id) {
                self.sessions.remove(&player.resume_key, id);
            }
        }
        let lasted = self.now.saturating_sub(since);
        let game = location.game;
        self.report(Event::MatchEnded { match_id, mode, game, end, lasted });
    }

    /// Where a match is played, once its players were told.
    pub(crate) fn location_of(&self, match_id: MatchId) -> Option<Location> {
        match self.matches.get(&match_id)?.phase() {
            MatchPhase::Assigned { location, .. } => Some(location),
            MatchPhase::Offered { .. } | MatchPhase::Placing | MatchPhase::Starting { .. } => None,
        }
    }
}
