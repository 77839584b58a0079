//! The sweep over the matchmaker's invariants.

use std::collections::BTreeSet;

use machine::{Check, holds};

use crate::deadlines::Owner;
use crate::matches::{Match, MatchPhase};
use crate::matchmaker::{Matchmaker, Phase};
use crate::players::{Player, PlayerPhase};
use protocol::{MatchId, PlayerId};

impl Matchmaker {
    /// Looks at everything. Costs time proportional to all there is.
    ///
    /// # Errors
    /// The first violation.
    pub fn check_invariants(&self) -> Check {
        self.check_players()?;
        self.check_matches()?;
        self.check_modes()?;
        holds(self.parties.is_whole(), || "a party is not who its connections are".into())?;
        for (ticket, company) in &self.companies {
            let is_there =
                |id: &PlayerId| self.players.get(id).is_some_and(|player| player.ticket == *ticket);
            holds(company.len() > 1 && company.iter().all(is_there), || {
                format!("{ticket:?} is of {company:?}")
            })?;
        }
        self.check_accounts()?;
        self.check_deadlines()
    }

    /// What is charged is what there is, and nobody has more than it may.
    fn check_accounts(&self) -> Check {
        holds(self.conducts.are_whole(), || "the conduct of accounts is out of order".into())?;
        if !self.charges.are_counted {
            return Ok(());
        }
        holds(self.charges.agree_with(&self.charges_of_players()), || {
            format!("charged {:?}, and it is {:?}", self.charges, self.charges_of_players())
        })?;
        for (id, player) in &self.players {
            let may_owe = player.phase() != PlayerPhase::Queued && player.account.is_known();
            holds(may_owe || !player.owes_seat, || format!("{id:?} owes a seat that it has not"))?;
        }
        Ok(())
    }

    /// Each player is in exactly one place, and none is missing from the books.
    fn check_players(&self) -> Check {
        let (mut waiting, mut away) = (0, 0);
        for (id, player) in &self.players {
            let lineups = self.modes.iter().map(|mode| &mode.queue);
            let queued = lineups.filter(|queue| {
                queue.contains(player.ticket) && self.members(player.ticket).contains(id)
            });
            let matched = self.matches.iter().filter(|(_, m)| m.players.contains(id));
            let places = (queued.count(), matched.clone().count());
            let expected = if player.phase() == PlayerPhase::Queued { (1, 0) } else { (0, 1) };
            holds(places == expected, || {
                format!("{id:?} {player:?} is in {places:?} queues and matches")
            })?;
            self.check_presence(*id, player)?;
            let assigned = match player.phase() {
                PlayerPhase::Queued => false,
                PlayerPhase::Matched(m) | PlayerPhase::Assigned(m) => {
                    let phase = self.matches[&m].phase();
                    holds(matched.clone().all(|(found, _)| *found == m), || {
                        format!("{id:?} is in another match than {m:?}")
                    })?;
                    matches!(phase, MatchPhase::Assigned { .. })
                }
            };
            let says_assigned = matches!(player.phase(), PlayerPhase::Assigned(_));
            holds(assigned == says_assigned, || format!("{id:?} and its match disagree"))?;
            waiting += u64::from(!assigned);
            away += u64::from(!assigned && player.connection.is_none());
        }
        let connected = self.connections.len() as u64;
        holds(connected + away == waiting, || {
            format!("{connected} connections, {waiting} waiting, {away} of them away")
        })?;
        let sessions = (self.sessions.len(), self.players.len());
        holds(sessions.0 == sessions.1, || format!("{sessions:?} sessions and players"))?;
        let t = self.totals;
        let gone = t.assigned + t.left + t.expired + t.timed_out + t.evicted + t.refused;
        let accounted = waiting + gone;
        holds(t.joined == accounted, || {
            format!("{} joined, {accounted} accounted for: {t:?}", t.joined)
        })
    }

    /// Who is here speaks on its connection and has no window; who is away is queued and has one.
    fn check_presence(&self, id: PlayerId, player: &Player) -> Check {
        let mut away = self.modes[player.mode.0].queue.away();
        let is_passed_over = away.any(|(ticket, _)| ticket == player.ticket);
        let has_window = self.deadlines.of(Owner::Away(id)).is_some();
        let speaks = |connection| self.connections.get(&connection) == Some(&id);
        let agrees = match (player.phase(), player.connection) {
            (PlayerPhase::Assigned(_), connection) => connection.is_none() && !has_window,
            (PlayerPhase::Matched(_), None) => false,
            (PlayerPhase::Queued, None) => has_window && is_passed_over,
            (PlayerPhase::Queued, Some(connection)) => {
                let is_present = self.is_present(player.ticket) || !self.charges.are_counted;
                speaks(connection) && !has_window && is_passed_over != is_present
            }
            (PlayerPhase::Matched(_), Some(connection)) => speaks(connection) && !has_window,
        };
        holds(agrees, || format!("{id:?} {player:?}: here or away? window: {has_window}"))?;
        let found = self.sessions.candidates(&player.resume_key).any(|found| found == id);
        holds(found, || format!("{id:?} cannot be found by its key"))
    }

