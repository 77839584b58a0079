//! Judges what is done with games and ports.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::Seat;

use super::book::{Book, Party, PartyStand, Process, Step};
use super::{Verdict, demand};
use matchmaker::limits;
use matchmaker::{Event, Exit, GameFault, Input, LaunchFault, MatchEnd, SeatedMatch};
use matchmaker::{GameId, MatchId, ModeId};

impl Book {
    pub(super) fn judge_launch(
        &mut self,
        game: GameId,
        mode: ModeId,
        port: u16,
        seated: Option<&SeatedMatch>,
    ) -> Verdict {
        let is_new = self.last_game.replace(game) < Some(game);
        demand(is_new && self.is_serving(), || format!("{game:?} is old, or comes too late"))?;
        self.judge_lease(game, port)?;
        demand(self.launching() < self.config.launching_max, || "too many games launching".into())?;
        demand(self.may_launch(mode), || format!("{mode:?} is launched in its pause"))?;
        let first = self.first_in_need();
        let is_first = first.map_or(self.lacks_warm(mode), |first| first == mode);
        demand(is_first, || format!("{game:?} is launched for {mode:?}, not for {first:?}"))?;
        let is_refill = first.is_none();
        demand(!is_refill || self.refills_ordered() < limits::REFILLS_ORDERED_MAX, || {
            format!("{game:?} is to be warm, and too many such are not made yet")
        })?;
        if is_refill {
            self.judge_refill_time(game)?;
        } else {
            self.last_match_step = Some(self.now);
        }
        if is_refill && self.games_at(mode, Step::Warm) >= self.mode(mode).warm_min {
            self.tally.count("games launched for a busy time");
        }
        let must_seat = first.is_some();
        demand(must_seat == seated.is_some(), || format!("{game:?} is launched with {seated:?}"))?;
        let process = Process {
            mode,
            port,
            is_alive: false,
            step: if seated.is_some() { Step::Starting } else { Step::Launching },
            since: self.now,
            told_at: None,
            party: seated.map(|seated| seated.match_id),
            ordered_at: self.now,
            is_refill,
            is_seated: seated.is_some(),
            ready_at: None,
            joined: Vec::new(),
            present: BTreeSet::new(),
            arrived: BTreeSet::new(),
            open: BTreeSet::new(),
            has_result: false,
            stopped_at: None,
            is_terminated: false,
            is_killed: false,
            killed_at: Duration::ZERO,
            is_mute: false,
            is_stubborn: false,
        };
        self.games.insert(game, process);
        self.tally.count("games launched");
        let Some(SeatedMatch { match_id, seats }) = seated else { return Ok(()) };
        self.tally.count("games launched with their players");
        self.judge_seats(game, mode, *match_id, seats)
    }

    /// A game that nobody waits for is launched in a quiet moment, or when there was none for long.
    fn judge_refill_time(&mut self, game: GameId) -> Verdict {
        let is_quiet = self.is_quiet();
        self.tally.count(match is_quiet {
            true => "games launched in a quiet moment",
            false => "games launched though matches come",
        });
        demand(is_quiet || self.is_refill_overdue(), || {
            let (step, since) = (self.last_match_step, self.missing_since);
            format!(
                "{game:?} is to be warm; a match took a step at {step:?}, missing since {since:?}"
            )
        })
    }

    fn judge_lease(&self, game: GameId, port: u16) -> Verdict {
        demand(self.config.ports.contains(&port), || format!("{port} is no port of the ring"))?;
        let holder = self.games.iter().find(|(_, process)| process.port == port);
        demand(holder.is_none(), || {
            format!("{port} goes to {game:?} while {holder:?} lives on it")
        })?;
        demand(!self.resting.contains_key(&port), || format!("{port} has not rested"))
    }

