//! Checks how the positions of players who are away are kept, how players reconnect, and the ready check.

use std::time::Duration;

use brain::{ConnectionId, Event, GameId, Input, MatchId, ModeId, PlayerId, PlayerInput};
use protocol::{EvictReason, Seat, Secret};

use crate::model::{GamePhase, MatchPhase, Model, PlayerModel};
use crate::{CheckResult, Checker, Flaw, check};

impl Model {
    pub(crate) fn check_player_event(&mut self, event: &Event) -> CheckResult {
        match event {
            Event::PlayerAway { player, window, .. } => {
                let since = self.players.get(player).and_then(|player| player.away_since);
                check(since == Some(self.now) && *window == self.config.resume_window, || {
                    format!("{player:?} is away for {window:?} since {since:?}")
                })
            }
            Event::PlayerReturned { player, .. } => self.check_returned(*player),
            Event::PlayerExpired { player, .. } => self.check_expired(*player),
            Event::PlayerTimedOut { player, waited, .. } => self.check_timed_out(*player, *waited),
            Event::PlayerEvicted { player, reason, .. } => self.check_evicted(*player, *reason),
            _ => Ok(()),
        }
    }

    /// A player expires because the resume window is over or there is none.
    fn check_expired(&mut self, id: PlayerId) -> CheckResult {
        let Some(player) = self.take_out(id) else {
            return check(false, || format!("{id:?} expires and is not there"));
        };
        self.totals.expired += 1;
        self.tally.count("players expired");
        let keeps_none = self.config.resume_window.is_zero() || !self.is_serving();
        let is_lost = player.connection.is_some_and(|connection| {
            self.context.input == Some(Input::Player(PlayerInput::Lost { connection }))
        });
        let is_over = player.away_since.is_some_and(|since| self.is_over(since));
        check(is_over || keeps_none && is_lost, || {
            format!("{id:?} {player:?} expires before its time")
        })
    }

    /// A player is evicted because they declined or did not answer in time.
    fn check_evicted(&mut self, id: PlayerId, reason: EvictReason) -> CheckResult {
        let found = self.players.get(&id).and_then(|player| player.match_id);
        let phase = found.and_then(|id| self.matches.get(&id)).cloned();
        let before = self.players.get(&id).cloned();
        let Some(player) = self.take_out(id) else {
            return check(false, || format!("{id:?} is evicted and is not there"));
        };
        self.totals.evicted += 1;
        self.context.evicted.extend(player.connection);
        if let (Some(before), EvictReason::Kicked | EvictReason::ModeRemoved) = (before, reason) {
            return self.check_removed(id, &before, reason);
        }
        if reason == EvictReason::Displaced {
            return self.check_displaced(id, &player);
        }
        if reason == EvictReason::Party {
            self.tally.count("players evicted with their party");
            let left = self.ticket_of(&player).count() + 1;
            let is_too_large = player.ticket_size > self.mode(player.mode).party_max;
            if is_too_large {
                self.context.survivors.remove(&id);
                self.context.moved.remove(&id);
                self.tally.count("players whose party became too large");
            }
            return check(left < player.ticket_size || is_too_large, || {
                format!("{id:?} {player:?} is evicted with its party, which is whole")
            });
        }
        let Some(MatchPhase::Offered { until }) = phase.as_ref().map(|found| found.phase) else {
            return check(false, || format!("{id:?} {player:?} is evicted and was not asked"));
        };
        let has_accepted = phase.is_some_and(|found| found.accepted.contains(&id));
        let declined = player.connection.is_some_and(|connection| {
            self.context.input
                == Some(Input::Player(PlayerInput::Answer { connection, accepts: false }))
        });
        let may = match reason {
            EvictReason::Declined => declined && until > self.now,
            EvictReason::Timeout => until <= self.now && !has_accepted,
            EvictReason::Party
            | EvictReason::Kicked
            | EvictReason::ModeRemoved
            | EvictReason::Displaced => false,
        };
        self.tally.count(match reason {
            EvictReason::Declined => "players who declined",
            _ => "players who did not answer",
        });
        check(may, || format!("{id:?} {player:?} is evicted: {}", reason.word()))
    }