    fn check_matches(&self) -> Check {
        for (id, found) in &self.matches {
            let size = self.mode(found.mode).players;
            // Who has a game plays on, whatever has changed.
            let has_game =
                matches!(found.phase(), MatchPhase::Starting { .. } | MatchPhase::Assigned { .. });
            holds(found.players.len() == size || has_game, || {
                format!("{id:?} has {} players", found.players.len())
            })?;
            let tickets: Vec<_> = found.players.iter().map(|p| self.players[p].ticket).collect();
            let is_assigned = matches!(found.phase(), MatchPhase::Assigned { .. });
            let first = tickets.iter().min();
            // Others may have come into a match that is played.
            holds(is_assigned || first == Some(&found.ticket), || format!("{id:?}: {tickets:?}"))?;
            self.check_squads(*id, found)?;
            let tokens: BTreeSet<String> =
                found.players.iter().map(|p| self.players[p].token.to_string()).collect();
            holds(tokens.len() == found.players.len(), || {
                format!("{id:?} has players with one token")
            })?;
            let in_line = self.modes[found.mode.0].waiting.get(&found.ticket) == Some(id);
            let is_offered = matches!(found.phase(), MatchPhase::Offered { .. });
            let has_deadline = self.deadlines.of(Owner::Offer(*id)).is_some();
            holds(is_offered == has_deadline, || format!("{id:?} is offered: {is_offered}"))?;
            let is_waiting = found.phase() == MatchPhase::Placing;
            holds(in_line == is_waiting, || {
                format!("{id:?} {:?} in line: {in_line}", found.phase())
            })?;
        }
        Ok(())
    }

    /// A party is in one squad, until its match is played and others may come in.
    fn check_squads(&self, id: MatchId, found: &Match) -> Check {
        if matches!(found.phase(), MatchPhase::Assigned { .. }) {
            return Ok(());
        }
        let seated: usize = found.squads().map(|slots| slots.len()).sum();
        holds(seated == found.players.len(), || format!("{id:?}: its squads have {seated}"))?;
        for slots in found.squads() {
            let squad = &found.players[slots];
            for player in squad {
                let company = self.members(self.players[player].ticket);
                holds(company.iter().all(|mate| squad.contains(mate)), || {
                    format!("{id:?}: {company:?} are split over its squads")
                })?;
            }
        }
        Ok(())
    }

    fn check_modes(&self) -> Check {
        for mode in self.mode_ids() {
            let state = &self.modes[mode.0];
            let waits = |player: &&crate::players::Player| {
                player.mode == mode && !matches!(player.phase(), PlayerPhase::Assigned(_))
            };
            let waiting = self.players.values().filter(waits).count();
            holds(waiting == state.players_waiting, || {
                format!("{mode:?}: {waiting} players wait")
            })?;
            let serving = self.phase == Phase::Serving;
            let idle = !state.waiting.is_empty() && self.placements.mode(mode).warm > 0;
            holds(!(serving && idle), || format!("{mode:?}: a match waits beside a warm game"))?;
            let away = state.players_away;
            let kept = self.players.values().filter(|player| waits(player));
            holds(kept.filter(|player| player.connection.is_none()).count() == away, || {
                format!("{mode:?}: {away} players are away")
            })?;
            let enough = state.queue.present_players() >= self.mode(mode).players;
            let takes_all = self.mode(mode).is_first_come_first_served();
            holds(!(serving && enough && takes_all), || {
                format!("{mode:?}: players for a match are not matched")
            })?;
            for (id, open) in &state.open_matches {
                let phase = self.matches.get(id).map(|found| found.phase());
                let is_played = matches!(phase, Some(MatchPhase::Assigned { .. }));
                holds(is_played && !open.is_empty(), || format!("{id:?} is open and {phase:?}"))?;
            }
            for (ticket, id) in &state.waiting {
                let in_line = self.matches.get(id).map(|found| (found.phase(), found.ticket));
                let expected = Some((MatchPhase::Placing, *ticket));
                holds(in_line == expected, || {
                    format!("{id:?} in the line of {mode:?}: {in_line:?}")
                })?;
                let told = self.matches[id].told.is_some();
                holds(told || !serving, || format!("{id:?} waits and was not told what for"))?;
            }
        }
        Ok(())
    }

    /// Every deadline has an owner, everything that must not last has a deadline, and none is in the past.
    fn check_deadlines(&self) -> Check {
        for owner in self.deadlines.owners() {
            let exists = match owner {
                Owner::Away(id) | Owner::Wait(id) => self.players.contains_key(&id),
                Owner::Offer(id) | Owner::Arrivals(id) => self.matches.contains_key(&id),
                Owner::Windows(_) | Owner::Telling(_) | Owner::Pause(_) => true,
            };
            holds(exists, || format!("a deadline of {owner:?}, which is gone"))?;
        }
        Ok(())
    }
}
