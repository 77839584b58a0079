//! What must hold after every input, whatever it was.

use std::time::Duration;

use super::book::{Book, Party, PartyStand, Process, Step};
use super::{Flaw, Verdict, Witness, demand};
use matchmaker::Input;
use matchmaker::Matchmaker;
use matchmaker::limits;
use matchmaker::{GameId, ModeId, PlayerId};

impl Book {
    /// Demands what must hold once all actions of an input are out.
    pub(super) fn finish(&mut self, brain: &Matchmaker) -> Verdict {
        self.note_surplus();
        self.note_missing();
        self.demand_answers()?;
        self.demand_people_are_somewhere()?;
        self.demand_matches_are_served()?;
        self.demand_games_are_owned()?;
        self.demand_open_slots_are_filled()?;
        for mode in self.mode_ids() {
            self.demand_supply(mode)?;
        }
        self.demand_refill_is_awaited(brain)?;
        self.demand_agreement(brain)
    }

    fn note_surplus(&mut self) {
        for mode in self.mode_ids() {
            let is_surplus = self.is_serving() && self.surplus(mode) > 0;
            let since = self.surplus_since[mode.0].unwrap_or(self.now);
            self.surplus_since[mode.0] = is_surplus.then_some(since);
        }
    }

    fn note_missing(&mut self) {
        let since = self.missing_since.unwrap_or(self.now);
        self.missing_since = self.is_warm_game_missing().then_some(since);
    }

    /// What this input asked for has come.
    fn demand_answers(&self) -> Verdict {
        let moment = &self.moment;
        let asks = matches!(
            moment.input,
            Some(
                Input::Ready { .. }
                    | Input::ReadyParty { .. }
                    | Input::CreateParty { .. }
                    | Input::JoinParty { .. }
                    | Input::LeaveParty { .. }
                    | Input::Resume { .. }
                    | Input::Leave { .. }
                    | Input::Answer { .. }
            )
        );
        demand(moment.replies == usize::from(asks), || format!("{} answers", moment.replies))?;
        demand(moment.actions <= moment.actions_max, || format!("{} actions", moment.actions))?;
        demand(moment.survivors.is_empty(), || {
            format!("{:?} lost their match and were told nothing", moment.survivors)
        })?;
        demand(moment.moved.is_empty(), || {
            format!("{:?} made room and are nowhere", moment.moved)
        })?;
        let unheard = (moment.evicted.first(), moment.replaced);
        demand(unheard == (None, None), || format!("{unheard:?} were told nothing"))?;
        let unheard = moment.rounds_over.iter().chain(&moment.timed_out).chain(&moment.backfilled);
        let unheard = unheard.chain(&moment.resized).next();
        demand(unheard.is_none(), || format!("{unheard:?} has waited and was told nothing"))?;
        self.demand_parties_told()?;
        demand(moment.result_due.is_none(), || {
            format!("lost the result: {:?}", moment.result_due)
        })?;
        demand(moment.end_due.is_none(), || format!("lost the end of {:?}", moment.end_due))?;
        demand(moment.game_end_due.is_none(), || {
            format!("not reported: {:?}", moment.game_end_due)
        })?;
        demand(moment.return_due.is_none(), || format!("lost port {:?}", moment.return_due))?;
        if let Some((game, from)) = moment.moves_on.filter(|(_, from)| *from != Step::Ending) {
            let step = self.games.get(&game).map(|process| process.step);
            demand(step != Some(from), || format!("{game:?} spoke and is still {from:?}"))?;
        }
        Ok(())
    }

    fn demand_people_are_somewhere(&self) -> Verdict {
        for (id, person) in &self.people {
            let Some(party) = person.party else { continue };
            let is_seated = self.parties.get(&party).is_some_and(|party| {
                party.players.contains(id) && !matches!(party.stand, PartyStand::Assigned { .. })
            });
            demand(is_seated && person.connection.is_some(), || {
                format!("{id:?} {person:?} is in no match that waits, or is away")
            })?;
        }
        let size = |mode: ModeId| self.mode(mode).players;
        let takes_all = |mode: &ModeId| self.mode(*mode).is_first_come_first_served();
        let is_short = |mode: &ModeId| !takes_all(mode) || self.queue(*mode).len() < size(*mode);
        let all_matched = self.mode_ids().all(|mode| is_short(&mode));
        demand(all_matched || !self.is_serving(), || "enough players wait for a match".into())?;
        let queued = self.people.values().filter(|person| person.party.is_none()).count();
        demand(self.is_serving() || queued == 0, || "somebody is queued while draining".into())
    }

