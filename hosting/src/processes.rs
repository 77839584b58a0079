//! Games' processes: their births, reports, deadlines and deaths.

use std::time::Duration;

use protocol::GameId;
use protocol::placement::{Location, ToMatchmaker};
use protocol::report::{Event, Exit, GameFault, LaunchFault, MatchEnd, StopReason};

use crate::games::GamePhase;
use crate::games::StopStep;
use crate::hosting::{Hosting, Owner};
use crate::limits;
use crate::port_ring::PortReturn;

impl Hosting {
    // ---- Processes ----

    pub(crate) fn handle_launched(&mut self, id: GameId) {
        let Some(game) = self.games.get(id).filter(|game| !game.has_process()) else { return };
        let is_stopping = matches!(game.phase(), GamePhase::Stopping { .. });
        self.games.set_process(id);
        // It was stopped before it existed, and is killed now.
        if is_stopping {
            self.send_kill(id);
        }
    }

    pub(crate) fn handle_launch_failed(&mut self, id: GameId, fault: LaunchFault) {
        let Some(game) = self.games.get(id).filter(|game| !game.has_process()) else { return };
        let (port, phase) = (game.port, game.phase());
        if let GamePhase::Starting(match_id) = phase {
            self.send(ToMatchmaker::Failed { match_id });
        }
        let back = match fault {
            LaunchFault::PortBusy => {
                let rest = self.config.quarantine.max(limits::BUSY_PORT_REST_MIN);
                let is_news = self.ports.is_busy_news(port, self.now);
                self.report(Event::PortBusy { port, rest, is_news });
                PortReturn::Busy(self.after(rest))
            }
            LaunchFault::Interrupted => {
                // Nothing is wrong with the mode, and nothing holds the port.
                PortReturn::Free
            }
            LaunchFault::Other(why) => {
                if !matches!(phase, GamePhase::Stopping { .. }) {
                    self.note_failure(id, GameFault::NotLaunched(why));
                }
                PortReturn::Free
            }
        };
        self.remove_game(id, back);
    }

    pub(crate) fn handle_port_taken(&mut self, id: GameId) {
        if let Some(game) = self.games.get_mut(id) {
            game.is_port_taken = true;
        }
    }

    pub(crate) fn handle_exited(&mut self, id: GameId, exit: Exit) {
        let Some(game) = self.games.get(id).filter(|game| game.has_process()) else { return };
        let (was_told, port, has_result) = (game.was_told, game.port, game.has_result);
        match game.phase() {
            GamePhase::Launching | GamePhase::Warm => self.note_failure(id, GameFault::Ended(exit)),
            GamePhase::Starting(match_id) => {
                self.note_failure(id, GameFault::Ended(exit));
                self.send(ToMatchmaker::Failed { match_id });
            }
            GamePhase::Running { match_id, since, .. } => {
                self.send(ToMatchmaker::Ended { match_id, end: MatchEnd::Finished(exit) });
                self.note_match_end(id, exit, self.now.saturating_sub(since), has_result);
            }
            GamePhase::Stopping { played: Some((match_id, since)), .. } => {
                self.send(ToMatchmaker::Ended { match_id, end: MatchEnd::Stopped(exit) });
                self.note_match_end(id, Exit::Unknown, self.now.saturating_sub(since), false);
            }
            GamePhase::Stopping { played: None, .. } => {}
        }
        self.report_ended(id, exit);
        let rest = if was_told { self.config.quarantine } else { Duration::ZERO };
        let rest = rest.max(self.games.game(id).port_rest);
        self.report(Event::PortReturned { port, rest });
        let back = match rest.is_zero() {
            true => PortReturn::Free,
            false => PortReturn::Resting(self.after(rest)),
        };
        self.remove_game(id, back);
    }

    fn report_ended(&mut self, id: GameId, exit: Exit) {
        let game = self.games.game(id);
        let lived = self.now.saturating_sub(game.ordered_at);
        let (mode, match_id) = (game.mode, game.told_match());
        let joined = game.joined.iter().copied().collect();
        self.report(Event::GameEnded { game: id, mode, match_id, exit, lived, joined });
    }

    /// Forgets a game that is gone, and takes its port back.
    pub(crate) fn remove_game(&mut self, id: GameId, back: PortReturn) {
        let Some(game) = self.games.remove(id) else { unreachable!("{id:?} does not exist") };
        self.deadlines.set(Owner::Game(id), None);
        self.ports.release(game.port, id, back);
    }

    // ---- Reports of games ----

    pub(crate) fn handle_ready(&mut self, id: GameId) {
        let Some(game) = self.games.get(id).filter(|game| game.has_process()) else { return };
        if game.is_launching_seated() {
            return self.handle_seated_ready(id);
        }
        if game.phase() != GamePhase::Launching {
            return;
        }
        let (mode, took) = (game.mode, self.now.saturating_sub(game.ordered_at));
        self.modes[mode.0].match_rate.note_launch(took);
        self.enter(id, GamePhase::Warm, None);
        self.report(Event::GameWarm { game: id, mode });
    }

