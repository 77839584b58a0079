//! Checks what is done with games and ports.

use std::collections::BTreeSet;
use std::time::Duration;

use brain::limits;
use brain::{
    Event, Exit, GameFault, GameId, GameInput, Input, LaunchFault, MatchEnd, MatchId, ModeId,
    SeatedMatch,
};
use protocol::Seat;

use crate::model::{GamePhase, MatchModel, MatchPhase, Model, Process};
use crate::{CheckResult, check};

impl Model {
    pub(crate) fn check_launch(
        &mut self,
        game: GameId,
        mode: ModeId,
        port: u16,
        seated: Option<&SeatedMatch>,
    ) -> CheckResult {
        let is_new = self.last.game.replace(game) < Some(game);
        check(is_new && self.is_serving(), || format!("{game:?} is old, or comes too late"))?;
        self.check_lease(game, port)?;
        check(self.launching() < self.config.launching_max, || "too many games launching".into())?;
        let noted = &self.modes[mode.0];
        check(noted.ends_early || noted.retry_at.is_none(), || {
            format!("{mode:?} is launched in its pause")
        })?;
        match seated {
            None => self.check_warm_launch(game, mode)?,
            Some(_) => self.last_match_step = Some(self.now),
        }
        let process = Process {
            mode,
            port,
            is_alive: false,
            phase: if seated.is_some() { GamePhase::Starting } else { GamePhase::Launching },
            since: self.now,
            assigned_at: None,
            match_id: seated.map(|seated| seated.match_id),
            ordered_at: self.now,
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
        self.check_seats(game, mode, *match_id, seats)
    }

    /// A warm game is launched after the games of waiting matches, few at a time, and not beside a match that is on
    /// its way to its players, unless it was missing for long.
    fn check_warm_launch(&mut self, game: GameId, mode: ModeId) -> CheckResult {
        self.tally.count("games launched to be warm");
        if self.warm_supply(mode) >= self.mode(mode).warm_min {
            self.tally.count("games launched for a busy time");
        }
        let waiting = self.mode_in_need();
        check(waiting.is_none(), || format!("{game:?} is to be warm, and {waiting:?} waits"))?;
        check(self.warm_ordered() < limits::REFILLS_ORDERED_MAX, || {
            format!("{game:?} is to be warm, and too many such do not exist yet")
        })?;
        let last = self.last_match_step;
        let is_quiet = last.is_none_or(|at| at + limits::REFILL_PAUSE <= self.now);
        let may_be_missing_long = self.all_warm_at + limits::REFILL_DELAY_MAX <= self.now;
        self.tally.count(match is_quiet {
            true => "games launched in a quiet period",
            false => "games launched though matches come",
        });
        check(is_quiet || may_be_missing_long, || {
            let complete = self.all_warm_at;
            format!(
                "{game:?} is to be warm beside a match of {last:?}; all was warm at {complete:?}"
            )
        })
    }

    fn check_lease(&self, game: GameId, port: u16) -> CheckResult {
        check(self.config.ports.contains(&port), || format!("{port} is no port of the ring"))?;
        let holder = self.games.iter().find(|(_, process)| process.port == port);
        check(holder.is_none(), || {
            format!("{port} goes to {game:?} while {holder:?} lives on it")
        })?;
        check(!self.resting.contains_key(&port), || format!("{port} has not rested"))
    }

    pub(crate) fn check_start(
        &mut self,
        game: GameId,
        mode: ModeId,
        match_id: MatchId,
        seats: &[Seat],
    ) -> CheckResult {
        self.check_seats(game, mode, match_id, seats)?;
        let now = self.now;
        self.last_match_step = Some(now);
        let Some(process) = self.games.get_mut(&game) else {
            return check(false, || format!("{game:?} is gone and gets players"));
        };
        let before = process.clone();
        process.phase = GamePhase::Starting;
        process.since = now;
        process.match_id = Some(match_id);
        check(before.phase == GamePhase::Warm && before.mode == mode, || {
            format!("{game:?} {before:?} is sent players of {mode:?}")
        })
    }

    /// A game gets the players who came first among all waiting players of its mode.
    fn check_seats(
        &mut self,
        game: GameId,
        mode: ModeId,
        match_id: MatchId,
        seats: &[Seat],
    ) -> CheckResult {
        let mut first = self.waiting_players(mode);
        first.truncate(self.mode(mode).players);
        let first_rank = self.line(mode).first().copied();
        let is_agreed = !self.mode(mode).is_first_come_first_served();
        let Some(found) = self.matches.get_mut(&match_id) else {
            return check(false, || format!("{match_id:?} is started and not there"));
        };
        // Elsewhere a match keeps its players, even if earlier players have returned since.
        let is_first = match is_agreed {
            true => first_rank == Some(found.rank),
            false => found.players == first,
        };
        check(found.phase == MatchPhase::Waiting && is_first, || {
            format!("{match_id:?} {found:?} is started; the first players are {first:?}")
        })?;
        found.phase = MatchPhase::Starting(game);
        let found = found.clone();
        let seats_fit = self.seats_fit(&found, seats);
        check(seats_fit, || format!("{match_id:?} {found:?} is started with {seats:?}"))
    }

    fn seats_fit(&self, found: &MatchModel, seats: &[Seat]) -> bool {
        let fits = |(slot, seat): (usize, &Seat)| {
            let player = found.players.get(slot).and_then(|id| self.players.get(id));
            seat.slot == slot && player.is_some_and(|player| player.token == seat.token)
        };
        seats.len() == found.players.len() && seats.iter().enumerate().all(fits)
    }

    pub(crate) fn check_stop(&mut self, game: GameId, grace: Duration) -> CheckResult {
        self.check_ask_to_end(game, grace, false)
    }

    fn check_ask_to_end(
        &mut self,
        game: GameId,
        grace: Duration,
        is_by_signal: bool,
    ) -> CheckResult {
        let (now, is_serving) = (self.now, self.is_serving());
        let Some(process) = self.games.get_mut(&game) else {
            return check(false, || format!("{game:?} is gone and asked to stop"));
        };
        let before = process.clone();
        process.phase = GamePhase::Ending;
        process.stopped_at = Some(now);
        let may = before.is_alive && before.stopped_at.is_none() && !before.is_killed;
        check(may, || format!("{game:?} {before:?} is asked to stop"))?;
        let mode = self.mode(before.mode);
        check(grace == mode.stop_grace, || format!("a grace of {grace:?}"))?;
        check(mode.has_control != is_by_signal, || {
            format!("{game:?} is stopped by a signal: {is_by_signal}")
        })?;
        self.tally.count("games stopped");
        if is_serving && before.phase == GamePhase::Warm && !self.is_ended_by_an_operator(game) {
            self.check_stop_of_warm(game, before.mode)?;
        }
        self.release_match(game, before.phase);
        Ok(())
    }

    /// A warm game is stopped because there are more than the mode has to have, or because its port is needed.
    fn check_stop_of_warm(&mut self, game: GameId, mode: ModeId) -> CheckResult {
        // The game itself counts no longer.
        let is_spare = self.games_at(mode, GamePhase::Warm) >= self.mode(mode).warm_min;
        let waits = self.mode_ids().any(|mode| !self.line(mode).is_empty());
        let is_reclaimed = waits && self.free_ports() == 0;
        self.modes[mode.0].surplus_since = None;
        self.tally.count(match is_reclaimed {
            true => "warm games reclaimed",
            false => "surplus games stopped",
        });
        check(is_spare || is_reclaimed, || format!("{game:?} is warm and stopped without need"))
    }

    pub(crate) fn check_terminate(&mut self, game: GameId) -> CheckResult {
        let of_a_mode = self.games.get(&game).map(|process| self.mode(process.mode));
        let grace = of_a_mode.filter(|mode| !mode.has_control).map(|mode| mode.stop_grace);
        if let Some(grace) = grace {
            // Without a control channel this is how it is asked to stop.
            self.check_ask_to_end(game, grace, true)?;
        }
        let Some(process) = self.games.get_mut(&game) else {
            return check(false, || format!("{game:?} is gone and sent SIGTERM"));
        };
        let may = process.stopped_at.is_some() && !process.is_terminated && !process.is_killed;
        process.is_terminated = true;
        self.tally.count("games terminated");
        check(may, || format!("{game:?} is sent SIGTERM out of turn"))
    }

    pub(crate) fn check_kill(&mut self, game: GameId) -> CheckResult {
        let Some(process) = self.games.get_mut(&game) else {
            return check(false, || format!("{game:?} is gone and killed"));
        };
        let before = process.clone();
        process.phase = GamePhase::Ending;
        process.is_killed = true;
        process.killed_at = self.now;
        self.tally.count("games killed");
        if before.phase == GamePhase::Starting && !self.context.went.is_empty() {
            self.tally.count("games killed because a player went");
        }
        self.release_match(game, before.phase);
        let is_due = before.killed_at + limits::KILL_AGAIN_AFTER <= self.now;
        let may = before.is_alive && (!before.is_killed || is_due);
        check(may, || format!("{game:?} {before:?} is killed"))
    }

    /// A game will not start its match: the match waits again.
    fn release_match(&mut self, game: GameId, before: GamePhase) {
        if before != GamePhase::Starting {
            return;
        }
        let match_id = self.games.get_mut(&game).and_then(|process| process.match_id.take());
        if let Some(match_id) = match_id {
            self.take_back(match_id);
        }
    }

    pub(crate) fn check_game_event(&mut self, event: &Event) -> CheckResult {
        match event {
            Event::MatchAssigned { match_id, mode, game, port, waited, .. } => {
                self.check_assigned(*match_id, (*mode, *game, *port), *waited)
            }
            Event::PlayerJoined { match_id, slot } => self.check_presence(*match_id, *slot, true),
            Event::PlayerLeft { match_id, slot } => self.check_presence(*match_id, *slot, false),
            Event::MatchResult { match_id, game, .. } => {
                let due = self.context.result_due.take();
                self.tally.count("results");
                check(due == Some(*match_id), || format!("a result of {game:?} not due: {due:?}"))
            }
            Event::MatchEnded { match_id, game, end, lasted, .. } => {
                self.check_ended(*match_id, *game, *end, *lasted)
            }
            Event::GameWarm { game, .. } => self.check_warm(*game),
            Event::GameFailed { game, mode, fault, retry_in } => {
                self.check_failed(*game, *mode, fault, *retry_in)
            }
            Event::GameStopping { game, .. } => {
                let is_there = self.games.contains_key(game);
                check(is_there, || format!("{game:?} is gone and stopping"))
            }
            Event::GameEnded { .. } => self.check_game_ended(event),
            Event::PortBusy { port, .. } => {
                let is_busy = self.context.ended.as_ref().is_some_and(|(_, p)| p.port == *port);
                check(is_busy, || format!("{port} is not busy"))
            }
            Event::PortReturned { port, rest } => {
                // A game that failed may have failed because of its port.
                let ended = self.context.ended.as_ref();
                let has_failed = ended.is_some_and(|(_, process)| process.assigned_at.is_none());
                if has_failed && !rest.is_zero() && *rest <= limits::SUSPECT_PORT_REST_MAX {
                    self.resting.insert(*port, self.now + *rest);
                    self.tally.count("ports suspected");
                }
                let until = self.resting.get(port).copied().unwrap_or(self.now);
                let due = self.context.return_due.take();
                check(due == Some(*port) && self.now + *rest == until, || {
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

    fn check_assigned(
        &mut self,
        match_id: MatchId,
        its_game: (ModeId, GameId, u16),
        waited: Duration,
    ) -> CheckResult {
        let (mode, game, port) = its_game;
        let said = self.context.input == Some(Input::Game(GameInput::Started { game }));
        check(said, || format!("{match_id:?} is assigned before {game:?} said that it started"))?;
        let now = self.now;
        let Some(process) = self.games.get_mut(&game) else {
            return check(false, || format!("{game:?} is gone and assigned"));
        };
        let may = process.phase == GamePhase::Starting && process.match_id == Some(match_id);
        let agrees = (process.mode, process.port) == (mode, port);
        check(may && agrees, || format!("{match_id:?} is assigned to {game:?} {process:?}"))?;
        process.phase = GamePhase::Running;
        process.since = now;
        process.assigned_at = Some(now);
        self.last_match_step = Some(now);
        if !self.modes[mode.0].ends_early {
            self.note_health(mode);
        }
        let Some(found) = self.matches.get_mut(&match_id) else {
            return check(false, || format!("{match_id:?} is assigned and not there"));
        };
        found.phase = MatchPhase::Assigned { game, since: now };
        self.tally.count("matches assigned");
        check(now - found.formed_at == waited, || format!("{match_id:?} waited {waited:?}?"))
    }

    fn check_presence(&self, match_id: MatchId, slot: usize, joined: bool) -> CheckResult {
        let Some(MatchPhase::Assigned { game, .. }) = self.matches.get(&match_id).map(|p| p.phase)
        else {
            return check(false, || format!("a player is in {match_id:?}, which is not played"));
        };
        let said = match joined {
            true => Input::Game(GameInput::Joined { game, slot }),
            false => Input::Game(GameInput::Left { game, slot }),
        };
        let is_seat = slot < self.matches[&match_id].players.len();
        check(is_seat && self.context.input == Some(said), || {
            format!("no player joined or left slot {slot} of {match_id:?}")
        })
    }

    fn check_ended(
        &mut self,
        match_id: MatchId,
        game: GameId,
        end: MatchEnd,
        lasted: Duration,
    ) -> CheckResult {
        let due = self.context.end_due.take();
        let Some((ended, process)) = &self.context.ended else {
            return check(false, || format!("{match_id:?} ends and {game:?} lives"));
        };
        let (exit, was_stopped) = match end {
            MatchEnd::Finished(exit) => (exit, false),
            MatchEnd::Stopped(exit) => (exit, true),
        };
        let agrees = *ended == game && was_stopped == (process.phase == GamePhase::Ending);
        check(due == Some((match_id, exit)) && agrees, || {
            format!("{match_id:?} of {game:?} {process:?} ends with {end:?}; due was {due:?}")
        })?;
        let (assigned_at, mode) = (process.assigned_at, process.mode);
        let has_failed = !was_stopped && !process.has_result && exit != Exit::Status(0);
        let is_good = !has_failed || lasted >= limits::MATCH_MIN;
        if is_good && self.modes[mode.0].ends_early {
            self.note_health(mode);
        }
        for id in self.matches.remove(&match_id).into_iter().flat_map(|found| found.players) {
            self.assigned.remove(&id);
        }
        self.tally.count("matches ended");
        check(assigned_at == Some(self.now.saturating_sub(lasted)), || {
            format!("{match_id:?} was assigned at {assigned_at:?} and lasted {lasted:?}")
        })
    }

    fn check_game_ended(&mut self, event: &Event) -> CheckResult {
        let Event::GameEnded { game, mode, match_id, exit, lived, joined } = event else {
            return Ok(());
        };
        let due = self.context.game_end_due.take();
        let said = (*game, *match_id, *exit, joined.clone());
        check(due.as_ref() == Some(&said), || format!("{said:?} is reported; due is {due:?}"))?;
        check(self.context.end_due.is_none(), || format!("{game:?} ends before its match"))?;
        let ended = self.context.ended.as_ref().map(|(_, process)| process);
        let agrees = ended.is_some_and(|process| {
            process.mode == *mode && process.ordered_at + *lived == self.now
        });
        if !joined.is_empty() {
            self.tally.count("games ended that players came into");
        }
        check(agrees, || format!("{game:?} {ended:?} lived {lived:?}?"))
    }

    fn check_warm(&mut self, game: GameId) -> CheckResult {
        let said = self.context.input == Some(Input::Game(GameInput::Ready { game }));
        let now = self.now;
        let Some(process) = self.games.get_mut(&game) else {
            return check(false, || format!("{game:?} is gone and warm"));
        };
        let may = said && process.phase == GamePhase::Launching && process.is_alive;
        check(may, || format!("{game:?} {process:?} is warm"))?;
        process.phase = GamePhase::Warm;
        process.since = now;
        self.tally.count("games warm");
        Ok(())
    }

    fn check_failed(
        &mut self,
        game: GameId,
        mode: ModeId,
        fault: &GameFault,
        retry_in: Duration,
    ) -> CheckResult {
        if !retry_in.is_zero() {
            let noted = &mut self.modes[mode.0];
            noted.retry_at = Some(self.now + retry_in);
            noted.is_failing = true;
            noted.ends_early |= matches!(fault, GameFault::EndedSoon { .. });
            self.tally.count("pauses");
        }
        let fault_of_none =
            Some(Input::Game(GameInput::LaunchFailed { game, fault: LaunchFault::Interrupted }))
                == self.context.input;
        check(!fault_of_none, || format!("{game:?} was not launched, and is blamed for it"))?;
        let ended = self.context.ended.as_ref().filter(|(ended, _)| *ended == game);
        let failed = self.games.get_mut(&game).or(None);
        let before = match (&failed, ended) {
            (Some(process), _) => Some(process.phase),
            (None, Some((_, process))) => Some(process.phase),
            (None, None) => None,
        };
        if let Some(process) = failed {
            process.phase = GamePhase::Ending;
            self.release_match(game, before.unwrap_or(GamePhase::Ending));
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
            let is_due = *lasted < limits::MATCH_MIN;
            return check(is_due && before == Some(GamePhase::Running), || {
                format!("{game:?} in {before:?} failed after {lasted:?}")
            });
        }
        let was_unassigned =
            matches!(before, Some(GamePhase::Launching | GamePhase::Warm | GamePhase::Starting));
        check(was_unassigned, || format!("{game:?} in {before:?} failed with {fault:?}"))
    }

    /// A game of a mode did what it should: launches do not pause.
    fn note_health(&mut self, mode: ModeId) {
        let noted = &mut self.modes[mode.0];
        (noted.retry_at, noted.is_failing, noted.ends_early) = (None, false, false);
    }
}
