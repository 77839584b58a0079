//! Players who are away, and their return.
//!
//! A lost connection is no farewell. Who waits keeps its ticket for the resume window, is passed over while it is
//! away, and stands where it stood when it says READY with its key, on whatever connection. A match that
//! waits for a game comes to nothing when one of its players is lost, so that nobody waits for a ghost. Who was told
//! where to play may ask again: as long as its game still waits for it, or, where the mode lets players rejoin, as
//! long as the game runs, then with another token.
//!
//! A newer connection fences the older: whatever comes from that one later is about nobody.

use std::time::Duration;

use protocol::{Notice, Refusal, Secret, WaitReason};

use crate::deadlines::Owner;
use crate::matches::MatchPhase;
use crate::matchmaker::{Matchmaker, Phase};
use crate::players::PlayerPhase;
use protocol::placement::ToHosting;
use protocol::report::Event;
use protocol::{Account, ConnectionId, MatchId, PlayerId};

impl Matchmaker {
    pub(crate) fn handle_lost(&mut self, connection: ConnectionId) {
        self.leave_party(connection);
        let Some(id) = self.connections.get(&connection).copied() else { return };
        self.note_if_offered(id);
        if self.config.resume_window.is_zero() || self.phase != Phase::Serving {
            return self.expire(id);
        }
        self.connections.remove(&connection);
        let lost = self.player_mut(id);
        lost.connection = None;
        let (mode, ticket, phase) = (lost.mode, lost.ticket, lost.phase());
        let account = lost.account;
        self.charge_away(id);
        self.modes[mode.0].players_away += 1;
        let window = self.config.resume_window;
        self.deadlines.set(Owner::Away(id), Some(self.after(window)));
        self.report(Event::PlayerAway { player: id, mode, window });
        match phase {
            PlayerPhase::Queued => self.modes[mode.0].queue.set_present(ticket, false),
            PlayerPhase::Matched(match_id) => self.dissolve(match_id, id),
            PlayerPhase::Assigned(_) => unreachable!("an assigned player has no connection"),
        }
        self.bound_away(account);
    }

    /// Forgets a player who is away for too long, or whose place is not kept.
    pub(crate) fn expire(&mut self, id: PlayerId) {
        let mode = self.players[&id].mode;
        self.totals.expired += 1;
        self.report(Event::PlayerExpired { player: id, mode });
        self.remove_waiting_player(id);
    }

    pub(crate) fn handle_resume(
        &mut self,
        connection: ConnectionId,
        key: Option<Secret>,
        token: Secret,
        account: Account,
    ) {
        if self.connections.contains_key(&connection) {
            return self.refuse(connection, Refusal::AlreadyQueued);
        }
        let Some(id) = key.and_then(|key| self.find_session(&key)) else {
            return self.refuse(connection, Refusal::UnknownSession);
        };
        match self.players[&id].phase() {
            PlayerPhase::Queued | PlayerPhase::Matched(_) => self.take_up(id, connection, account),
            PlayerPhase::Assigned(match_id) => self.assign_again(id, match_id, connection, token),
        }
    }

    /// Whose key it is. Who is gone by now is, whether or not the time was told yet.
    fn find_session(&mut self, key: &Secret) -> Option<PlayerId> {
        let id = self.sessions.candidates(key).find(|id| self.players[id].resume_key == *key)?;
        let is_due = |until: Option<Duration>| until.is_some_and(|until| until <= self.now);
        let is_away_for_too_long = is_due(self.deadlines.of(Owner::Away(id)));
        if is_away_for_too_long {
            self.expire(id);
        } else if let PlayerPhase::Matched(match_id) = self.players[&id].phase()
            && is_due(self.deadlines.of(Owner::Offer(match_id)))
        {
            self.handle_offer_deadline(match_id);
        }
        self.players.contains_key(&id).then_some(id)
    }

    /// Lets a player who waits go on where it stands, on another connection.
    fn take_up(&mut self, id: PlayerId, connection: ConnectionId, account: Account) {
        if self.players[&id].connection.is_none() {
            self.release_away(id);
        }
        self.move_to(id, account);
        let player = self.player_mut(id);
        let older = player.connection.replace(connection);
        let (mode, ticket, phase) = (player.mode, player.ticket, player.phase());
        match older {
            Some(older) => {
                self.fence(older);
                self.send(older, Notice::Replaced);
            }
            None => {
                self.deadlines.set(Owner::Away(id), None);
                self.modes[mode.0].players_away -= 1;
            }
        }
        self.connections.insert(connection, id);
        if phase == PlayerPhase::Queued {
            self.refresh_presence(ticket);
        }
        self.report(Event::PlayerReturned { player: id, mode });
        self.tell_queued(id);
        if let PlayerPhase::Matched(match_id) = phase {
            self.tell_stand(id, match_id, connection);
        }
    }

    /// Whatever comes from an older connection is about nobody.
    fn fence(&mut self, older: ConnectionId) {
        self.connections.remove(&older);
    }

    /// Tells a player how its match stands, as it was told on the connection before.
    fn tell_stand(&mut self, id: PlayerId, match_id: MatchId, connection: ConnectionId) {
        let found = &self.matches[&match_id];
        let (mode, has_accepted) = (found.mode, found.accepted.contains(&id));
        let ahead = found.told_ahead;
        let reason = match found.phase() {
            MatchPhase::Offered { until } => {
                let accept_within = until.saturating_sub(self.now);
                self.send(connection, Notice::Found { match_id, accept_within });
                if has_accepted {
                    self.tell_accepted(match_id, connection);
                }
                None
            }
            MatchPhase::Placing => found.told,
            MatchPhase::Starting { .. } => Some(found.told.unwrap_or(WaitReason::GameStarting)),
            MatchPhase::Assigned { .. } => None,
        };
        if let Some(reason) = reason {
            let ahead = ahead.filter(|_| reason == WaitReason::NoPort);
            self.send(connection, Notice::Waiting { mode, reason, ahead });
        }
    }

    /// Tells a player once more where to play, if its game may still let it in.
    fn assign_again(
        &mut self,
        id: PlayerId,
        match_id: MatchId,
        connection: ConnectionId,
        token: Secret,
    ) {
        let Some(slot) = self.slot_in_running_game(id, match_id) else {
            return self.refuse(connection, Refusal::MatchOver);
        };
        let mode = self.matches[&match_id].mode;
        let is_awaited = self.is_awaited(match_id, slot);
        if !is_awaited && !self.mode(mode).rejoin {
            return self.refuse(connection, Refusal::NoRejoin);
        }
        if !is_awaited {
            let now = self.now;
            let player = self.player_mut(id);
            (player.token, player.assigned_at) = (token, now);
            self.match_mut(match_id).await_join(slot);
            self.close_slot(mode, match_id, slot);
            let seat = self.seat_of(slot, id);
            self.ask_hosting(ToHosting::Rejoin { match_id, seat });
        }
        self.report(Event::PlayerReturned { player: id, mode });
        self.send_assignment(id, match_id, slot, connection);
    }

    /// The player's slot, unless the game is being stopped.
    fn slot_in_running_game(&self, id: PlayerId, match_id: MatchId) -> Option<usize> {
        let played = self.matches.get(&match_id).filter(|found| !found.is_ending)?;
        played.players.iter().position(|player| *player == id)
    }
}
