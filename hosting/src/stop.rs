//! How games are stopped.
//!
//! A game is asked to stop, then terminated, then killed; one that cannot be trusted, or was of no use, is killed at once.
//! Its port stays leased until the body reports that the game is gone. A match whose players were sent to the game
//! continues there until then; any other match has to be placed again.

use protocol::GameId;
use protocol::placement::ToMatchmaker;
use protocol::report::{Event, StopReason};

use crate::games::{GamePhase, StopStep};
use crate::hosting::{Hosting, Owner};
use crate::io::GameAction;
use crate::limits;

impl Hosting {
    /// Asks a game to end. One with a control channel receives `stop` now, and SIGTERM when half the grace is over; any
    /// other gets SIGTERM now. SIGKILL follows after the grace.
    pub(crate) fn stop(&mut self, id: GameId, reason: StopReason) {
        let game = self.games.game(id);
        if matches!(game.phase(), GamePhase::Stopping { .. }) {
            return;
        }
        if !game.has_process() {
            return self.kill(id);
        }
        let mode = self.mode(game.mode);
        let (grace, has_control) = (mode.stop_grace, mode.has_control);
        let kill_at = self.after(grace);
        match has_control {
            true => self.begin_stop(id, StopStep::Terminate { kill_at }),
            false => self.begin_stop(id, StopStep::Kill),
        }
        let due = if has_control { self.after(grace / 2) } else { kill_at };
        self.deadlines.set(Owner::Game(id), Some(due));
        self.report(Event::GameStopping { game: id, reason });
        match has_control {
            true => self.act(GameAction::Stop { game: id, grace }),
            false => self.terminate(id),
        }
    }

    /// Kills a game. Its port returns when the body reports that it is gone.
    pub(crate) fn kill(&mut self, id: GameId) {
        let Some(game) = self.games.get(id) else { return };
        if matches!(game.phase(), GamePhase::Stopping { next: StopStep::AwaitExit, .. }) {
            return;
        }
        self.begin_stop(id, StopStep::AwaitExit);
        self.kill_process(id);
    }

    /// Kills a game whose match the matchmaker withdrew.
    pub(crate) fn kill_withdrawn(&mut self, id: GameId) {
        let next = StopStep::AwaitExit;
        self.enter(id, GamePhase::Stopping { played: None, next }, None);
        self.kill_process(id);
    }

    /// A game without a process is killed as soon as it has one; see `handle_launched`.
    fn kill_process(&mut self, id: GameId) {
        if self.games.game(id).has_process() {
            self.send_kill(id);
        }
    }

    /// The match of a game that is stopped continues until the end if its players were sent there. If they were not, it
    /// has to be placed again.
    fn begin_stop(&mut self, id: GameId, next: StopStep) {
        let phase = self.games.game(id).phase();
        let played = match phase {
            GamePhase::Launching | GamePhase::Warm | GamePhase::Starting(_) => None,
            GamePhase::Running { match_id, since, .. } => Some((match_id, since)),
            GamePhase::Stopping { played, .. } => played,
        };
        self.enter(id, GamePhase::Stopping { played, next }, None);
        match phase {
            GamePhase::Starting(match_id) => self.send(ToMatchmaker::Failed { match_id }),
            GamePhase::Running { match_id, .. } => self.send(ToMatchmaker::Ending { match_id }),
            GamePhase::Launching | GamePhase::Warm | GamePhase::Stopping { .. } => {}
        }
    }

    /// Has a game killed, now and as often as it takes.
    pub(crate) fn send_kill(&mut self, id: GameId) {
        let again = self.after(limits::KILL_AGAIN_AFTER);
        self.deadlines.set(Owner::Game(id), Some(again));
        self.act(GameAction::Kill { game: id });
    }

    pub(crate) fn terminate(&mut self, id: GameId) {
        self.act(GameAction::Terminate { game: id });
    }

    /// An operator ends a game.
    pub(crate) fn handle_end(&mut self, id: GameId, now: bool) {
        if self.games.get(id).is_none() {
            return;
        }
        if !now {
            return self.stop(id, StopReason::Operator);
        }
        self.report(Event::GameStopping { game: id, reason: StopReason::OperatorKill });
        self.kill(id);
    }

    /// Stops every game, as the drain has lasted as long as it may.
    pub(crate) fn end_drain(&mut self) {
        let timeout = self.config.drain_timeout;
        for id in self.games.ids(|_| true) {
            self.stop(id, StopReason::DrainTimeout(timeout));
        }
    }
}