    fn demand_matches_are_served(&self) -> Verdict {
        for (id, party) in &self.parties {
            let game = match party.stand {
                PartyStand::Offered { .. } => {
                    let is_asked = |player| self.people[player].asked == Some(*id);
                    let all_asked = party.players.iter().all(is_asked);
                    demand(all_asked && self.is_serving(), || format!("{id:?} is not offered"))?;
                    continue;
                }
                PartyStand::Waiting => {
                    demand(self.is_serving(), || format!("{id:?} waits while draining"))?;
                    let is_told =
                        party.players.iter().all(|player| self.people[player].told.is_some());
                    demand(is_told, || format!("{id:?} waits and was not told what for"))?;
                    continue;
                }
                PartyStand::Starting(game) => {
                    let all_here = party.players.iter().all(|id| self.people.contains_key(id));
                    demand(all_here, || format!("{id:?} starts without all of its players"))?;
                    self.demand_seated_are_told(party, game)?;
                    game
                }
                PartyStand::Assigned { game, .. } => {
                    let told = !party.players.iter().any(|player| {
                        self.people.get(player).is_some_and(|person| person.party == Some(*id))
                    });
                    demand(told, || format!("{id:?} is played and not all were told"))?;
                    game
                }
            };
            let plays = self.games.get(&game).and_then(|process| process.party);
            demand(plays == Some(*id), || format!("{id:?} is in {game:?}, which has {plays:?}"))?;
        }
        Ok(())
    }

    /// Players who are seated in a game that is launched know that it is.
    fn demand_seated_are_told(&self, party: &Party, game: GameId) -> Verdict {
        let is_seated = self.games.get(&game).is_some_and(|process| process.is_seated);
        // What changes within a moment is not told.
        let knows = |id: &PlayerId| self.people[id].told.is_some();
        demand(!is_seated || party.players.iter().all(knows), || {
            format!("{party:?} is seated in {game:?} and was not told")
        })
    }

    fn demand_games_are_owned(&self) -> Verdict {
        for (id, process) in &self.games {
            let is_on_its_way = process.is_killed || process.stopped_at.is_some();
            let is_left_alone = process.step == Step::Ending && process.is_alive && !is_on_its_way;
            demand(!is_left_alone, || format!("{id:?} should end and was told nothing"))?;
            let stands = process.party.and_then(|id| self.parties.get(&id)).map(|p| p.stand);
            let agrees = match stands {
                None => process.party.is_none(),
                Some(PartyStand::Starting(game)) => game == *id && process.step == Step::Starting,
                Some(PartyStand::Assigned { game, .. }) => game == *id,
                Some(PartyStand::Offered { .. } | PartyStand::Waiting) => false,
            };
            demand(agrees, || format!("{id:?} {process:?} plays a match that is {stands:?}"))?;
        }
        Ok(())
    }

    /// Whoever can have a game has one, or one is coming.
    fn demand_supply(&self, mode: ModeId) -> Verdict {
        if !self.is_serving() {
            return Ok(());
        }
        let is_idle = !self.line(mode).is_empty() && self.games_at(mode, Step::Warm) > 0;
        demand(!is_idle, || format!("a match of {mode:?} waits beside a warm game"))?;
        let can_launch = self.free_ports() > 0 && self.launching() < self.config.launching_max;
        demand(!(can_launch && self.first_in_need().is_some()), || {
            "a match needs a game, a port is free, and nothing is launched".into()
        })?;
        let is_time = self.is_quiet() || self.is_refill_overdue();
        let is_bounded = self.refills_ordered() < limits::REFILLS_ORDERED_MAX;
        let can_refill = can_launch && is_bounded && is_time;
        demand(!(can_refill && self.lacks_warm(mode)), || {
            format!("{mode:?} is to have a warm game, a port is free, and nothing is launched")
        })
    }