    /// Only a player who is away loses their position to another.
    fn check_displaced(&mut self, id: PlayerId, player: &PlayerModel) -> CheckResult {
        self.tally.count("positions given up");
        check(player.connection.is_none(), || format!("{id:?} {player:?} is displaced"))
    }

    pub(crate) fn check_found(
        &mut self,
        connection: ConnectionId,
        match_id: MatchId,
        accept_within: Duration,
    ) -> CheckResult {
        let now = self.now;
        let phase = self.matches.get(&match_id).map(|found| found.phase);
        let id = self.player_on(connection);
        let Some(player) = id.and_then(|id| self.players.get_mut(&id)) else {
            return check(false, || format!("{connection:?} has no player and is asked"));
        };
        let is_news = player.asked.replace(match_id) != Some(match_id);
        let is_in_it = player.match_id == Some(match_id);
        self.tally.count("players asked to accept");
        let is_right = phase == Some(MatchPhase::Offered { until: now + accept_within });
        check(is_news && is_in_it && is_right, || {
            format!("{connection:?} is asked to accept {match_id:?} within {accept_within:?}")
        })
    }

    pub(crate) fn check_accepted(
        &mut self,
        connection: ConnectionId,
        count: usize,
        of: usize,
    ) -> CheckResult {
        let said = Input::Player(PlayerInput::Answer { connection, accepts: true });
        self.context.replies += usize::from(self.context.input == Some(said));
        let id = self.player_on(connection);
        let found = id.and_then(|id| self.matches.get(&self.players[&id].match_id?));
        let counted = found.map(|found| (found.accepted.len(), found.players.len()));
        check(counted == Some((count, of)), || {
            format!("{connection:?} gets {count} of {of} accepted; it is {counted:?}")
        })
    }

    /// A player resumed their session on another connection.
    fn check_returned(&mut self, id: PlayerId) -> CheckResult {
        let Some(Input::Player(PlayerInput::Resume { connection, key, .. })) =
            self.context.input.clone()
        else {
            return check(false, || format!("{id:?} returns without a request"));
        };
        if self.assigned.contains_key(&id) {
            return Ok(());
        }
        check(key.is_some_and(|key| self.waiting_with(&key) == Some(id)), || {
            format!("{id:?} returns on {connection:?} with the key of another player")
        })?;
        self.tally.count("players returned");
        let Some(player) = self.players.get_mut(&id) else { return Ok(()) };
        player.connection = Some(connection);
        player.away_since = None;
        // The new connection got no notice yet.
        player.notified = None;
        player.asked = None;
        let unnotified = self.context.replaced.take();
        check(unnotified.is_none(), || format!("{unnotified:?} was replaced and not notified"))
    }

    /// A player who reconnected gets their position.
    pub(crate) fn check_taken_up(
        &mut self,
        connection: ConnectionId,
        mode: ModeId,
        (position, needed): (usize, usize),
        key: Secret,
    ) -> CheckResult {
        self.context.replies += 1;
        let Some(player) = self.player_on(connection).map(|id| &self.players[&id]) else {
            return check(false, || format!("{connection:?} resumed nothing and is queued"));
        };
        let is_place = match player.match_id {
            None => self.is_place(player, position, needed),
            Some(_) => (position, needed) == (1, self.mode(player.mode).players),
        };
        check(player.mode == mode && player.key == key && is_place, || {
            format!("{connection:?} {player:?} is at {position} of {needed}")
        })
    }

    /// Whether READY with this key is answered with a place, or an assignment.
    pub(crate) fn may_resume(&self, key: Option<&Secret>) -> bool {
        let Some(key) = key else { return false };
        self.waiting_with(key).is_some() || self.seat_to_return_to(key).is_some()
    }

    /// The player who may be assigned again, and whether their game still waits for them.
    fn seat_to_return_to(&self, key: &Secret) -> Option<(PlayerId, bool)> {
        let (id, player) = self.assigned.iter().find(|(_, player)| player.key == *key)?;
        let found = self.matches.get(&player.match_id?)?;
        let MatchPhase::Assigned { game, .. } = found.phase else { return None };
        let process = self.games.get(&game)?;
        let slot = found.players.iter().position(|seated| seated == id)?;
        let mode = self.mode(player.mode);
        let is_awaited = self.is_awaited(process, slot);
        let may = process.phase == GamePhase::Running && (is_awaited || mode.rejoin);
        may.then_some((*id, is_awaited))
    }

