//! Checks what players are notified of.

use std::collections::BTreeSet;

use brain::{Action, ConnectionId, Event, GameAction, Input, ModeId, PlayerId, PlayerInput};
use protocol::{Assignment, ErrorCode, EvictReason, Notice, Secret, WaitReason};

use crate::model::{GamePhase, MatchPhase, Model, PlayerModel};
use crate::{CheckResult, check};

impl Model {
    /// Checks an action and follows it.
    pub(crate) fn check_action(&mut self, action: &Action) -> CheckResult {
        self.context.actions += 1;
        match action {
            Action::Send { to, notice } => self.check_notice(*to, notice),
            Action::Game(GameAction::Fill { game, seats }) => self.check_fill(*game, seats),
            Action::Game(GameAction::Rejoin { game, seat }) => self.check_rejoin(*game, seat),
            Action::Game(GameAction::Launch { game, mode, port, seated }) => {
                self.check_launch(*game, *mode, *port, seated.as_ref())
            }
            Action::Game(GameAction::Start { game, mode, match_id, seats }) => {
                self.check_start(*game, *mode, *match_id, seats)
            }
            Action::Game(GameAction::Stop { game, grace }) => self.check_stop(*game, *grace),
            Action::Game(GameAction::Terminate { game }) => self.check_terminate(*game),
            Action::Game(GameAction::Kill { game }) => self.check_kill(*game),
            Action::Report(event) => self.check_event(event),
            Action::Drained => {
                let may = !self.is_drained && !self.is_serving() && self.games.is_empty();
                self.is_drained = true;
                check(may, || "Drained twice, before a drain, or with games alive".into())
            }
        }
    }

    fn check_notice(&mut self, to: ConnectionId, notice: &Notice) -> CheckResult {
        match notice {
            Notice::Queued { mode, position, needed, resume_key } => {
                self.check_queued(to, *mode, (*position, *needed), *resume_key)
            }
            Notice::Left => self.check_left(to),
            Notice::Requeued { mode, position } => self.check_requeued(to, *mode, *position),
            Notice::Waiting { mode, reason, ahead } => {
                self.check_waiting(to, (*mode, *reason, *ahead))
            }
            Notice::Found { match_id, accept_within } => {
                self.check_found(to, *match_id, *accept_within)
            }
            Notice::Accepted { count, of } => self.check_accepted(to, *count, *of),
            Notice::Expired { waited, round, rounds } => {
                self.check_round_over(to, *waited, (*round, *rounds))
            }
            Notice::Party { code, size } => self.check_party(to, code, *size),
            Notice::Evicted { reason } => {
                let is_due = self.context.evicted.remove(&to);
                // An eviction answers a declined offer.
                self.context.replies += usize::from(*reason == EvictReason::Declined);
                check(is_due, || format!("{to:?} is notified of an eviction that did not happen"))
            }
            Notice::Replaced => {
                let due = self.context.replaced.take();
                check(due == Some(to), || format!("{to:?} is replaced for {due:?}"))
            }
            Notice::Assigned(assignment) => self.check_assign(to, assignment),
            Notice::Refused(refusal) => self.check_refuse(to, refusal.code()),
        }
    }

    fn check_event(&mut self, event: &Event) -> CheckResult {
        match event {
            Event::PlayerAway { .. }
            | Event::PlayerReturned { .. }
            | Event::PlayerExpired { .. }
            | Event::PlayerTimedOut { .. }
            | Event::PlayerEvicted { .. } => self.check_player_event(event),
            Event::PlayerAssigned { player, waited, .. } => {
                let player = self.players.get(player).or_else(|| self.assigned.get(player));
                let joined = player.map(|player| player.joined_at);
                check(joined.is_some_and(|at| at + *waited == self.now), || {
                    format!("{player:?} waited {waited:?} since {joined:?}")
                })
            }
            Event::AccountPaused { account, .. } => {
                check(false, || format!("{account:?} pauses, and nothing is held against anybody"))
            }
            Event::MatchBackfilled { match_id, game, slots, players, .. } => {
                self.check_backfilled(*match_id, *game, slots, players)
            }
            Event::MatchFormed { match_id, mode, players } => {
                self.check_formed(*match_id, *mode, players)
            }
            Event::MatchDissolved { match_id, player, .. } => {
                self.check_dissolved(*match_id, *player)
            }
            Event::MatchAssigned { .. }
            | Event::PlayerJoined { .. }
            | Event::PlayerLeft { .. }
            | Event::MatchResult { .. }
            | Event::MatchEnded { .. }
            | Event::GameWarm { .. }
            | Event::GameFailed { .. }
            | Event::GameStopping { .. }
            | Event::GameEnded { .. }
            | Event::PortBusy { .. }
            | Event::PortReturned { .. } => self.check_game_event(event),
            Event::Draining { timeout, .. } => {
                let may = self.draining_since == Some(self.now);
                check(may && *timeout == self.config.drain_timeout, || {
                    "a drain without a request".into()
                })
            }
        }
    }

