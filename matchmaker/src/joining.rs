//! How players come into a queue, and how they go while they wait.
//!
//! A ticket is a place in a queue. One player is on it, or a party that stays together: who goes takes the ticket along,
//! and the others of its party are out, too.

use protocol::{EvictReason, Notice, Refusal, Secret};
use serde::{Deserialize, Serialize};

use crate::config::Mode;
use crate::deadlines::Owner;
use crate::lineup::Group;
use crate::matchmaker::{Matchmaker, Phase};
use crate::players::{Player, PlayerPhase};
use crate::queue::Ticket;
use protocol::report::Event;
use protocol::{Account, ConnectionId, ModeId, PlayerId};

/// What a player says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) name: Option<String>,
    /// What the body believes of it; `None` is the mode's own.
    pub(crate) skill: Option<i32>,
    /// The account that it is charged to.
    pub(crate) account: Account,
}

/// A session's resume key and token.
pub(crate) type Keys = (Secret, Secret);

impl Matchmaker {
    pub(crate) fn handle_ready(
        &mut self,
        connection: ConnectionId,
        queue: Option<&str>,
        profile: Profile,
        keys: Keys,
    ) {
        let is_queued = self.connections.contains_key(&connection);
        if !is_queued && self.parties.code_of(connection).is_some() {
            return self.refuse(connection, Refusal::InParty);
        }
        if let Some(mode) = self.find_open_mode(connection, queue, &[profile.account]) {
            self.join(mode, vec![(connection, profile, keys)]);
        }
    }

    /// The mode whose queue takes in players of these accounts on one ticket. If there is none, who asked is told why.
    /// Where the queue is full, those give way who are away.
    pub(crate) fn find_open_mode(
        &mut self,
        connection: ConnectionId,
        queue: Option<&str>,
        accounts: &[Account],
    ) -> Option<ModeId> {
        let size = accounts.len();
        let refusal = if self.connections.contains_key(&connection) {
            Refusal::AlreadyQueued
        } else if self.phase != Phase::Serving {
            Refusal::Draining
        } else {
            match self.find_mode(queue) {
                None => Refusal::UnknownQueue,
                Some(mode) if size > self.mode(mode).party_max => Refusal::PartyTooLarge,
                Some(mode) => {
                    let paused = accounts.iter().filter_map(|&account| self.pause_of(account));
                    if let Some(until) = paused.max() {
                        let retry_after = until.saturating_sub(self.now);
                        self.refuse(connection, Refusal::Paused { retry_after });
                        return None;
                    }
                    self.make_room(mode, size);
                    if self.modes[mode.0].players_waiting + size <= self.config.queue_max {
                        return Some(mode);
                    }
                    Refusal::QueueFull
                }
            }
        };
        self.refuse(connection, refusal);
        None
    }

    fn find_mode(&self, queue: Option<&str>) -> Option<ModeId> {
        match queue {
            None => Some(self.config.default_mode),
            Some(name) => {
                let is_it = |mode: &Mode| mode.name == name && !mode.is_closed;
                self.config.modes.iter().position(is_it).map(ModeId)
            }
        }
    }

    /// Queues players on one ticket.
    pub(crate) fn join(&mut self, mode: ModeId, who: Vec<(ConnectionId, Profile, Keys)>) {
        // A ticket's number is its first player's: both are drawn from one sequence, and neither is used twice.
        let ticket = Ticket(self.next_player);
        let mut company = Vec::with_capacity(who.len());
        for (connection, profile, keys) in who {
            let id = PlayerId(self.next_player);
            self.next_player += 1;
            let name = profile.name.unwrap_or_else(|| format!("player-{id}"));
            let skill = profile.skill.unwrap_or(self.mode(mode).skill_default());
            let mut player = Player::new(connection, mode, ticket, name, keys, self.now);
            (player.skill, player.account) = (skill, profile.account);
            self.charges.add_waiting(profile.account, id);
            self.players.insert(id, player);
            self.sessions.insert(&keys.0, id);
            self.connections.insert(connection, id);
            company.push(id);
        }
        self.modes[mode.0].players_waiting += company.len();
        self.totals.joined += company.len() as u64;
        if company.len() > 1 {
            self.companies.insert(ticket, company);
        }
        let group = self.group_on(ticket);
        self.modes[mode.0].queue.insert(ticket, group);
        self.refresh_presence(ticket);
        self.set_wait(ticket);
        for id in self.members(ticket) {
            self.tell_queued(id);
        }
    }