    pub(super) fn judge_start(
        &mut self,
        game: GameId,
        mode: ModeId,
        match_id: MatchId,
        seats: &[Seat],
    ) -> Verdict {
        self.judge_seats(game, mode, match_id, seats)?;
        let now = self.now;
        self.last_match_step = Some(now);
        let Some(process) = self.games.get_mut(&game) else {
            return demand(false, || format!("{game:?} is gone and sent players"));
        };
        let before = process.clone();
        process.step = Step::Starting;
        process.since = now;
        process.party = Some(match_id);
        demand(before.step == Step::Warm && before.mode == mode, || {
            format!("{game:?} {before:?} is sent players of {mode:?}")
        })
    }

    /// A game gets exactly the players who came first of all who wait in its mode.
    fn judge_seats(
        &mut self,
        game: GameId,
        mode: ModeId,
        match_id: MatchId,
        seats: &[Seat],
    ) -> Verdict {
        let mut first = self.waiting_people(mode);
        first.truncate(self.mode(mode).players);
        let first_rank = self.line(mode).first().copied();
        let is_agreed = !self.mode(mode).is_first_come_first_served();
        let Some(party) = self.parties.get_mut(&match_id) else {
            return demand(false, || format!("{match_id:?} is started and not there"));
        };
        // Who fits together stays together, and who has agreed, whoever came back since.
        let is_first = match is_agreed {
            true => first_rank == Some(party.rank),
            false => party.players == first,
        };
        demand(party.stand == PartyStand::Waiting && is_first, || {
            format!("{match_id:?} {party:?} is started; those who came first are {first:?}")
        })?;
        party.stand = PartyStand::Starting(game);
        let party = party.clone();
        let seats_fit = self.seats_fit(&party, seats);
        demand(seats_fit, || format!("{match_id:?} {party:?} is started with {seats:?}"))
    }

    fn seats_fit(&self, party: &Party, seats: &[Seat]) -> bool {
        let fits = |(slot, seat): (usize, &Seat)| {
            let person = party.players.get(slot).and_then(|id| self.people.get(id));
            seat.slot == slot && person.is_some_and(|person| person.token == seat.token)
        };
        seats.len() == party.players.len() && seats.iter().enumerate().all(fits)
    }

    pub(super) fn judge_stop(&mut self, game: GameId, grace: Duration) -> Verdict {
        self.judge_ask_to_end(game, grace, false)
    }

    fn judge_ask_to_end(&mut self, game: GameId, grace: Duration, is_by_signal: bool) -> Verdict {
        let (now, is_serving) = (self.now, self.is_serving());
        let Some(process) = self.games.get_mut(&game) else {
            return demand(false, || format!("{game:?} is gone and told to stop"));
        };
        let before = process.clone();
        process.step = Step::Ending;
        process.stopped_at = Some(now);
        let may = before.is_alive && before.stopped_at.is_none() && !before.is_killed;
        demand(may, || format!("{game:?} {before:?} is told to stop"))?;
        let mode = self.mode(before.mode);
        demand(grace == mode.stop_grace, || format!("a grace of {grace:?}"))?;
        demand(mode.has_control != is_by_signal, || {
            format!("{game:?} is stopped by a signal: {is_by_signal}")
        })?;
        self.tally.count("games stopped");
        if is_serving && before.step == Step::Warm && !self.is_ended_by_an_operator(game) {
            self.judge_stop_of_warm(game, before.mode)?;
        }
        self.release_party(game, before.step);
        Ok(())
    }

    /// A warm game is stopped because there have been too many for a while, or because its port is needed.
    fn judge_stop_of_warm(&mut self, game: GameId, mode: ModeId) -> Verdict {
        let oldest =
            self.games.iter().find(|(_, other)| (other.mode, other.step) == (mode, Step::Warm));
        demand(oldest.is_none_or(|(oldest, _)| *oldest > game), || {
            format!("{game:?} is stopped before the older {oldest:?}")
        })?;
        // The game itself counts no longer.
        let warm = self.games_at(mode, Step::Warm) + 1;
        let since = self.surplus_since[mode.0];
        let is_due = since.is_some_and(|since| since + limits::SURPLUS_PAUSE <= self.now);
        if is_due && warm > self.warm_wanted(mode) {
            self.surplus_since[mode.0] = Some(self.now);
            self.tally.count("surplus games stopped");
            return Ok(());
        }
        self.tally.count("warm games reclaimed");
        let is_needed = self.first_in_need().is_some() && self.free_ports() == 0;
        demand(is_needed, || format!("{game:?} is warm and stopped for nobody"))
    }

