//! Judges who is put together with whom where there are parties, teams and skill; who has waited for too long; and who
//! comes into a running match.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::Seat;

use super::book::{Book, PartyStand, Person, Step};
use super::{Verdict, demand};
use matchmaker::Input;
use matchmaker::{ConnectionId, GameId, MatchId, ModeId, PlayerId};

impl Book {
    /// A match is of the first who wait; or else of whole tickets that are there, each in one squad, near in skill.
    pub(super) fn judge_company(
        &mut self,
        match_id: MatchId,
        mode: ModeId,
        players: &[PlayerId],
    ) -> Verdict {
        let queue = self.queue(mode);
        let size = self.mode(mode).players;
        if self.mode(mode).is_first_come_first_served() {
            let first: Vec<PlayerId> = queue.into_iter().take(size).collect();
            return demand(players.len() == size && first == players, || {
                format!("{match_id:?} takes {players:?}; the first in the queue are {first:?}")
            });
        }
        let distinct: BTreeSet<&PlayerId> = players.iter().collect();
        let all_wait = players.iter().all(|id| queue.contains(id));
        demand(players.len() == size && distinct.len() == size && all_wait, || {
            format!("{match_id:?} takes {players:?}; in the queue are {queue:?}")
        })?;
        let mut first = 0;
        for size in self.mode(mode).squads() {
            let squad = &players[first..first + size];
            first += size;
            for id in squad {
                let mut company = self.company(&self.people[id]);
                demand(company.all(|(mate, _)| squad.contains(mate)), || {
                    format!("{match_id:?} {players:?} splits the party of {id:?}")
                })?;
            }
        }
        self.judge_skill(match_id, mode, players)
    }

    /// One of the tickets accepts all others: the match was made for it.
    fn judge_skill(&mut self, match_id: MatchId, mode: ModeId, players: &[PlayerId]) -> Verdict {
        let Some(skill) = self.mode(mode).skill else { return Ok(()) };
        self.tally.count("matches by skill");
        let skill_of = |id: &PlayerId| self.skill_of(&self.people[id]);
        let accepts_all = |id: &PlayerId| {
            let waited = self.now - self.people[id].joined_at;
            let steps = waited.as_nanos() / skill.rules.widen_every.as_nanos().max(1);
            let widened = u128::from(skill.rules.widen_by) * steps;
            let window =
                (widened + u128::from(skill.rules.window)).min(skill.rules.window_max.into());
            players.iter().all(|other| u128::from(skill_of(id).abs_diff(skill_of(other))) <= window)
        };
        demand(players.iter().any(accepts_all), || {
            format!("{match_id:?} {players:?} is too far apart for each of them")
        })
    }

    fn skill_of(&self, person: &Person) -> i32 {
        self.company(person).map(|(_, mate)| mate.skill).max().unwrap_or(person.skill)
    }

    // ---- Waiting for too long ----

    pub(super) fn judge_round_over(
        &mut self,
        connection: ConnectionId,
        waited: Duration,
        (round, rounds): (u32, u32),
    ) -> Verdict {
        let now = self.now;
        let Some(id) = self.person_on(connection) else {
            return demand(false, || format!("{connection:?} is nobody and waited for {waited:?}"));
        };
        let person = self.people[&id].clone();
        // Another of its party may have been told already.
        let is_noted = self.moment.rounds_noted.contains(&(id, round));
        self.note_round_over(id, round, round < rounds);
        let mode = self.mode(person.mode);
        let over = mode.max_wait.map(|wait| person.round_since + wait);
        let is_right = person.party.is_none()
            && over.is_some_and(|over| is_noted || over <= now)
            && rounds == mode.rounds
            && now - person.joined_at == waited;
        demand(is_right, || format!("{connection:?} {person:?} waited for {waited:?}, {round}"))
    }

    /// All on the ticket go into the next round, or out.
    fn note_round_over(&mut self, id: PlayerId, round: u32, goes_on: bool) {
        let company = self.company(&self.people[&id]);
        let company: Vec<PlayerId> = company.map(|(id, _)| *id).collect();
        if !goes_on {
            self.moment.timed_out.extend(company);
            return;
        }
        for id in company {
            let Some(person) = self.people.get_mut(&id) else { continue };
            if self.moment.rounds_noted.insert((id, round)) {
                person.round += 1;
                person.round_since = self.now;
                self.tally.count("rounds over");
                if person.connection.is_some() {
                    self.moment.rounds_over.insert(id);
                }
            }
        }
    }

    /// Where nobody on a ticket is here, nobody can be told that its rounds go by.
    pub(super) fn note_rounds_of_the_absent(&mut self) {
        let is_absent = |person: &Person| {
            person.party.is_none()
                && self.company(person).all(|(_, mate)| mate.connection.is_none())
        };
        let absent = self.people.iter().filter(|(_, person)| is_absent(person));
        let absent: Vec<PlayerId> = absent.map(|(id, _)| *id).collect();
        for id in absent {
            let mode = self.mode(self.people[&id].mode);
            let (max_wait, rounds, now) = (mode.max_wait, mode.rounds, self.now);
            let (Some(wait), Some(person)) = (max_wait, self.people.get_mut(&id)) else { continue };
            if person.round < rounds && person.round_since + wait <= now {
                person.round += 1;
                person.round_since = now;
            }
        }
    }

