//! Checks who is matched with whom, who has waited for too long, and who comes into a running match.

use std::collections::BTreeSet;
use std::time::Duration;

use brain::{ConnectionId, GameId, Input, MatchId, ModeId, PlayerId, PlayerInput};
use protocol::Seat;

use crate::model::{GamePhase, MatchModel, MatchPhase, Model, PlayerModel};
use crate::{CheckResult, check};

impl Model {
    pub(crate) fn check_formed(
        &mut self,
        match_id: MatchId,
        mode: ModeId,
        players: &[PlayerId],
    ) -> CheckResult {
        let is_new = self.last.match_id.replace(match_id) < Some(match_id);
        check(is_new && self.is_serving(), || format!("{match_id:?} is old, or comes too late"))?;
        self.check_lineup(match_id, mode, players)?;
        for id in players {
            if let Some(player) = self.players.get_mut(id) {
                player.match_id = Some(match_id);
                player.notified = None;
            }
            // A player who moves to another match needs no notice.
            self.context.moved.remove(id);
        }
        let rank = players.iter().map(|id| self.players[id].rank).min().unwrap_or_default();
        let until = self.mode(mode).accept_timeout.map(|span| self.now + span);
        let phase = until.map_or(MatchPhase::Waiting, |until| MatchPhase::Offered { until });
        let (formed_at, accepted) = (self.now, BTreeSet::new());
        let players = players.to_vec();
        let formed = MatchModel { mode, players, accepted, rank, formed_at, phase };
        self.matches.insert(match_id, formed);
        self.last_match_step = Some(self.now);
        self.tally.count("matches formed");
        Ok(())
    }

    /// Whether a player is the last of a match that waits for a game, and an earlier player waits outside of it.
    fn is_overtaken_by(&self, match_id: MatchId, player: PlayerId) -> bool {
        let Some(found) = self.matches.get(&match_id) else { return false };
        let last = found.players.last().and_then(|id| self.players.get(id));
        let Some(last) = last.filter(|_| found.players.last() == Some(&player)) else {
            return false;
        };
        let others = self.waiting_players(found.mode).into_iter();
        let is_other = |id: &PlayerId| self.players[id].match_id != Some(match_id);
        let came_before = others.filter(is_other).any(|id| self.players[&id].rank < last.rank);
        found.phase == MatchPhase::Waiting && came_before
    }

    pub(crate) fn check_dissolved(&mut self, match_id: MatchId, player: PlayerId) -> CheckResult {
        let is_of_another_size = self
            .matches
            .get(&match_id)
            .is_some_and(|found| found.players.len() != self.mode(found.mode).players);
        let went = self.context.went.contains(&(player, match_id)) || is_of_another_size;
        check(went || self.is_overtaken_by(match_id, player), || {
            format!("{match_id:?} is dissolved because of {player:?}, who did not leave")
        })?;
        let Some(found) = self.matches.remove(&match_id) else {
            return check(false, || format!("{match_id:?} is dissolved and does not exist"));
        };
        if let MatchPhase::Starting(game) = found.phase
            && let Some(process) = self.games.get_mut(&game).filter(|process| !process.is_alive)
        {
            // Its game is killed as soon as it exists.
            (process.phase, process.match_id) = (GamePhase::Ending, None);
            self.tally.count("matches dissolved before their game existed");
        }
        for id in found.players {
            // The player who left is in no match any more.
            let is_left = |player: &&mut PlayerModel| player.match_id == Some(match_id);
            if let Some(player) = self.players.get_mut(&id).filter(is_left) {
                player.match_id = None;
                player.asked = None;
                player.round_since = self.now;
                match went {
                    true => self.context.survivors.insert(id),
                    false => self.context.moved.insert(id),
                };
            }
        }
        self.tally.count("matches dissolved");
        Ok(())
    }