    pub(super) fn judge_terminate(&mut self, game: GameId) -> Verdict {
        let of_a_mode = self.games.get(&game).map(|process| self.mode(process.mode));
        let grace = of_a_mode.filter(|mode| !mode.has_control).map(|mode| mode.stop_grace);
        if let Some(grace) = grace {
            // It hears nothing else: this is how it is asked.
            self.judge_ask_to_end(game, grace, true)?;
        }
        let Some(process) = self.games.get_mut(&game) else {
            return demand(false, || format!("{game:?} is gone and sent SIGTERM"));
        };
        let may = process.stopped_at.is_some() && !process.is_terminated && !process.is_killed;
        process.is_terminated = true;
        self.tally.count("games terminated");
        demand(may, || format!("{game:?} is sent SIGTERM out of turn"))
    }

    pub(super) fn judge_kill(&mut self, game: GameId) -> Verdict {
        let Some(process) = self.games.get_mut(&game) else {
            return demand(false, || format!("{game:?} is gone and killed"));
        };
        let before = process.clone();
        process.step = Step::Ending;
        process.is_killed = true;
        process.killed_at = self.now;
        self.tally.count("games killed");
        if before.step == Step::Starting && !self.moment.went.is_empty() {
            self.tally.count("games killed because a player went");
        }
        self.release_party(game, before.step);
        let is_due = before.killed_at + limits::KILL_AGAIN_AFTER <= self.now;
        let may = before.is_alive && (!before.is_killed || is_due);
        demand(may, || format!("{game:?} {before:?} is killed"))
    }

    /// A game will not start its match: the match waits again.
    fn release_party(&mut self, game: GameId, before: Step) {
        if before != Step::Starting {
            return;
        }
        let party = self.games.get_mut(&game).and_then(|process| process.party.take());
        if let Some(party) = party {
            self.take_back(party);
        }
    }

    pub(super) fn judge_game_event(&mut self, event: &Event) -> Verdict {
        match event {
            Event::MatchAssigned { match_id, mode, game, port, waited } => {
                self.judge_assigned(*match_id, (*mode, *game, *port), *waited)
            }
            Event::PlayerJoined { match_id, slot } => self.judge_presence(*match_id, *slot, true),
            Event::PlayerLeft { match_id, slot } => self.judge_presence(*match_id, *slot, false),
            Event::MatchResult { match_id, game, .. } => {
                let due = self.moment.result_due.take();
                self.tally.count("results");
                demand(due == Some(*match_id), || format!("a result of {game:?} not due: {due:?}"))
            }
            Event::MatchEnded { match_id, game, end, lasted, .. } => {
                self.judge_ended(*match_id, *game, *end, *lasted)
            }
            Event::GameWarm { game, .. } => self.judge_warm(*game),
            Event::GameFailed { game, mode, fault, retry_in } => {
                self.judge_failed(*game, *mode, fault, *retry_in)
            }
            Event::GameStopping { game, .. } => {
                let is_there = self.games.contains_key(game);
                demand(is_there, || format!("{game:?} is gone and stopping"))
            }
            Event::GameEnded { .. } => self.judge_game_ended(event),
            Event::PortBusy { port, .. } => {
                let is_busy = self.moment.ended.as_ref().is_some_and(|(_, p)| p.port == *port);
                demand(is_busy, || format!("{port} is not busy"))
            }
            Event::PortReturned { port, rest } => {
                // A game that failed may have failed because of its port.
                let ended = self.moment.ended.as_ref();
                let has_failed = ended.is_some_and(|(_, process)| process.told_at.is_none());
                if has_failed && !rest.is_zero() && *rest <= limits::SUSPECT_PORT_REST_MAX {
                    self.resting.insert(*port, self.now + *rest);
                    self.tally.count("ports suspected");
                }
                let until = self.resting.get(port).copied().unwrap_or(self.now);
                let due = self.moment.return_due.take();
                demand(due == Some(*port) && self.now + *rest == until, || {
                    format!("port {port} returns for {rest:?}; due is {due:?} at {until:?}")
                })
            }
            Event::PlayerAssigned { .. }
            | Event::PlayerAway { .. }
            | Event::PlayerReturned { .. }
            | Event::PlayerExpired { .. }
            | Event::PlayerTimedOut { .. }
            | Event::PlayerEvicted { .. }
            | Event::AccountPaused { .. }
            | Event::MatchBackfilled { .. }
            | Event::MatchFormed { .. }
            | Event::MatchDissolved { .. }
            | Event::Draining { .. } => Ok(()),
        }
    }