    fn check_queued(
        &mut self,
        connection: ConnectionId,
        mode: ModeId,
        (position, needed): (usize, usize),
        key: Secret,
    ) -> CheckResult {
        if let Some(Input::Player(PlayerInput::Resume { connection: asked, .. })) =
            self.context.input
        {
            check(asked == connection, || format!("{connection:?} is queued for {asked:?}"))?;
            return self.check_taken_up(connection, mode, (position, needed), key);
        }
        if let Some(id) = self.player_on(connection)
            && (self.context.rounds_over.remove(&id) || self.context.resized.remove(&id))
        {
            let player = &self.players[&id];
            let is_right = (player.mode, player.key) == (mode, key);
            return check(is_right && self.is_place(player, position, needed), || {
                format!("{connection:?} {player:?} is at {position} of {needed}")
            });
        }
        let Some((queue, ticket_size, skill, token)) = self.asked_to_join(connection, key) else {
            return check(false, || format!("{connection:?} is queued without READY"));
        };
        check(self.is_serving(), || format!("{connection:?} is queued while draining"))?;
        check(self.mode_named(queue.as_deref()) == Some(mode), || {
            format!("{connection:?} wanted {queue:?} and is queued for {mode:?}")
        })?;
        let is_new = self.player_on(connection).is_none();
        check(is_new, || format!("{connection:?} is queued twice"))?;
        let waiting = self.players.values().filter(|player| player.mode == mode).count();
        check(waiting < self.config.queue_max, || "the queue is over its cap".into())?;
        if self.context.newcomers.is_empty() {
            return check(false, || format!("{connection:?} is queued and has no id"));
        }
        let id = self.context.newcomers.remove(0);
        let is_first = self.context.newcomers.len() + 1 == ticket_size;
        self.last.rank += u64::from(is_first);
        let rank = self.last.rank;
        let player = PlayerModel {
            connection: Some(connection),
            away_since: None,
            key,
            mode,
            rank,
            ticket_size,
            skill: skill.unwrap_or(self.mode(mode).skill_default()),
            joined_at: self.now,
            round: 1,
            round_since: self.now,
            assigned_at: self.now,
            token,
            match_id: None,
            notified: None,
            asked: None,
        };
        self.players.insert(id, player.clone());
        self.totals.joined += 1;
        self.context.replies += usize::from(is_first);
        self.tally.count("players queued");
        if ticket_size > 1 && is_first {
            self.tally.count("matches queued");
        }
        check(self.is_place(&player, position, needed), || {
            format!("{connection:?} {player:?} is at {position} of {needed}")
        })
    }

    /// The queue, the size of the ticket, the skill and the token that a player asked for.
    fn asked_to_join(
        &self,
        connection: ConnectionId,
        key: Secret,
    ) -> Option<(Option<String>, usize, Option<i32>, Secret)> {
        match self.context.input.clone()? {
            Input::Player(PlayerInput::Ready {
                connection: asked,
                queue,
                skill,
                resume_key,
                token,
                ..
            }) => {
                let is_it = asked == connection && resume_key == key;
                is_it.then_some((queue, 1, skill, token))
            }
            Input::Player(PlayerInput::ReadyParty { connection: asked, queue, keys }) => {
                let together = |party: &&BTreeSet<ConnectionId>| {
                    party.contains(&asked)
                        && party.contains(&connection)
                        && party.len() == keys.len()
                };
                self.parties.values().find(together)?;
                let (_, token) = keys.iter().find(|(resume_key, _)| *resume_key == key)?;
                let skill = self.skills.get(&connection).copied().flatten();
                Some((queue, keys.len(), skill, *token))
            }
            _ => None,
        }
    }

