//! Judges how players are kept while they are away, how they come back, and who is asked to accept a match.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{EvictReason, Seat, Secret};

use super::book::{Book, PartyStand, Person, Step};
use super::setup::account_of;
use super::{Flaw, Verdict, Witness, demand};
use matchmaker::{Account, ConnectionId, GameId, MatchId, ModeId, PlayerId};
use matchmaker::{Event, Input};

impl Book {
    pub(super) fn judge_player_event(&mut self, event: &Event) -> Verdict {
        match event {
            Event::PlayerAway { player, window, .. } => {
                let since = self.people.get(player).and_then(|person| person.away_since);
                demand(since == Some(self.now) && *window == self.config.resume_window, || {
                    format!("{player:?} is away for {window:?} since {since:?}")
                })
            }
            Event::PlayerReturned { player, .. } => self.judge_returned(*player),
            Event::PlayerExpired { player, .. } => self.judge_expired(*player),
            Event::PlayerTimedOut { player, waited, .. } => self.judge_timed_out(*player, *waited),
            Event::PlayerEvicted { player, reason, .. } => self.judge_evicted(*player, *reason),
            _ => Ok(()),
        }
    }

    /// A player goes because its window is over, or because no place is kept.
    fn judge_expired(&mut self, id: PlayerId) -> Verdict {
        let Some(person) = self.take_out(id) else {
            return demand(false, || format!("{id:?} expires and is not there"));
        };
        self.totals.expired += 1;
        self.tally.count("players expired");
        let keeps_none = self.config.resume_window.is_zero() || !self.is_serving();
        let is_lost = person
            .connection
            .is_some_and(|connection| self.moment.input == Some(Input::Lost { connection }));
        let is_over = person.away_since.is_some_and(|since| self.is_over(since));
        demand(is_over || keeps_none && is_lost, || {
            format!("{id:?} {person:?} expires before its time")
        })
    }