    fn judge_assigned(
        &mut self,
        match_id: MatchId,
        its_game: (ModeId, GameId, u16),
        waited: Duration,
    ) -> Verdict {
        let (mode, game, port) = its_game;
        let said = self.moment.input == Some(Input::GameStarted { game });
        demand(said, || format!("{match_id:?} is assigned before {game:?} said that it started"))?;
        let now = self.now;
        let Some(process) = self.games.get_mut(&game) else {
            return demand(false, || format!("{game:?} is gone and assigned"));
        };
        let may = process.step == Step::Starting && process.party == Some(match_id);
        let agrees = (process.mode, process.port) == (mode, port);
        demand(may && agrees, || format!("{match_id:?} is assigned to {game:?} {process:?}"))?;
        process.step = Step::Running;
        process.since = now;
        process.told_at = Some(now);
        self.last_match_step = Some(now);
        if self.early_ends[mode.0] < limits::EARLY_ENDS_MAX {
            self.retry_at[mode.0] = None;
            self.failing[mode.0] = false;
        } else {
            self.heals_at[mode.0] = Some(now + limits::MATCH_MIN);
        }
        let Some(party) = self.parties.get_mut(&match_id) else {
            return demand(false, || format!("{match_id:?} is assigned and not there"));
        };
        party.stand = PartyStand::Assigned { game, since: now };
        self.tally.count("matches assigned");
        demand(now - party.formed_at == waited, || format!("{match_id:?} waited {waited:?}?"))
    }

    fn judge_presence(&self, match_id: MatchId, slot: usize, joined: bool) -> Verdict {
        let Some(PartyStand::Assigned { game, .. }) = self.parties.get(&match_id).map(|p| p.stand)
        else {
            return demand(false, || format!("somebody is in {match_id:?}, which is not played"));
        };
        let said = match joined {
            true => Input::GameJoined { game, slot },
            false => Input::GameLeft { game, slot },
        };
        let is_seat = slot < self.parties[&match_id].players.len();
        demand(is_seat && self.moment.input == Some(said), || {
            format!("nobody came to or left slot {slot} of {match_id:?}")
        })
    }

    fn judge_ended(
        &mut self,
        match_id: MatchId,
        game: GameId,
        end: MatchEnd,
        lasted: Duration,
    ) -> Verdict {
        let due = self.moment.end_due.take();
        let Some((ended, process)) = &self.moment.ended else {
            return demand(false, || format!("{match_id:?} ends and {game:?} lives"));
        };
        let (exit, was_stopped) = match end {
            MatchEnd::Finished(exit) => (exit, false),
            MatchEnd::Stopped(exit) => (exit, true),
        };
        let agrees = *ended == game && was_stopped == (process.step == Step::Ending);
        demand(due == Some((match_id, exit)) && agrees, || {
            format!("{match_id:?} of {game:?} {process:?} ends with {end:?}; due was {due:?}")
        })?;
        let (told_at, mode) = (process.told_at, process.mode);
        let has_died =
            matches!(exit, Exit::Signal(_)) || matches!(exit, Exit::Status(it) if it != 0);
        let is_early = !was_stopped && !process.has_result && has_died;
        if is_early && lasted < limits::MATCH_MIN {
            self.early_ends[mode.0] += 1;
            self.heals_at[mode.0] = None;
        } else {
            self.note_good_match(mode);
        }
        for id in self.parties.remove(&match_id).into_iter().flat_map(|party| party.players) {
            self.seated.remove(&id);
        }
        self.tally.count("matches ended");
        demand(told_at == Some(self.now.saturating_sub(lasted)), || {
            format!("{match_id:?} was told at {told_at:?} and lasted {lasted:?}")
        })
    }