    /// A game that has its players already is ready: from here on it has as long as any other to start. One that reports
    /// nothing but `started` has to do so in the time to be ready.
    fn handle_seated_ready(&mut self, id: GameId) {
        let Some(game) = self.games.get_mut(id).filter(|game| !game.said_ready) else { return };
        game.said_ready = true;
        let mode = game.mode;
        let deadline = self.after(self.mode(mode).start_timeout);
        self.deadlines.set(Owner::Game(id), Some(deadline));
    }

    pub(crate) fn handle_started(&mut self, id: GameId) {
        let Some(game) = self.games.get_mut(id).filter(|game| game.has_process()) else { return };
        let GamePhase::Starting(match_id) = game.phase() else { return };
        game.was_told = true;
        let (mode, port) = (game.mode, game.port);
        self.ports.clear(port);
        let until = self.after(self.mode(mode).max_duration);
        let next = GamePhase::Running { match_id, since: self.now, until };
        self.enter(id, next, Some(self.running_deadline(id, until)));
        self.modes[mode.0].backoff.note_start(self.now);
        self.note_match_step();
        self.send(ToMatchmaker::Started { match_id, location: Location { game: id, port } });
    }

    pub(crate) fn handle_presence(&mut self, id: GameId, slot: usize, joined: bool) {
        let Some(game) = self.games.get_mut(id).filter(|game| slot < game.players) else { return };
        let Some(match_id) = game.told_match() else { return };
        if joined {
            game.joined.insert(slot);
        }
        self.send(match joined {
            true => ToMatchmaker::Joined { match_id, slot },
            false => ToMatchmaker::Left { match_id, slot },
        });
    }

    pub(crate) fn handle_backfill(&mut self, id: GameId, mut slots: Vec<usize>) {
        let Some(game) = self.games.get(id) else { return };
        if let GamePhase::Running { match_id, .. } = game.phase() {
            slots.retain(|slot| *slot < game.players);
            self.send(ToMatchmaker::Open { match_id, slots });
        }
    }

    pub(crate) fn handle_alive(&mut self, id: GameId) {
        let Some(game) = self.games.get(id) else { return };
        if let GamePhase::Running { until, .. } = game.phase() {
            let deadline = self.running_deadline(id, until);
            self.deadlines.set(Owner::Game(id), Some(deadline));
        }
    }

    /// When a running game is looked at next: at its end, or when its heartbeat is missed.
    fn running_deadline(&self, id: GameId, until: Duration) -> Duration {
        let mode = self.mode(self.games.game(id).mode);
        mode.alive_timeout.map_or(until, |silence| until.min(self.after(silence)))
    }

    pub(crate) fn handle_result(&mut self, id: GameId, result: String) {
        let Some(game) = self.games.get_mut(id) else { return };
        let Some(match_id) = game.told_match() else { return };
        if !std::mem::replace(&mut game.has_result, true) {
            self.send(ToMatchmaker::Result { match_id, result });
        }
    }

    pub(crate) fn handle_broken(&mut self, id: GameId, what: String) {
        let Some(game) = self.games.get(id) else { return };
        match game.phase() {
            GamePhase::Stopping { .. } => {}
            GamePhase::Running { .. } => {
                let reason = StopReason::BrokeContract(what);
                self.report(Event::GameStopping { game: id, reason });
            }
            GamePhase::Launching | GamePhase::Warm | GamePhase::Starting(_) => {
                self.note_failure(id, GameFault::Broken(what));
            }
        }
        self.kill(id);
    }

    // ---- Deadlines ----

    pub(crate) fn handle_game_deadline(&mut self, id: GameId) {
        let Some(game) = self.games.get(id) else { return };
        match game.phase() {
            GamePhase::Launching => {
                self.note_failure(id, GameFault::NotReady);
                self.kill(id);
            }
            GamePhase::Starting(_) => {
                let is_launching = game.is_launching_seated() && !game.said_ready;
                let fault = if is_launching { GameFault::NotReady } else { GameFault::NotStarted };
                self.note_failure(id, fault);
                self.kill(id);
            }
            GamePhase::Running { until, .. } if self.now < until => {
                let silence = self.mode(game.mode).alive_timeout.unwrap_or_default();
                let reason = StopReason::AliveTimeout(silence);
                self.report(Event::GameStopping { game: id, reason });
                self.kill(id);
            }
            GamePhase::Running { .. } => {
                let longest = self.mode(game.mode).max_duration;
                self.stop(id, StopReason::MaxDuration(longest));
            }
            GamePhase::Stopping { played, next: StopStep::Terminate { kill_at } } => {
                let phase = GamePhase::Stopping { played, next: StopStep::Kill };
                self.enter(id, phase, Some(kill_at));
                self.terminate(id);
            }
            GamePhase::Stopping { next: StopStep::Kill, .. } => self.kill(id),
            GamePhase::Stopping { next: StopStep::AwaitExit, .. } => {
                let reason = StopReason::OutlivedKill;
                self.report(Event::GameStopping { game: id, reason });
                self.send_kill(id);
            }
            GamePhase::Warm => unreachable!("{id:?} has no deadline while it is warm"),
        }
    }
}