    /// A match has the first players of the queue. In modes with parties, teams or skill it has whole tickets of connected
    /// players, each in one squad, near in skill.
    pub(crate) fn check_lineup(
        &mut self,
        match_id: MatchId,
        mode: ModeId,
        players: &[PlayerId],
    ) -> CheckResult {
        let queue = self.queue(mode);
        let size = self.mode(mode).players;
        if self.mode(mode).is_first_come_first_served() {
            let first: Vec<PlayerId> = queue.into_iter().take(size).collect();
            return check(players.len() == size && first == players, || {
                format!("{match_id:?} takes {players:?}; the first in the queue are {first:?}")
            });
        }
        let distinct: BTreeSet<&PlayerId> = players.iter().collect();
        let all_wait = players.iter().all(|id| queue.contains(id));
        check(players.len() == size && distinct.len() == size && all_wait, || {
            format!("{match_id:?} takes {players:?}; in the queue are {queue:?}")
        })?;
        let mut first = 0;
        for size in self.mode(mode).squads() {
            let squad = &players[first..first + size];
            first += size;
            for id in squad {
                let mut mates = self.ticket_of(&self.players[id]);
                check(mates.all(|(mate, _)| squad.contains(mate)), || {
                    format!("{match_id:?} {players:?} splits the party of {id:?}")
                })?;
            }
        }
        self.check_skill(match_id, mode, players)
    }

    /// One of the tickets accepts the skills of all others: the match was made for it.
    fn check_skill(
        &mut self,
        match_id: MatchId,
        mode: ModeId,
        players: &[PlayerId],
    ) -> CheckResult {
        let Some(skill) = self.mode(mode).skill else { return Ok(()) };
        self.tally.count("matches by skill");
        let skill_of = |id: &PlayerId| self.skill_of(&self.players[id]);
        let accepts_all = |id: &PlayerId| {
            let waited = self.now - self.players[id].joined_at;
            let steps = waited.as_nanos() / skill.rules.widen_every.as_nanos().max(1);
            let widened = u128::from(skill.rules.widen_by) * steps;
            let window =
                (widened + u128::from(skill.rules.window)).min(skill.rules.window_max.into());
            players.iter().all(|other| u128::from(skill_of(id).abs_diff(skill_of(other))) <= window)
        };
        check(players.iter().any(accepts_all), || {
            format!("{match_id:?} {players:?} is too far apart for each of them")
        })
    }

    fn skill_of(&self, player: &PlayerModel) -> i32 {
        self.ticket_of(player).map(|(_, mate)| mate.skill).max().unwrap_or(player.skill)
    }

    // ---- Waiting for too long ----

    pub(crate) fn check_round_over(
        &mut self,
        connection: ConnectionId,
        waited: Duration,
        (round, rounds): (u32, u32),
    ) -> CheckResult {
        let now = self.now;
        let Some(id) = self.player_on(connection) else {
            return check(false, || {
                format!("{connection:?} has no player who waited for {waited:?}")
            });
        };
        let player = self.players[&id].clone();
        // Another member of the party may have been notified already.
        let is_noted = self.context.rounds_noted.contains(&(id, round));
        self.note_round_over(id, round, round < rounds);
        let mode = self.mode(player.mode);
        let over = mode.max_wait.map(|wait| player.round_since + wait);
        let is_right = player.match_id.is_none()
            && over.is_some_and(|over| is_noted || over <= now)
            && rounds == mode.rounds
            && now - player.joined_at == waited;
        check(is_right, || format!("{connection:?} {player:?} waited for {waited:?}, {round}"))
    }

    /// All players of the ticket begin the next round, or are timed out.
    fn note_round_over(&mut self, id: PlayerId, round: u32, continues: bool) {
        let mates = self.ticket_of(&self.players[&id]);
        let mates: Vec<PlayerId> = mates.map(|(id, _)| *id).collect();
        if !continues {
            self.context.timed_out.extend(mates);
            return;
        }
        for id in mates {
            let Some(player) = self.players.get_mut(&id) else { continue };
            if self.context.rounds_noted.insert((id, round)) {
                player.round += 1;
                player.round_since = self.now;
                self.tally.count("rounds over");
                if player.connection.is_some() {
                    self.context.rounds_over.insert(id);
                }
            }
        }
    }

    pub(crate) fn check_timed_out(&mut self, id: PlayerId, waited: Duration) -> CheckResult {
        let was_notified = self.context.timed_out.remove(&id);
        let Some(player) = self.take_out(id) else {
            return check(false, || format!("{id:?} times out and is not there"));
        };
        self.totals.timed_out += 1;
        self.tally.count("players timed out");
        let mode = self.mode(player.mode);
        let over = mode.max_wait.map(|wait| player.round_since + wait);
        let is_over = over.is_some_and(|over| over <= self.now);
        let is_notified = was_notified || player.connection.is_none();
        check(is_over && is_notified && self.now - player.joined_at == waited, || {
            format!("{id:?} {player:?} times out after {waited:?}")
        })
    }