    fn judge_game_ended(&mut self, event: &Event) -> Verdict {
        let Event::GameEnded { game, mode, match_id, exit, lived, joined } = event else {
            return Ok(());
        };
        let due = self.moment.game_end_due.take();
        let said = (*game, *match_id, *exit, joined.clone());
        demand(due.as_ref() == Some(&said), || format!("{said:?} is reported; due is {due:?}"))?;
        demand(self.moment.end_due.is_none(), || format!("{game:?} ends before its match"))?;
        let ended = self.moment.ended.as_ref().map(|(_, process)| process);
        let agrees = ended.is_some_and(|process| {
            process.mode == *mode && process.ordered_at + *lived == self.now
        });
        if !joined.is_empty() {
            self.tally.count("games ended that players came into");
        }
        demand(agrees, || format!("{game:?} {ended:?} lived {lived:?}?"))
    }

    fn judge_warm(&mut self, game: GameId) -> Verdict {
        let said = self.moment.input == Some(Input::GameReady { game });
        let now = self.now;
        let Some(process) = self.games.get_mut(&game) else {
            return demand(false, || format!("{game:?} is gone and warm"));
        };
        let may = said && process.step == Step::Launching && process.is_alive;
        demand(may, || format!("{game:?} {process:?} is warm"))?;
        process.step = Step::Warm;
        process.since = now;
        self.launch_took[process.mode.0] = now - process.ordered_at;
        self.tally.count("games warm");
        Ok(())
    }

    fn judge_failed(
        &mut self,
        game: GameId,
        mode: ModeId,
        fault: &GameFault,
        retry_in: Duration,
    ) -> Verdict {
        if !retry_in.is_zero() {
            self.retry_at[mode.0] = Some(self.now + retry_in);
            self.failing[mode.0] = true;
            self.tally.count("pauses");
        }
        let fault_of_none = Some(Input::LaunchFailed { game, fault: LaunchFault::Interrupted })
            == self.moment.input;
        demand(!fault_of_none, || format!("{game:?} was not launched, and is blamed for it"))?;
        let ended = self.moment.ended.as_ref().filter(|(ended, _)| *ended == game);
        let failed = self.games.get_mut(&game).or(None);
        let before = match (&failed, ended) {
            (Some(process), _) => Some(process.step),
            (None, Some((_, process))) => Some(process.step),
            (None, None) => None,
        };
        if let Some(process) = failed {
            process.step = Step::Ending;
            self.release_party(game, before.unwrap_or(Step::Ending));
        }
        self.tally.count(match fault {
            GameFault::NotLaunched(_) => "games not launched",
            GameFault::NotReady => "games not ready",
            GameFault::NotStarted => "games not started",
            GameFault::Ended(_) => "games ended early",
            GameFault::Broken(_) => "games broken early",
            GameFault::EndedSoon { .. } => "matches ended early too often",
        });
        if let GameFault::EndedSoon { lasted, .. } = fault {
            let count = self.early_ends[mode.0];
            let is_due = count >= limits::EARLY_ENDS_MAX && *lasted < limits::MATCH_MIN;
            return demand(is_due && before == Some(Step::Running), || {
                format!("{game:?} in {before:?} failed after {lasted:?}, as {count} did")
            });
        }
        let was_untold = matches!(before, Some(Step::Launching | Step::Warm | Step::Starting));
        demand(was_untold, || format!("{game:?} in {before:?} failed with {fault:?}"))
    }
}