    pub(super) fn judge_timed_out(&mut self, id: PlayerId, waited: Duration) -> Verdict {
        let was_told = self.moment.timed_out.remove(&id);
        let Some(person) = self.take_out(id) else {
            return demand(false, || format!("{id:?} times out and is not there"));
        };
        self.totals.timed_out += 1;
        self.tally.count("players timed out");
        let mode = self.mode(person.mode);
        let over = mode.max_wait.map(|wait| person.round_since + wait);
        let is_over = over.is_some_and(|over| over <= self.now);
        let is_told = was_told || person.connection.is_none();
        demand(is_over && is_told && self.now - person.joined_at == waited, || {
            format!("{id:?} {person:?} times out after {waited:?}")
        })
    }

    // ---- Parties ----

    pub(super) fn judge_party(
        &mut self,
        connection: ConnectionId,
        code: &str,
        size: usize,
    ) -> Verdict {
        let told = self.moment.parties_told.entry(code.to_owned()).or_default();
        let is_told_twice = !told.1.insert(connection);
        told.0 = size;
        self.rooms.entry(code.to_owned()).or_default().insert(connection);
        if let Some(
            Input::CreateParty { connection: asked, .. }
            | Input::JoinParty { connection: asked, .. },
        ) = &self.moment.input
        {
            self.moment.replies += usize::from(*asked == connection);
        }
        demand(!is_told_twice, || format!("{connection:?} is told twice of party {code}"))
    }

    /// Everybody in a party of which was told was told, and nobody else.
    pub(super) fn demand_parties_told(&self) -> Verdict {
        for (code, (size, told)) in &self.moment.parties_told {
            let room = self.rooms.get(code);
            demand(told.len() == *size && room == Some(told), || {
                format!("party {code} of {size}: {told:?} were told, and {room:?} are in it")
            })?;
        }
        Ok(())
    }

    // ---- Backfill ----

    pub(super) fn judge_backfilled(
        &mut self,
        match_id: MatchId,
        game: GameId,
        slots: &[usize],
        players: &[PlayerId],
    ) -> Verdict {
        let queue = self.queue_of_match(match_id);
        let all_wait = players.iter().all(|id| queue.contains(id));
        let Some(party) = self.parties.get_mut(&match_id) else {
            return demand(false, || format!("{match_id:?} is not there and filled"));
        };
        let is_played_there =
            matches!(party.stand, PartyStand::Assigned { game: its, .. } if its == game);
        let Some(process) = self.games.get_mut(&game) else {
            return demand(false, || format!("{game:?} is gone and filled"));
        };
        let all_open = slots.iter().all(|slot| process.open.remove(slot));
        let is_running = process.step == Step::Running;
        process.joined.retain(|slot| !slots.contains(slot));
        process.arrived.retain(|slot| !slots.contains(slot));
        process.present.retain(|slot| !slots.contains(slot));
        for (slot, id) in slots.iter().zip(players) {
            if let Some(before) = party.players.get_mut(*slot) {
                self.seated.remove(before);
                *before = *id;
            }
            if let Some(person) = self.people.get_mut(id) {
                person.party = Some(match_id);
            }
            self.moment.backfilled.insert(*id);
            // Who made room for others need not be told that it stands where it stood.
            self.moment.moved.remove(id);
        }
        self.tally.count("matches backfilled");
        let may = all_wait && all_open && is_running && is_played_there;
        demand(may && slots.len() == players.len(), || {
            format!("{match_id:?} in {game:?} gets {players:?} into {slots:?}")
        })
    }

    fn queue_of_match(&self, match_id: MatchId) -> Vec<PlayerId> {
        self.parties.get(&match_id).map_or_else(Vec::new, |party| self.queue(party.mode))
    }

    pub(super) fn judge_fill(&mut self, game: GameId, seats: &[Seat]) -> Verdict {
        let party = self.games.get(&game).and_then(|process| process.party);
        let party = party.and_then(|id| self.parties.get(&id));
        let fits = |seat: &Seat| {
            let id = party.and_then(|party| party.players.get(seat.slot));
            id.is_some_and(|id| {
                self.moment.backfilled.contains(id)
                    && self.people.get(id).is_some_and(|person| person.token == seat.token)
            })
        };
        demand(seats.iter().all(fits), || format!("{game:?} is told that {seats:?} come"))
    }

    /// A game that asks for a player has one, if there is any who waits alone and nothing else counts.
    pub(super) fn demand_open_slots_are_filled(&self) -> Verdict {
        for (id, process) in &self.games {
            let mode = self.mode(process.mode);
            let is_asking = process.step == Step::Running && !process.open.is_empty();
            let takes_anybody = mode.is_first_come_first_served() && self.is_serving();
            let waits = !self.queue(process.mode).is_empty();
            demand(!(is_asking && takes_anybody && waits), || {
                format!("{id:?} asks for players, and somebody waits")
            })?;
        }
        Ok(())
    }
}