    /// Who is on a ticket, in the order in which they joined their party.
    pub(crate) fn members(&self, ticket: Ticket) -> Vec<PlayerId> {
        self.companies.get(&ticket).cloned().unwrap_or_else(|| vec![PlayerId(ticket.0)])
    }

    pub(crate) fn group_on(&self, ticket: Ticket) -> Group {
        let members = self.members(ticket);
        let skill = Group::skill_of(members.iter().map(|id| self.players[id].skill));
        let since = self.players[&members[0]].joined_at;
        Group { size: members.len(), skill: skill.unwrap_or_default(), since }
    }

    /// Puts a ticket back that was in a match, to where it stood. It is passed over while one of its players is away. A
    /// party that is too large by now is out.
    pub(crate) fn requeue(&mut self, ticket: Ticket) {
        let members = self.members(ticket);
        for id in &members {
            self.release_seat(*id);
            self.player_mut(*id).enter(PlayerPhase::Queued);
        }
        let mode = self.players[&members[0]].mode;
        match self.is_too_large(mode, &members) {
            true => self.evict_waiting(&members, EvictReason::Party),
            false => self.line_up(mode, ticket),
        }
    }

    /// Puts a ticket into its queue, at its place.
    pub(crate) fn line_up(&mut self, mode: ModeId, ticket: Ticket) {
        let group = self.group_on(ticket);
        self.modes[mode.0].queue.insert(ticket, group);
        self.refresh_presence(ticket);
        self.set_wait(ticket);
    }

    pub(crate) fn tell_queued(&mut self, id: PlayerId) {
        let player = &self.players[&id];
        let (mode, ticket, resume_key) = (player.mode, player.ticket, player.resume_key);
        let Some(connection) = player.connection else { return };
        let (position, needed) = match player.phase() {
            PlayerPhase::Queued => self.place(mode, ticket),
            // Nobody stands before who is matched.
            PlayerPhase::Matched(_) | PlayerPhase::Assigned(_) => (1, self.mode(mode).players),
        };
        self.send(connection, Notice::Queued { mode, position, needed, resume_key });
    }

    /// A ticket's position, and how many must wait for a match: whoever has more before it waits for others, by their
    /// number or by their kind.
    pub(crate) fn place(&self, mode: ModeId, ticket: Ticket) -> (usize, usize) {
        (self.modes[mode.0].queue.position(ticket), self.mode(mode).players)
    }

    // ---- Going ----

    pub(crate) fn handle_leave(&mut self, connection: ConnectionId) {
        let Some(player) = self.connections.get(&connection).copied() else {
            return self.refuse(connection, Refusal::NotQueued);
        };
        self.totals.left += 1;
        self.send(connection, Notice::Left);
        self.note_if_offered(player);
        self.remove_waiting_player(player);
    }

    pub(crate) fn handle_quit(&mut self, connection: ConnectionId) {
        if let Some(player) = self.connections.get(&connection).copied() {
            self.totals.left += 1;
            self.note_if_offered(player);
            self.remove_waiting_player(player);
        }
        self.leave_party(connection);
    }

    /// Takes a player out who was not assigned yet, and its ticket with it. A match that loses a player comes to
    /// nothing, and the others go back to where they stood.
    pub(crate) fn remove_waiting_player(&mut self, id: PlayerId) {
        let Some(player) = self.forget(id) else { return };
        self.disband(player.ticket);
        match player.phase() {
            PlayerPhase::Queued => self.modes[player.mode.0].queue.remove(player.ticket),
            PlayerPhase::Matched(match_id) => self.dissolve(match_id, id),
            PlayerPhase::Assigned(_) => unreachable!("an assigned player waits for nothing"),
        }
    }

    /// An operator sends a player out who waits, and its party with it.
    pub(crate) fn handle_kick(&mut self, id: PlayerId) {
        self.send_out(id, EvictReason::Kicked);
    }

