//! Judges what players are told, and how they are put together.

use std::collections::BTreeSet;

use protocol::{Assignment, ErrorCode, EvictReason, Notice, Secret, WaitReason};

use super::book::{Book, Party, PartyStand, Person, Step};
use super::setup::account_of;
use super::{Verdict, demand};
use matchmaker::{Action, Event, Input};
use matchmaker::{ConnectionId, MatchId, ModeId, PlayerId};

impl Book {
    /// Judges an action and writes down what follows from it.
    pub(super) fn judge(&mut self, action: &Action) -> Verdict {
        self.moment.actions += 1;
        match action {
            Action::Send { to, notice } => self.judge_notice(*to, notice),
            Action::Fill { game, seats } => self.judge_fill(*game, seats),
            Action::Rejoin { game, seat } => self.judge_rejoin(*game, seat),
            Action::Launch { game, mode, port, seated } => {
                self.judge_launch(*game, *mode, *port, seated.as_ref())
            }
            Action::Start { game, mode, match_id, seats } => {
                self.judge_start(*game, *mode, *match_id, seats)
            }
            Action::Stop { game, grace } => self.judge_stop(*game, *grace),
            Action::Terminate { game } => self.judge_terminate(*game),
            Action::Kill { game } => self.judge_kill(*game),
            Action::Report(event) => self.judge_event(event),
            Action::Drained => {
                let may = !self.is_drained && !self.is_serving() && self.games.is_empty();
                self.is_drained = true;
                demand(may, || "Drained twice, before a drain, or with games alive".into())
            }
        }
    }

    fn judge_notice(&mut self, to: ConnectionId, notice: &Notice) -> Verdict {
        match notice {
            Notice::Queued { mode, position, needed, resume_key } => {
                self.judge_queued(to, *mode, (*position, *needed), *resume_key)
            }
            Notice::Left => self.judge_left(to),
            Notice::Requeued { mode, position } => self.judge_requeued(to, *mode, *position),
            Notice::Waiting { mode, reason, ahead } => {
                self.judge_waiting(to, (*mode, *reason, *ahead))
            }
            Notice::Found { match_id, accept_within } => {
                self.judge_found(to, *match_id, *accept_within)
            }
            Notice::Accepted { count, of } => self.judge_accepted(to, *count, *of),
            Notice::Expired { waited, round, rounds } => {
                self.judge_round_over(to, *waited, (*round, *rounds))
            }
            Notice::Party { code, size } => self.judge_party(to, code, *size),
            Notice::Evicted { reason } => {
                let is_due = self.moment.evicted.remove(&to);
                // An eviction answers a declined offer.
                self.moment.replies += usize::from(*reason == EvictReason::Declined);
                demand(is_due, || format!("{to:?} is told of an eviction that did not happen"))
            }
            Notice::Replaced => {
                let due = self.moment.replaced.take();
                demand(due == Some(to), || format!("{to:?} is replaced for {due:?}"))
            }
            Notice::Assigned(assignment) => self.judge_assign(to, assignment),
            Notice::Refused(refusal) => self.judge_refuse(to, refusal.code()),
        }
    }