    // ---- Parties ----

    pub(crate) fn check_party(
        &mut self,
        connection: ConnectionId,
        code: &str,
        size: usize,
    ) -> CheckResult {
        let notified = self.context.parties_notified.entry(code.to_owned()).or_default();
        let is_repeated = !notified.1.insert(connection);
        notified.0 = size;
        self.parties.entry(code.to_owned()).or_default().insert(connection);
        if let Some(
            Input::Player(PlayerInput::CreateParty { connection: asked, .. })
            | Input::Player(PlayerInput::JoinParty { connection: asked, .. }),
        ) = &self.context.input
        {
            self.context.replies += usize::from(*asked == connection);
        }
        check(!is_repeated, || format!("{connection:?} is notified twice of party {code}"))
    }

    /// All members of a party that changed were notified, and no others.
    pub(crate) fn check_parties_notified(&self) -> CheckResult {
        for (code, (size, notified)) in &self.context.parties_notified {
            let party = self.parties.get(code);
            check(notified.len() == *size && party == Some(notified), || {
                format!(
                    "party {code} of {size}: {notified:?} were notified, and {party:?} are in it"
                )
            })?;
        }
        Ok(())
    }

    // ---- Backfill ----

    pub(crate) fn check_backfilled(
        &mut self,
        match_id: MatchId,
        game: GameId,
        slots: &[usize],
        players: &[PlayerId],
    ) -> CheckResult {
        let queue = self.queue_of_match(match_id);
        let all_wait = players.iter().all(|id| queue.contains(id));
        let Some(found) = self.matches.get_mut(&match_id) else {
            return check(false, || format!("{match_id:?} is not there and filled"));
        };
        let is_played_there =
            matches!(found.phase, MatchPhase::Assigned { game: its, .. } if its == game);
        let Some(process) = self.games.get_mut(&game) else {
            return check(false, || format!("{game:?} is gone and filled"));
        };
        let all_open = slots.iter().all(|slot| process.open.remove(slot));
        let is_running = process.phase == GamePhase::Running;
        process.joined.retain(|slot| !slots.contains(slot));
        process.arrived.retain(|slot| !slots.contains(slot));
        process.present.retain(|slot| !slots.contains(slot));
        for (slot, id) in slots.iter().zip(players) {
            if let Some(before) = found.players.get_mut(*slot) {
                self.assigned.remove(before);
                *before = *id;
            }
            if let Some(player) = self.players.get_mut(id) {
                player.match_id = Some(match_id);
            }
            self.context.backfilled.insert(*id);
            // A player who made room for others needs no notice that they are requeued.
            self.context.moved.remove(id);
        }
        self.tally.count("matches backfilled");
        let may = all_wait && all_open && is_running && is_played_there;
        check(may && slots.len() == players.len(), || {
            format!("{match_id:?} in {game:?} gets {players:?} into {slots:?}")
        })
    }

    fn queue_of_match(&self, match_id: MatchId) -> Vec<PlayerId> {
        self.matches.get(&match_id).map_or_else(Vec::new, |found| self.queue(found.mode))
    }

    pub(crate) fn check_fill(&mut self, game: GameId, seats: &[Seat]) -> CheckResult {
        let found = self.games.get(&game).and_then(|process| process.match_id);
        let found = found.and_then(|id| self.matches.get(&id));
        let fits = |seat: &Seat| {
            let id = found.and_then(|found| found.players.get(seat.slot));
            id.is_some_and(|id| {
                self.context.backfilled.contains(id)
                    && self.players.get(id).is_some_and(|player| player.token == seat.token)
            })
        };
        check(seats.iter().all(fits), || format!("{game:?} gets {seats:?}"))
    }

    /// A game that wants a player gets one, in a mode that is first come first served.
    pub(crate) fn check_open_slots_are_filled(&self) -> CheckResult {
        for (id, process) in &self.games {
            let mode = self.mode(process.mode);
            let is_asking = process.phase == GamePhase::Running && !process.open.is_empty();
            let takes_anybody = mode.is_first_come_first_served() && self.is_serving();
            let waits = !self.queue(process.mode).is_empty();
            check(!(is_asking && takes_anybody && waits), || {
                format!("{id:?} wants players, and a player waits")
            })?;
        }
        Ok(())
    }
}