    /// Sends a player out who waits, and its party with it.
    pub(crate) fn send_out(&mut self, id: PlayerId, reason: EvictReason) {
        let Some(player) = self.players.get(&id) else { return };
        let (mode, ticket, phase) = (player.mode, player.ticket, player.phase());
        if matches!(phase, PlayerPhase::Assigned(_)) {
            return;
        }
        self.evict(id, reason);
        self.disband(ticket);
        match phase {
            PlayerPhase::Matched(match_id) => self.dissolve(match_id, id),
            PlayerPhase::Queued | PlayerPhase::Assigned(_) => {
                self.modes[mode.0].queue.remove(ticket);
            }
        }
    }

    /// Sends those out whose party has lost one of its players.
    pub(crate) fn disband(&mut self, ticket: Ticket) {
        for id in self.companies.remove(&ticket).into_iter().flatten() {
            self.evict(id, EvictReason::Party);
        }
    }

    /// Sends a player out who is still there. Its connection stays. Its queue or its match is for the caller to see to.
    pub(crate) fn evict(&mut self, player: PlayerId, reason: EvictReason) {
        let Some(evicted) = self.forget(player) else { return };
        let mode = evicted.mode;
        self.totals.evicted += 1;
        self.report(Event::PlayerEvicted { player, mode, reason });
        if let Some(connection) = evicted.connection {
            self.send(connection, Notice::Evicted { reason });
        }
    }

    /// Forgets a player who waits: its session, its connection, its deadlines. Its queue or its match is for the caller
    /// to see to.
    pub(crate) fn forget(&mut self, id: PlayerId) -> Option<Player> {
        if !self.players.contains_key(&id) {
            return None;
        }
        self.release_seat(id);
        if self.players[&id].connection.is_none() {
            self.release_away(id);
        }
        let player = self.players.remove(&id)?;
        self.charges.remove_waiting(player.account, id);
        self.sessions.remove(&player.resume_key, id);
        let mode = &mut self.modes[player.mode.0];
        mode.players_waiting -= 1;
        match player.connection {
            Some(connection) => drop(self.connections.remove(&connection)),
            None => {
                mode.players_away -= 1;
                self.deadlines.set(Owner::Away(id), None);
            }
        }
        self.deadlines.set(Owner::Wait(id), None);
        Some(player)
    }

    // ---- Waiting for too long ----

    /// Begins the round in which a queued ticket waits, where the mode has such a time. The first on it owns the
    /// deadline. Who was in a match that came to nothing begins its round anew: nobody can say that none was found.
    pub(crate) fn set_wait(&mut self, ticket: Ticket) {
        let first = self.members(ticket)[0];
        let max_wait = self.mode(self.players[&first].mode).max_wait;
        self.deadlines.set(Owner::Wait(first), max_wait.map(|span| self.after(span)));
    }

    /// Whoever is matched waits for a game, and no longer for players.
    pub(crate) fn end_wait(&mut self, ticket: Ticket) {
        let first = self.members(ticket)[0];
        self.deadlines.set(Owner::Wait(first), None);
    }

    /// A ticket has waited for a round: it is queued for another one, where it stands, or is out.
    pub(crate) fn handle_wait_over(&mut self, first: PlayerId) {
        let player = &self.players[&first];
        let (mode, ticket, round) = (player.mode, player.ticket, player.round);
        let waited = self.now.saturating_sub(player.joined_at);
        let rounds = self.mode(mode).rounds;
        let members = self.members(ticket);
        for &id in &members {
            if let Some(connection) = self.players[&id].connection {
                self.send(connection, Notice::Expired { waited, round, rounds });
            }
        }
        if round < rounds {
            self.player_mut(first).round += 1;
            self.set_wait(ticket);
            return members.into_iter().for_each(|id| self.tell_queued(id));
        }
        self.companies.remove(&ticket);
        self.modes[mode.0].queue.remove(ticket);
        for player in members {
            self.forget(player);
            self.totals.timed_out += 1;
            self.report(Event::PlayerTimedOut { player, mode, waited });
        }
    }
}