    fn judge_event(&mut self, event: &Event) -> Verdict {
        match event {
            Event::PlayerAway { .. }
            | Event::PlayerReturned { .. }
            | Event::PlayerExpired { .. }
            | Event::PlayerTimedOut { .. }
            | Event::PlayerEvicted { .. } => self.judge_player_event(event),
            Event::PlayerAssigned { player, waited, .. } => {
                let person = self.people.get(player).or_else(|| self.seated.get(player));
                let joined = person.map(|person| person.joined_at);
                demand(joined.is_some_and(|at| at + *waited == self.now), || {
                    format!("{player:?} waited {waited:?} since {joined:?}")
                })
            }
            Event::AccountPaused { account, .. } => {
                demand(false, || format!("{account:?} pauses, and nothing is held against anybody"))
            }
            Event::MatchBackfilled { match_id, game, slots, players, .. } => {
                self.judge_backfilled(*match_id, *game, slots, players)
            }
            Event::MatchFormed { match_id, mode, players } => {
                self.judge_formed(*match_id, *mode, players)
            }
            Event::MatchDissolved { match_id, player, .. } => {
                self.judge_dissolved(*match_id, *player)
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
            | Event::PortReturned { .. } => self.judge_game_event(event),
            Event::Draining { timeout, .. } => {
                let may = self.draining_since == Some(self.now);
                demand(may && *timeout == self.config.drain_timeout, || {
                    "a drain without a word".into()
                })
            }
        }
    }

    fn judge_queued(
        &mut self,
        connection: ConnectionId,
        mode: ModeId,
        (position, needed): (usize, usize),
        key: Secret,
    ) -> Verdict {
        if let Some(Input::Resume { connection: asked, .. }) = self.moment.input {
            demand(asked == connection, || format!("{connection:?} is queued for {asked:?}"))?;
            return self.judge_taken_up(connection, mode, (position, needed), key);
        }
        if let Some(id) = self.person_on(connection)
            && (self.moment.rounds_over.remove(&id) || self.moment.resized.remove(&id))
        {
            let person = &self.people[&id];
            let expected = (person.mode, person.key, self.place(person));
            return demand(expected == (mode, key, (position, needed)), || {
                format!("{connection:?} waits on as {expected:?}")
            });
        }
        let Some((queue, company, skill, token)) = self.asked_to_join(connection, key) else {
            return demand(false, || format!("{connection:?} is queued without READY"));
        };
        demand(self.is_serving(), || format!("{connection:?} is queued while draining"))?;
        demand(self.mode_named(queue.as_deref()) == Some(mode), || {
            format!("{connection:?} wanted {queue:?} and is queued for {mode:?}")
        })?;
        let is_new = self.person_on(connection).is_none();
        demand(is_new, || format!("{connection:?} is queued twice"))?;
        let waiting = self.people.values().filter(|person| person.mode == mode).count();
        demand(waiting < self.config.queue_max, || "the queue is over its cap".into())?;
        if self.moment.newcomers.is_empty() {
            return demand(false, || format!("{connection:?} is queued and has no id"));
        }
        let id = self.moment.newcomers.remove(0);
        let is_first = self.moment.newcomers.len() + 1 == company;
        self.last_rank += u64::from(is_first);
        let rank = self.last_rank;
        let person = Person {
            connection: Some(connection),
            away_since: None,
            account: account_of(connection),
            key,
            mode,
            rank,
            company,
            skill: skill.unwrap_or(self.mode(mode).skill_default()),
            joined_at: self.now,
            round: 1,
            round_since: self.now,
            assigned_at: self.now,
            token,
            party: None,
            told: None,
            told_ahead: None,
            asked: None,
        };
        self.people.insert(id, person.clone());
        self.totals.joined += 1;
        self.moment.replies += usize::from(is_first);
        self.tally.count("players queued");
        if company > 1 && is_first {
            self.tally.count("parties queued");
        }
        let expected = self.place(&person);
        demand((position, needed) == expected, || {
            format!("{connection:?} is told {position} of {needed}, and stands at {expected:?}")
        })
    }

    /// What whoever is queued asked for: the queue, on a ticket of how many, its skill and its token.
    fn asked_to_join(
        &self,
        connection: ConnectionId,
        key: Secret,
    ) -> Option<(Option<String>, usize, Option<i32>, Secret)> {
        match self.moment.input.clone()? {
            Input::Ready { connection: asked, queue, skill, resume_key, token, .. } => {
                let is_it = asked == connection && resume_key == key;
                is_it.then_some((queue, 1, skill, token))
            }
            Input::ReadyParty { connection: asked, queue, keys } => {
                let together = |room: &&BTreeSet<ConnectionId>| {
                    room.contains(&asked) && room.contains(&connection) && room.len() == keys.len()
                };
                self.rooms.values().find(together)?;
                let (_, token) = keys.iter().find(|(resume_key, _)| *resume_key == key)?;
                let skill = self.skills.get(&connection).copied().flatten();
                Some((queue, keys.len(), skill, *token))
            }
            _ => None,
        }
    }

    fn judge_left(&mut self, connection: ConnectionId) -> Verdict {
        if self.moment.input == Some(Input::LeaveParty { connection }) {
            self.moment.replies += 1;
            return Ok(());
        }
        let asked = self.moment.input == Some(Input::Leave { connection });
        let gone = self.person_on(connection).and_then(|id| self.take_out(id));
        self.moment.replies += 1;
        self.totals.left += 1;
        self.tally.count("players left");
        demand(asked && gone.is_some(), || format!("{connection:?} did not leave"))
    }

    fn judge_requeued(
        &mut self,
        connection: ConnectionId,
        mode: ModeId,
        position: usize,
    ) -> Verdict {
        let Some(id) = self.person_on(connection) else {
            return demand(false, || format!("{connection:?} is nobody and goes back"));
        };
        let is_survivor = self.moment.survivors.remove(&id) || self.moment.moved.remove(&id);
        let Some(person) = self.people.get(&id).filter(|_| is_survivor) else {
            return demand(false, || format!("{connection:?} goes back from nowhere"));
        };
        let expected = self.position(person);
        demand(self.is_serving() && person.mode == mode && position == expected, || {
            format!("{connection:?} goes back to {mode:?} {position}, and stands at {expected}")
        })
    }

    fn judge_waiting(
        &mut self,
        connection: ConnectionId,
        what: (ModeId, WaitReason, Option<usize>),
    ) -> Verdict {
        let (mode, reason, ahead) = what;
        let id = self.person_on(connection);
        let Some(person) = id.and_then(|id| self.people.get_mut(&id)) else {
            return demand(false, || format!("{connection:?} is gone and told {reason:?}"));
        };
        let was_ahead = std::mem::replace(&mut person.told_ahead, ahead);
        let is_news = person.told.replace(reason) != Some(reason)
            || ahead.zip(was_ahead).is_some_and(|(ahead, was)| ahead < was);
        let (own_mode, party) = (person.mode, person.party);
        demand(is_news, || format!("{connection:?} is told {reason:?} {ahead:?} again"))?;
        demand(ahead.is_some() == (reason == WaitReason::NoPort), || {
            format!("{connection:?} waits for {reason:?} behind {ahead:?}")
        })?;
        let stand = party.and_then(|id| self.parties.get(&id)).map(|party| party.stand);
        self.tally.count(match reason {
            WaitReason::NoPort => "matches told no-port",
            WaitReason::GameStarting => "matches told game-starting",
            WaitReason::GameFailing => "matches told game-failing",
        });
        let is_seated = |game| self.games.get(game).is_some_and(|process| process.is_seated);
        let resumes = matches!(self.moment.input, Some(Input::Resume { connection: it, .. }) if it == connection);
        let waits = match &stand {
            Some(PartyStand::Waiting) => true,
            Some(PartyStand::Starting(game)) => {
                is_seated(game) || (resumes && reason == WaitReason::GameStarting)
            }
            Some(PartyStand::Offered { .. } | PartyStand::Assigned { .. }) | None => false,
        };
        demand(waits && own_mode == mode, || {
            format!("{connection:?} does not wait and is told {reason:?}")
        })
    }

    fn judge_assign(&mut self, connection: ConnectionId, assignment: &Assignment) -> Verdict {
        let Assignment { mode, match_id, game: its_game, port, slot, players, token } = assignment;
        let seated = self.parties.get(match_id).and_then(|party| party.players.get(*slot));
        let Some(player) = seated.copied() else {
            return demand(false, || format!("{connection:?} gets slot {slot} of {match_id:?}"));
        };
        let person = match self.moment.input {
            Some(Input::Resume { connection: asked, .. }) if asked == connection => {
                self.judge_assigned_again(player)
            }
            _ => self.judge_assigned_first(connection, player),
        }?;
        let its_own = (person.mode, person.party, person.token);
        demand(its_own == (*mode, Some(*match_id), *token), || {
            format!("{player:?} {person:?} gets the place of another")
        })?;
        let Some(party) = self.parties.get(match_id) else {
            return demand(false, || format!("{match_id:?} is assigned and not there"));
        };
        let PartyStand::Assigned { game, since } = party.stand else {
            return demand(false, || format!("{match_id:?} is assigned before its game started"));
        };
        let is_told_again = matches!(self.moment.input, Some(Input::Resume { .. }))
            || self.moment.backfilled.remove(&player);
        demand(since == self.now || is_told_again, || format!("{match_id:?} is assigned again"))?;
        demand(game == *its_game, || format!("{match_id:?} is sent to {its_game:?}"))?;
        demand(party.players.len() == *players, || {
            format!("{connection:?} gets slot {slot} of {players}")
        })?;
        let own_port = self.games.get(&game).map(|process| process.port);
        demand(own_port == Some(*port), || format!("{match_id:?} is sent to port {port}"))
    }

    fn judge_refuse(&mut self, connection: ConnectionId, code: ErrorCode) -> Verdict {
        let known = self.person_on(connection).is_some();
        let is_sent_off = known && code == ErrorCode::Draining && !self.is_serving();
        if is_sent_off {
            let id = self.person_on(connection);
            return id.map_or(Ok(()), |id| self.judge_sent_off(id));
        }
        self.moment.replies += 1;
        if self.is_about_a_party(connection) {
            self.tally.count("parties refused");
            return Ok(());
        }
        let expected = self.expected_refusal(connection);
        demand(expected == Some(code), || {
            format!("{connection:?} is refused with {code}, not with {expected:?}")
        })
    }

    /// Why the connection that spoke is refused, if it is.
    fn expected_refusal(&self, connection: ConnectionId) -> Option<ErrorCode> {
        let known = self.person_on(connection).is_some();
        let input = self.moment.input.as_ref()?;
        if let Input::Ready { connection: asked, queue, .. } = input {
            return (*asked == connection)
                .then(|| self.refusal_of_ready(known, queue.as_deref()))?;
        }
        if *input == (Input::Leave { connection }) {
            return (!known).then_some(ErrorCode::BadState);
        }
        match input {
            Input::Answer { connection: asked, .. } if *asked == connection => {
                let offer = self.person_on(connection).and_then(|id| self.offer_to(id));
                offer.is_none().then_some(ErrorCode::BadState)
            }
            Input::Resume { connection: asked, key, .. } if *asked == connection => match known {
                true => Some(ErrorCode::BadState),
                false => (!self.may_resume(key.as_ref())).then_some(ErrorCode::BadResume),
            },
            _ => None,
        }
    }

    /// Whether what was asked was about a party, of which the book knows only what was told.
    fn is_about_a_party(&self, connection: ConnectionId) -> bool {
        match &self.moment.input {
            Some(
                Input::ReadyParty { connection: asked, .. }
                | Input::CreateParty { connection: asked, .. }
                | Input::JoinParty { connection: asked, .. }
                | Input::LeaveParty { connection: asked },
            ) => *asked == connection,
            Some(Input::Ready { connection: asked, .. }) => {
                *asked == connection && self.rooms.values().any(|room| room.contains(asked))
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
        let waiting = || self.people.values().filter(|person| person.mode == mode);
        let away = waiting().filter(|person| person.connection.is_none()).count();
        let missing = (waiting().count() + 1).saturating_sub(self.config.queue_max);
        (missing > away).then_some(ErrorCode::QueueFull)
    }

    /// A player who waits is sent off because Muster goes down; its match, which has no game, goes with it.
    pub(super) fn judge_sent_off(&mut self, id: PlayerId) -> Verdict {
        self.moment.survivors.remove(&id);
        let Some(person) = self.people.remove(&id) else { return Ok(()) };
        self.totals.refused += 1;
        self.tally.count("players sent off");
        let Some(party) = person.party.and_then(|id| self.parties.remove(&id)) else {
            return Ok(());
        };
        for id in &party.players {
            if let Some(person) = self.people.get_mut(id) {
                person.party = None;
            }
        }
        match party.stand {
            PartyStand::Offered { .. } | PartyStand::Waiting => Ok(()),
            // The game goes too, and `demands` sees to it that it does.
            PartyStand::Starting(game) => {
                if let Some(process) = self.games.get_mut(&game) {
                    process.step = Step::Ending;
                    process.party = None;
                }
                Ok(())
            }
            PartyStand::Assigned { game, .. } => {
                demand(false, || format!("{id:?} plays in {game:?} and is sent off"))
            }
        }
    }

    fn judge_formed(&mut self, match_id: MatchId, mode: ModeId, players: &[PlayerId]) -> Verdict {
        let is_new = self.last_match.replace(match_id) < Some(match_id);
        demand(is_new && self.is_serving(), || format!("{match_id:?} is old, or comes too late"))?;
        self.judge_company(match_id, mode, players)?;
        for id in players {
            if let Some(person) = self.people.get_mut(id) {
                person.party = Some(match_id);
                person.told = None;
            }
            // Who was moved from one match to another need not be told.
            self.moment.moved.remove(id);
        }
        let rank = players.iter().map(|id| self.people[id].rank).min().unwrap_or_default();
        let until = self.mode(mode).accept_timeout.map(|span| self.now + span);
        let stand = until.map_or(PartyStand::Waiting, |until| PartyStand::Offered { until });
        let (formed_at, accepted) = (self.now, BTreeSet::new());
        let players = players.to_vec();
        let party = Party { mode, players, accepted, rank, formed_at, stand };
        self.parties.insert(match_id, party);
        self.formed[mode.0].push(self.now.as_secs());
        self.last_match_step = Some(self.now);
        self.tally.count("matches formed");
        Ok(())
    }

    /// Whether a player is the last of a match that waits for a game, and one who came before it waits for a
    /// match or a game outside of it.
    fn is_overtaken_by(&self, match_id: MatchId, player: PlayerId) -> bool {
        let Some(party) = self.parties.get(&match_id) else { return false };
        let last = party.players.last().and_then(|id| self.people.get(id));
        let Some(last) = last.filter(|_| party.players.last() == Some(&player)) else {
            return false;
        };
        let others = self.waiting_people(party.mode).into_iter();
        let is_other = |id: &PlayerId| self.people[id].party != Some(match_id);
        let came_before = others.filter(is_other).any(|id| self.people[&id].rank < last.rank);
        party.stand == PartyStand::Waiting && came_before
    }

    fn judge_dissolved(&mut self, match_id: MatchId, player: PlayerId) -> Verdict {
        let is_of_another_size = self
            .parties
            .get(&match_id)
            .is_some_and(|party| party.players.len() != self.mode(party.mode).players);
        let went = self.moment.went.contains(&(player, match_id)) || is_of_another_size;
        demand(went || self.is_overtaken_by(match_id, player), || {
            format!("{match_id:?} is taken apart because of {player:?}, who did not go")
        })?;
        let Some(party) = self.parties.remove(&match_id) else {
            return demand(false, || format!("{match_id:?} is taken apart and not there"));
        };
        if let PartyStand::Starting(game) = party.stand
            && let Some(process) = self.games.get_mut(&game).filter(|process| !process.is_alive)
        {
            // Its game is killed as soon as it exists.
            (process.step, process.party) = (Step::Ending, None);
            self.tally.count("matches dissolved before their game existed");
        }
        for id in party.players {
            // Who is in no match any more is the one who went.
            let is_left = |person: &&mut Person| person.party == Some(match_id);
            if let Some(person) = self.people.get_mut(&id).filter(is_left) {
                person.party = None;
                person.asked = None;
                person.round_since = self.now;
                match went {
                    true => self.moment.survivors.insert(id),
                    false => self.moment.moved.insert(id),
                };
            }
        }
        self.tally.count("matches dissolved");
        Ok(())
    }
}