    /// While a warm game is held back, the brain asks to be woken by the time at which it may be launched.
    fn demand_refill_is_awaited(&self, brain: &Matchmaker) -> Verdict {
        let Some(since) = self.missing_since else { return Ok(()) };
        if self.is_quiet() || self.is_refill_overdue() {
            return Ok(());
        }
        let quiet_from = self.last_match_step.map(|at| at + limits::REFILL_PAUSE);
        let due = quiet_from.into_iter().chain([since + limits::REFILL_DELAY_MAX]).min();
        let next = brain.next_deadline();
        demand(next.is_some() && next <= due, || {
            format!("a warm game may be launched at {due:?}, and the brain waits for {next:?}")
        })
    }

    /// The brain counts what the book counts.
    fn demand_agreement(&self, brain: &Matchmaker) -> Verdict {
        let totals = brain.totals();
        demand(totals == self.totals, || format!("{totals:?}, and it was {:?}", self.totals))?;
        let t = self.totals;
        let gone = t.assigned + t.left + t.expired + t.timed_out + t.evicted + t.refused;
        let accounted = self.people.len() as u64 + gone;
        demand(t.joined == accounted, || format!("{t:?} and {} waiting", self.people.len()))?;
        let is_over = !self.is_serving() && self.games.is_empty();
        demand(self.is_drained == is_over, || "no game is left, and no word of it".into())?;
        for mode in self.mode_ids() {
            let status = brain.mode_status(mode);
            let of_mode = || self.people.values().filter(|person| person.mode == mode);
            let waiting = of_mode().filter(|person| person.connection.is_some()).count();
            let away = of_mode().count() - waiting;
            let games = self.games.values().filter(|process| process.mode == mode).count();
            let counted = (waiting, away, games, self.free_ports());
            let kept = (status.waiting, status.away, status.games, status.ports_free);
            demand(counted == kept, || format!("{mode:?}: {kept:?}, and it is {counted:?}"))?;
        }
        Ok(())
    }

    /// Nothing lasts longer than it may. To be demanded when time has passed and the brain was told so.
    pub(super) fn demand_nothing_overdue(&self) -> Verdict {
        self.demand_nobody_overstays()?;
        for mode in self.mode_ids() {
            let since = self.surplus_since[mode.0];
            demand(since.is_none_or(|since| since + limits::SURPLUS_PAUSE > self.now), || {
                format!("{mode:?} has {} warm games too many since {since:?}", self.surplus(mode))
            })?;
        }
        for (id, process) in &self.games {
            let due = self.due(process);
            demand(due.is_none_or(|due| due > self.now), || {
                format!("{id:?} {process:?} should have been dealt with at {due:?}")
            })?;
            let must_end = self.draining_since.map(|since| since + self.config.drain_timeout);
            let is_late =
                must_end.is_some_and(|end| end <= self.now && process.step != Step::Ending);
            demand(!is_late, || format!("{id:?} plays on after the drain"))?;
        }
        Ok(())
    }

    /// When something has to be done about a game that does nothing.
    fn due(&self, process: &Process) -> Option<Duration> {
        let mode = self.mode(process.mode);
        match process.step {
            Step::Launching => Some(process.since + mode.ready_timeout),
            Step::Warm => None,
            Step::Starting if process.is_seated => {
                let since_ready = process.ready_at.map(|at| at + mode.start_timeout);
                since_ready.or(Some(process.since + mode.ready_timeout))
            }
            Step::Starting => Some(process.since + mode.start_timeout),
            Step::Running => {
                let end = process.told_at.map(|at| at + mode.max_duration);
                let silence = mode.alive_timeout.map(|silence| process.since + silence);
                end.into_iter().chain(silence).min()
            }
            Step::Ending if process.is_killed => Some(process.killed_at + limits::KILL_AGAIN_AFTER),
            Step::Ending if process.is_terminated => {
                process.stopped_at.map(|at| at + mode.stop_grace)
            }
            Step::Ending => process.stopped_at.map(|at| at + mode.stop_grace / 2),
        }
    }
}

/// Asks the brain's own sweep.
pub(super) fn sweep(brain: &Matchmaker) -> Verdict {
    brain
        .check_invariants()
        .map_err(|violation| Flaw { seen_by: Witness::Sweep, what: violation.to_string() })
}