    pub(crate) fn check_rejoin(&mut self, game: GameId, seat: &Seat) -> CheckResult {
        let Some(Input::Player(PlayerInput::Resume { key: Some(key), token, .. })) =
            self.context.input.clone()
        else {
            return check(false, || format!("{game:?} gets a player who did not ask"));
        };
        let Some((id, is_awaited)) = self.seat_to_return_to(&key) else {
            return check(false, || format!("{game:?} gets a player who may not rejoin"));
        };
        let Some(player) = self.assigned.get_mut(&id) else { return Ok(()) };
        player.token = token;
        player.assigned_at = self.now;
        let match_id = player.match_id;
        if let Some(process) = self.games.get_mut(&game) {
            process.arrived.remove(&seat.slot);
            process.present.remove(&seat.slot);
            process.open.remove(&seat.slot);
        }
        self.context.rejoins = Some(id);
        self.tally.count("players who rejoined");
        let found = match_id.and_then(|id| self.matches.get(&id));
        let its = found.and_then(|found| {
            let slot = found.players.iter().position(|seated| *seated == id)?;
            let MatchPhase::Assigned { game, .. } = found.phase else { return None };
            Some((game, slot))
        });
        let is_right = its == Some((game, seat.slot)) && seat.token == token && !is_awaited;
        check(is_right, || format!("{game:?} gets {id:?} back as {seat:?}"))
    }

    /// A waiting player is assigned.
    pub(crate) fn check_assigned_first(
        &mut self,
        connection: ConnectionId,
        id: PlayerId,
    ) -> Result<PlayerModel, Flaw> {
        let is_here = self.player_on(connection) == Some(id);
        let Some(mut player) = self.players.remove(&id).filter(|_| is_here) else {
            let what = format!("{connection:?} is assigned twice, or from nowhere");
            return Err(Flaw { found_by: Checker::Model, what });
        };
        self.totals.assigned += 1;
        self.tally.count("players assigned");
        player.connection = None;
        player.assigned_at = self.now;
        self.assigned.insert(id, player.clone());
        Ok(player)
    }

    /// An assigned player asks for the assignment again.
    pub(crate) fn check_assigned_again(&mut self, player: PlayerId) -> Result<PlayerModel, Flaw> {
        let asks = match &self.context.input {
            Some(Input::Player(PlayerInput::Resume { key: Some(key), .. })) => {
                self.seat_to_return_to(key)
            }
            _ => None,
        };
        let is_ready = asks == Some((player, true))
            || asks == Some((player, false)) && self.context.rejoins == Some(player);
        self.context.replies += 1;
        self.tally.count("players assigned again");
        self.assigned.get(&player).filter(|_| is_ready).cloned().ok_or_else(|| Flaw {
            found_by: Checker::Model,
            what: format!("{player:?} is assigned again, and is {asks:?}"),
        })
    }

    /// A player lost their position because of an operator: they were kicked, or their mode is closed.
    fn check_removed(
        &mut self,
        id: PlayerId,
        player: &PlayerModel,
        reason: EvictReason,
    ) -> CheckResult {
        if reason == EvictReason::Kicked {
            self.tally.count("players kicked");
            let is_meant =
                self.context.input == Some(Input::Player(PlayerInput::Kick { player: id }));
            return check(is_meant, || format!("{id:?} {player:?} is kicked without a request"));
        }
        self.tally.count("players whose mode was removed");
        self.context.survivors.remove(&id);
        let phase = self.match_phase(player);
        if let Some(MatchPhase::Offered { .. } | MatchPhase::Waiting) = phase {
            // The match goes with the first of its players, without a report.
            player.match_id.and_then(|id| self.matches.remove(&id));
        }
        let plays = matches!(phase, Some(MatchPhase::Starting(_) | MatchPhase::Assigned { .. }));
        let is_closed = self.mode(player.mode).is_closed;
        check(is_closed && !plays, || format!("{id:?} {player:?} is out, and the mode is open"))
    }
}