    /// A player goes because it declined, or said nothing while there was time.
    fn judge_evicted(&mut self, id: PlayerId, reason: EvictReason) -> Verdict {
        let party = self.people.get(&id).and_then(|person| person.party);
        let stand = party.and_then(|id| self.parties.get(&id)).cloned();
        let before = self.people.get(&id).cloned();
        let Some(person) = self.take_out(id) else {
            return demand(false, || format!("{id:?} is evicted and is not there"));
        };
        self.totals.evicted += 1;
        self.moment.evicted.extend(person.connection);
        if let (Some(before), EvictReason::Kicked | EvictReason::ModeRemoved) = (before, reason) {
            return self.judge_sent_out(id, &before, reason);
        }
        if reason == EvictReason::Displaced {
            return self.judge_displaced(id, &person);
        }
        if reason == EvictReason::Party {
            self.tally.count("players whose party was out");
            let left = self.company(&person).count() + 1;
            let is_too_large = person.company > self.mode(person.mode).party_max;
            if is_too_large {
                self.moment.survivors.remove(&id);
                self.moment.moved.remove(&id);
                self.tally.count("players whose party was too large by then");
            }
            return demand(left < person.company || is_too_large, || {
                format!("{id:?} {person:?} is evicted with its party, which is whole")
            });
        }
        let Some(PartyStand::Offered { until }) = stand.as_ref().map(|party| party.stand) else {
            return demand(false, || format!("{id:?} {person:?} is evicted and was not asked"));
        };
        let has_accepted = stand.is_some_and(|party| party.accepted.contains(&id));
        let declined = person.connection.is_some_and(|connection| {
            self.moment.input == Some(Input::Answer { connection, accepts: false })
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
        demand(may, || format!("{id:?} {person:?} is evicted: {}", reason.word()))
    }

    /// A player who is away gives way: to one of its account who went later, or to one who is here where the queue is full.
    /// Nobody gives way who is here, and none of an account that has fewer such places than another.
    fn judge_displaced(&mut self, id: PlayerId, person: &Person) -> Verdict {
        self.tally.count("places given up");
        let is_away = |it: &&Person| it.connection.is_none();
        let place = (person.away_since, id);
        let oldest = |mode: Option<ModeId>| {
            let all =
                self.people.iter().filter(|(_, it)| is_away(it) && it.account == person.account);
            let of_mode = all.filter(move |(_, it)| mode.is_none_or(|mode| it.mode == mode));
            of_mode.map(|(&id, it)| (it.away_since, id)).min()
        };
        let away = self.people.values().filter(is_away);
        let is_oldest = |mode| oldest(mode).is_none_or(|other| place < other);
        if matches!(self.moment.input, Some(Input::Lost { .. })) {
            let of_account = 1 + away.filter(|it| it.account == person.account).count();
            let may = of_account > self.config.away_per_account && is_oldest(None);
            return demand(may && person.connection.is_none(), || {
                format!("{id:?} {person:?} gives way to its own, who are {of_account}")
            });
        }
        let of_mode = || self.people.values().filter(|it| it.mode == person.mode);
        let mut by_account: BTreeMap<Account, usize> = BTreeMap::new();
        of_mode().filter(is_away).for_each(|it| *by_account.entry(it.account).or_default() += 1);
        let own = 1 + by_account.remove(&person.account).unwrap_or_default();
        let has_most = by_account.values().all(|&others| others <= own);
        let asked = match &self.moment.input {
            Some(Input::Ready { .. }) => 1,
            Some(Input::ReadyParty { keys, .. }) => keys.len(),
            _ => 0,
        };
        let is_full = asked > 0 && of_mode().count() + 1 + asked > self.config.queue_max;
        let may = is_full && has_most && is_oldest(Some(person.mode));
        demand(may && person.connection.is_none(), || {
            format!("{id:?} {person:?} gives way and need not: {own} of {by_account:?}")
        })
    }

    pub(super) fn judge_found(
        &mut self,
        connection: ConnectionId,
        match_id: MatchId,
        accept_within: Duration,
    ) -> Verdict {
        let now = self.now;
        let stand = self.parties.get(&match_id).map(|party| party.stand);
        let id = self.person_on(connection);
        let Some(person) = id.and_then(|id| self.people.get_mut(&id)) else {
            return demand(false, || format!("{connection:?} is nobody and asked"));
        };
        let is_news = person.asked.replace(match_id) != Some(match_id);
        let is_in_it = person.party == Some(match_id);
        self.tally.count("players asked to accept");
        let is_right = stand == Some(PartyStand::Offered { until: now + accept_within });
        demand(is_news && is_in_it && is_right, || {
            format!("{connection:?} is asked to accept {match_id:?} within {accept_within:?}")
        })
    }

    pub(super) fn judge_accepted(
        &mut self,
        connection: ConnectionId,
        count: usize,
        of: usize,
    ) -> Verdict {
        let said = Input::Answer { connection, accepts: true };
        self.moment.replies += usize::from(self.moment.input == Some(said));
        let id = self.person_on(connection);
        let party = id.and_then(|id| self.parties.get(&self.people[&id].party?));
        let told = party.map(|party| (party.accepted.len(), party.players.len()));
        demand(told == Some((count, of)), || {
            format!("{connection:?} hears that {count} of {of} accepted; it is {told:?}")
        })
    }

    /// Somebody with the right key speaks on another connection: from here on it is spoken to there.
    fn judge_returned(&mut self, id: PlayerId) -> Verdict {
        let Some(Input::Resume { connection, key, .. }) = self.moment.input.clone() else {
            return demand(false, || format!("{id:?} comes back by itself"));
        };
        if self.seated.contains_key(&id) {
            return Ok(());
        }
        demand(key.is_some_and(|key| self.waiting_with(&key) == Some(id)), || {
            format!("{id:?} comes back on {connection:?} with the key of another")
        })?;
        self.tally.count("players returned");
        let Some(person) = self.people.get_mut(&id) else { return Ok(()) };
        person.connection = Some(connection);
        person.account = account_of(connection);
        person.away_since = None;
        // On its new connection it has heard nothing yet.
        person.told = None;
        person.asked = None;
        let unheard = self.moment.replaced.take();
        demand(unheard.is_none(), || format!("{unheard:?} was replaced and not told"))
    }

    /// A player who came back is told its place.
    pub(super) fn judge_taken_up(
        &mut self,
        connection: ConnectionId,
        mode: ModeId,
        told: (usize, usize),
        key: Secret,
    ) -> Verdict {
        self.moment.replies += 1;
        let Some(person) = self.person_on(connection).map(|id| self.people[&id].clone()) else {
            return demand(false, || format!("{connection:?} took up nothing and is queued"));
        };
        let expected = match person.party {
            None => self.place(&person),
            Some(_) => (1, self.mode(mode).players),
        };
        demand(person.mode == mode && person.key == key && told == expected, || {
            format!("{connection:?} takes up {person:?} and is told {told:?}, not {expected:?}")
        })
    }

    /// Whether READY with this key is answered with a place, or an assignment.
    pub(super) fn may_resume(&self, key: Option<&Secret>) -> bool {
        let Some(key) = key else { return false };
        self.waiting_with(key).is_some() || self.seat_to_return_to(key).is_some()
    }

    /// Whose seat may be told again, and whether its game still waits for it.
    fn seat_to_return_to(&self, key: &Secret) -> Option<(PlayerId, bool)> {
        let (id, person) = self.seated.iter().find(|(_, person)| person.key == *key)?;
        let party = self.parties.get(&person.party?)?;
        let PartyStand::Assigned { game, .. } = party.stand else { return None };
        let process = self.games.get(&game)?;
        let slot = party.players.iter().position(|seated| seated == id)?;
        let mode = self.mode(person.mode);
        let is_awaited = self.is_awaited(process, slot);
        let may = process.step == Step::Running && (is_awaited || mode.rejoin);
        may.then_some((*id, is_awaited))
    }

    pub(super) fn judge_rejoin(&mut self, game: GameId, seat: &Seat) -> Verdict {
        let Some(Input::Resume { key: Some(key), token, .. }) = self.moment.input.clone() else {
            return demand(false, || format!("{game:?} is told of somebody who did not ask"));
        };
        let Some((id, is_awaited)) = self.seat_to_return_to(&key) else {
            return demand(false, || format!("{game:?} is told of somebody who may not return"));
        };
        let Some(person) = self.seated.get_mut(&id) else { return Ok(()) };
        person.token = token;
        person.assigned_at = self.now;
        let match_id = person.party;
        if let Some(process) = self.games.get_mut(&game) {
            process.arrived.remove(&seat.slot);
            process.present.remove(&seat.slot);
            process.open.remove(&seat.slot);
        }
        self.moment.rejoins = Some(id);
        self.tally.count("players told to their game again");
        let party = match_id.and_then(|id| self.parties.get(&id));
        let its = party.and_then(|party| {
            let slot = party.players.iter().position(|seated| *seated == id)?;
            let PartyStand::Assigned { game, .. } = party.stand else { return None };
            Some((game, slot))
        });
        let is_right = its == Some((game, seat.slot)) && seat.token == token && !is_awaited;
        demand(is_right, || format!("{game:?} is told that {id:?} comes back as {seat:?}"))
    }

    /// A player who waits is told where to play, and waits no longer.
    pub(super) fn judge_assigned_first(
        &mut self,
        connection: ConnectionId,
        player: PlayerId,
    ) -> Result<Person, Flaw> {
        let is_here = self.person_on(connection) == Some(player);
        let Some(mut person) = self.people.remove(&player).filter(|_| is_here) else {
            let what = format!("{connection:?} is assigned twice, or from nowhere");
            return Err(Flaw { seen_by: Witness::Book, what });
        };
        self.totals.assigned += 1;
        self.tally.count("players assigned");
        person.connection = None;
        person.assigned_at = self.now;
        self.seated.insert(player, person.clone());
        Ok(person)
    }

    /// A player who was told where to play asks again.
    pub(super) fn judge_assigned_again(&mut self, player: PlayerId) -> Result<Person, Flaw> {
        let asks = match &self.moment.input {
            Some(Input::Resume { key: Some(key), .. }) => self.seat_to_return_to(key),
            _ => None,
        };
        let is_ready = asks == Some((player, true))
            || asks == Some((player, false)) && self.moment.rejoins == Some(player);
        self.moment.replies += 1;
        self.tally.count("players told again");
        self.seated.get(&player).filter(|_| is_ready).cloned().ok_or_else(|| Flaw {
            seen_by: Witness::Book,
            what: format!("{player:?} is told again, and is {asks:?}"),
        })
    }

    /// Before anything else happens, a connection that will be replaced is known.
    pub(super) fn expect_replacement(&mut self) {
        if let Some(Input::Resume { connection, key: Some(key), .. }) = self.moment.input.clone()
            && self.person_on(connection).is_none()
            && let Some(id) = self.waiting_with(&key)
        {
            self.moment.replaced = self.people[&id].connection;
        }
    }

    /// Nobody is kept beyond its window, and no offer beyond its time.
    pub(super) fn demand_nobody_overstays(&self) -> Verdict {
        for (id, person) in &self.people {
            let is_over = person.away_since.is_some_and(|since| self.is_over(since));
            demand(!is_over, || format!("{id:?} {person:?} is away for too long"))?;
        }
        for (id, person) in self.people.iter().filter(|(_, person)| person.party.is_none()) {
            let due = self.mode(person.mode).max_wait.map(|wait| person.round_since + wait);
            demand(due.is_none_or(|due| due > self.now), || {
                format!("{id:?} {person:?} waits for too long")
            })?;
        }
        for (id, party) in &self.parties {
            let PartyStand::Offered { until } = party.stand else { continue };
            demand(until > self.now, || format!("{id:?} {party:?} is offered for too long"))?;
        }
        Ok(())
    }
}