    fn check_left(&mut self, connection: ConnectionId) -> CheckResult {
        if self.context.input == Some(Input::Player(PlayerInput::LeaveParty { connection })) {
            self.context.replies += 1;
            return Ok(());
        }
        let asked = self.context.input == Some(Input::Player(PlayerInput::Leave { connection }));
        let gone = self.player_on(connection).and_then(|id| self.take_out(id));
        self.context.replies += 1;
        self.totals.left += 1;
        self.tally.count("players left");
        check(asked && gone.is_some(), || format!("{connection:?} did not leave"))
    }

    fn check_requeued(
        &mut self,
        connection: ConnectionId,
        mode: ModeId,
        position: usize,
    ) -> CheckResult {
        let Some(id) = self.player_on(connection) else {
            return check(false, || format!("{connection:?} has no player and is requeued"));
        };
        let is_survivor = self.context.survivors.remove(&id) || self.context.moved.remove(&id);
        let Some(player) = self.players.get(&id).filter(|_| is_survivor) else {
            return check(false, || format!("{connection:?} is requeued without a match"));
        };
        let needed = self.mode(mode).players;
        let is_right = player.mode == mode && self.is_place(player, position, needed);
        check(self.is_serving() && is_right, || {
            format!("{connection:?} {player:?} is requeued for {mode:?} at {position}")
        })
    }

    fn check_waiting(
        &mut self,
        connection: ConnectionId,
        what: (ModeId, WaitReason, Option<usize>),
    ) -> CheckResult {
        let (mode, reason, ahead) = what;
        let id = self.player_on(connection);
        let Some(player) = id.and_then(|id| self.players.get_mut(&id)) else {
            return check(false, || format!("{connection:?} is gone and waits for {reason:?}"));
        };
        player.notified = Some(reason);
        let (own_mode, match_id) = (player.mode, player.match_id);
        check(ahead.is_some() == (reason == WaitReason::NoPort), || {
            format!("{connection:?} waits for {reason:?} behind {ahead:?}")
        })?;
        let phase = match_id.and_then(|id| self.matches.get(&id)).map(|it| it.phase);
        self.tally.count(match reason {
            WaitReason::NoPort => "matches that wait for a port",
            WaitReason::GameStarting => "matches whose game starts",
            WaitReason::GameFailing => "matches whose games fail",
        });
        let is_seated = |game| self.games.get(game).is_some_and(|process| process.is_seated);
        let resumes = matches!(self.context.input, Some(Input::Player(PlayerInput::Resume { connection: it, .. })) if it == connection);
        let waits = match &phase {
            Some(MatchPhase::Waiting) => true,
            Some(MatchPhase::Starting(game)) => {
                is_seated(game) || (resumes && reason == WaitReason::GameStarting)
            }
            Some(MatchPhase::Offered { .. } | MatchPhase::Assigned { .. }) | None => false,
        };
        check(waits && own_mode == mode, || format!("{connection:?} does not wait for {reason:?}"))
    }

    fn check_assign(&mut self, connection: ConnectionId, assignment: &Assignment) -> CheckResult {
        let Assignment { mode, match_id, game: its_game, port, slot, players, token } = assignment;
        let seated = self.matches.get(match_id).and_then(|it| it.players.get(*slot));
        let Some(id) = seated.copied() else {
            return check(false, || format!("{connection:?} gets slot {slot} of {match_id:?}"));
        };
        let player = match self.context.input {
            Some(Input::Player(PlayerInput::Resume { connection: asked, .. }))
                if asked == connection =>
            {
                self.check_assigned_again(id)
            }
            _ => self.check_assigned_first(connection, id),
        }?;
        let its_own = (player.mode, player.match_id, player.token);
        check(its_own == (*mode, Some(*match_id), *token), || {
            format!("{id:?} {player:?} gets the seat of another player")
        })?;
        let Some(found) = self.matches.get(match_id) else {
            return check(false, || format!("{match_id:?} is assigned and not there"));
        };
        let MatchPhase::Assigned { game, since } = found.phase else {
            return check(false, || format!("{match_id:?} is assigned before its game started"));
        };
        let is_repeated =
            matches!(self.context.input, Some(Input::Player(PlayerInput::Resume { .. })))
                || self.context.backfilled.remove(&id);
        check(since == self.now || is_repeated, || format!("{match_id:?} is assigned again"))?;
        check(game == *its_game, || format!("{match_id:?} is sent to {its_game:?}"))?;
        check(found.players.len() == *players, || {
            format!("{connection:?} gets slot {slot} of {players}")
        })?;
        let own_port = self.games.get(&game).map(|process| process.port);
        check(own_port == Some(*port), || format!("{match_id:?} is sent to port {port}"))
    }

    fn check_refuse(&mut self, connection: ConnectionId, code: ErrorCode) -> CheckResult {
        let known = self.player_on(connection).is_some();
        let is_sent_off = known && code == ErrorCode::Draining && !self.is_serving();
        if is_sent_off {
            let id = self.player_on(connection);
            return id.map_or(Ok(()), |id| self.check_sent_off(id));
        }
        self.context.replies += 1;
        if self.is_about_a_party(connection) {
            self.tally.count("matches refused");
            return Ok(());
        }
        let expected = self.expected_refusal(connection);
        check(expected == Some(code), || {
            format!("{connection:?} is refused with {code}, not with {expected:?}")
        })
    }

    /// Why the request is refused, if it is.
    fn expected_refusal(&self, connection: ConnectionId) -> Option<ErrorCode> {
        let known = self.player_on(connection).is_some();
        let input = self.context.input.as_ref()?;
        if let Input::Player(PlayerInput::Ready { connection: asked, queue, .. }) = input {
            return (*asked == connection)
                .then(|| self.refusal_of_ready(known, queue.as_deref()))?;
        }
        if *input == (Input::Player(PlayerInput::Leave { connection })) {
            return (!known).then_some(ErrorCode::BadState);
        }
        match input {
            Input::Player(PlayerInput::Answer { connection: asked, .. })
                if *asked == connection =>
            {
                let offer = self.player_on(connection).and_then(|id| self.offer_to(id));
                offer.is_none().then_some(ErrorCode::BadState)
            }
            Input::Player(PlayerInput::Resume { connection: asked, key, .. })
                if *asked == connection =>
            {
                match known {
                    true => Some(ErrorCode::BadState),
                    false => (!self.may_resume(key.as_ref())).then_some(ErrorCode::BadResume),
                }
            }
            _ => None,
        }
    }

    /// Whether the request was about a party, of which the model knows only the notices.
    fn is_about_a_party(&self, connection: ConnectionId) -> bool {
        match &self.context.input {
            Some(
                Input::Player(PlayerInput::ReadyParty { connection: asked, .. })
                | Input::Player(PlayerInput::CreateParty { connection: asked, .. })
                | Input::Player(PlayerInput::JoinParty { connection: asked, .. })
                | Input::Player(PlayerInput::LeaveParty { connection: asked }),
            ) => *asked == connection,
            Some(Input::Player(PlayerInput::Ready { connection: asked, .. })) => {
                *asked == connection && self.parties.values().any(|party| party.contains(asked))
            }
            _ => false,
        }
    }

    fn refusal_of_ready(&self, known: bool, queue: Option<&str>) -> Option<ErrorCode> {
        if known {
            return Some(ErrorCode::BadState);
        }
        if !self.is_serving() {
            return Some(ErrorCode::Draining);
        }
        let Some(mode) = self.mode_named(queue) else { return Some(ErrorCode::NoSuchQueue) };
        let waiting = || self.players.values().filter(|player| player.mode == mode);
        let away = waiting().filter(|player| player.connection.is_none()).count();
        let missing = (waiting().count() + 1).saturating_sub(self.config.queue_max);
        (missing > away).then_some(ErrorCode::QueueFull)
    }

    /// A waiting player is refused in a drain, and their match is dissolved.
    pub(crate) fn check_sent_off(&mut self, id: PlayerId) -> CheckResult {
        self.context.survivors.remove(&id);
        let Some(player) = self.players.remove(&id) else { return Ok(()) };
        self.totals.refused += 1;
        self.tally.count("players sent off");
        let Some(found) = player.match_id.and_then(|id| self.matches.remove(&id)) else {
            return Ok(());
        };
        for id in &found.players {
            if let Some(player) = self.players.get_mut(id) {
                player.match_id = None;
            }
        }
        match found.phase {
            MatchPhase::Offered { .. } | MatchPhase::Waiting => Ok(()),
            // The game has to end, too.
            MatchPhase::Starting(game) => {
                if let Some(process) = self.games.get_mut(&game) {
                    process.phase = GamePhase::Ending;
                    process.match_id = None;
                }
                Ok(())
            }
            MatchPhase::Assigned { game, .. } => {
                check(false, || format!("{id:?} plays in {game:?} and is refused"))
            }
        }
    }
}
