//! How games are brought to their end, and what becomes of the matches in them.
//!
//! A game that may say goodbye is asked, then told, then killed; one that cannot be trusted or was never of use is
//! killed at once. In any case its port stays taken until the body says that it is gone. A match whose players
//! were told of the game goes on in it until then; any other goes back to where it stood.

use std::time::Duration;

use protocol::EvictReason;

use crate::deadlines::Owner;
use crate::games::{Game, GamePhase, StopStep};
use crate::io::{Action, Event, MatchEnd, StopReason};
use crate::limits;
use crate::matches::MatchPhase;
use crate::matchmaker::{Matchmaker, Phase};
use protocol::{GameId, MatchId};

impl Matchmaker {
    /// Asks a game to end. One with a control channel receives `stop` now, and SIGTERM when half the grace is over; any
    /// other gets SIGTERM now. SIGKILL comes after the grace.
    pub(crate) fn stop(&mut self, id: GameId, reason: StopReason) {
        let game = &self.games[&id];
        if matches!(game.phase(), GamePhase::Stopping { .. }) {
            return;
        }
        if !game.has_process() {
            return self.kill(id);
        }
        let match_id = self.detach_match(id);
        let mode = self.mode(self.games[&id].mode);
        let (grace, has_control) = (mode.stop_grace, mode.has_control);
        let kill_at = self.after(grace);
        let (next, due, action) = match has_control {
            true => {
                let next = StopStep::Terminate { kill_at };
                (next, self.after(grace / 2), Action::Stop { game: id, grace })
            }
            false => (StopStep::Kill, kill_at, Action::Terminate { game: id }),
        };
        self.move_game(id, GamePhase::Stopping { match_id, next }, Some(due));
        self.act(Action::Report(Event::GameStopping { game: id, reason }));
        self.act(action);
    }

    /// Whether a game was asked to end and its grace is not over: whatever belongs to it may finish what it does, also
    /// when its first process has ended.
    pub fn may_end_in_peace(&self, game: GameId) -> bool {
        let phase = self.games.get(&game).map(Game::phase);
        let is_in_grace = |next| matches!(next, StopStep::Terminate { .. } | StopStep::Kill);
        matches!(phase, Some(GamePhase::Stopping { next, .. }) if is_in_grace(next))
    }

    /// Whether a game is on its way to its end, and not by itself.
    pub fn is_stopping(&self, game: GameId) -> bool {
        let phase = self.games.get(&game).map(Game::phase);
        matches!(phase, Some(GamePhase::Stopping { .. }))
    }

    /// Ends a game at once. Its port comes back when the body says that it is gone.
    pub(crate) fn kill(&mut self, id: GameId) {
        let Some(game) = self.games.get(&id) else { return };
        let (has_process, phase) = (game.has_process(), game.phase());
        if matches!(phase, GamePhase::Stopping { next: StopStep::AwaitExit, .. }) {
            return;
        }
        let match_id = self.detach_match(id);
        let next = StopStep::AwaitExit;
        self.move_game(id, GamePhase::Stopping { match_id, next }, None);
        // What does not exist yet is killed as soon as it does; see `handle_launched`.
        if has_process {
            self.send_kill(id);
        }
    }

    /// Has the game killed, now and as often as it takes.
    pub(crate) fn send_kill(&mut self, id: GameId) {
        self.deadlines.set(Owner::Game(id), Some(self.after(limits::KILL_AGAIN_AFTER)));
        self.act(Action::Kill { game: id });
    }

    /// The match that goes on in a game until its end, if its players were told of it. If they were not, the
    /// match goes back into the line.
    fn detach_match(&mut self, id: GameId) -> Option<MatchId> {
        match self.games[&id].phase() {
            GamePhase::Launching | GamePhase::Warm => None,
            GamePhase::Starting(match_id) => {
                self.take_back(match_id);
                None
            }
            GamePhase::Running { match_id, .. } => Some(match_id),
            GamePhase::Stopping { match_id, .. } => match_id,
        }
    }

    /// Takes a match back from a game that will not start: it stands where it stood. A match that was just
    /// taken apart is already gone.
    pub(crate) fn take_back(&mut self, match_id: MatchId) {
        let Some(found) = self.matches.get_mut(&match_id) else { return };
        found.enter(MatchPhase::Waiting);
        let (mode, players) = (found.mode, found.players.clone());
        self.await_game(match_id);
        if self.phase != Phase::Serving {
            self.refuse_waiting(&players);
        } else if self.mode(mode).is_closed {
            self.evict_waiting(&players, EvictReason::ModeRemoved);
        } else if !self.matches[&match_id].is_of(&self.mode(mode).squads()) {
            self.line_up_anew(mode, &[match_id]);
        }
    }

    /// Forgets a match that is over. Gives how long it has lasted since its players were told of its game.
    pub(crate) fn end_match(&mut self, match_id: MatchId, end: MatchEnd) -> Duration {
        let Some(ended) = self.matches.remove(&match_id) else {
            unreachable!("{match_id:?} is played and does not exist")
        };
        let MatchPhase::Assigned { game, since } = ended.phase() else {
            unreachable!("{match_id:?} ends and was never assigned")
        };
        self.close_slots(ended.mode, Some(match_id));
        self.deadlines.set(Owner::Arrivals(match_id), None);
        self.settle_seats(&ended, end);
        for id in ended.players {
            if let Some(player) = self.players.remove(&id) {
                self.sessions.remove(&player.resume_key, id);
            }
        }
        let lasted = self.now.saturating_sub(since);
        self.act(Action::Report(Event::MatchEnded {
            match_id,
            mode: ended.mode,
            game,
            end,
            lasted,
        }));
        lasted
    }

    /// An operator wants a game to end.
    pub(crate) fn handle_end_game(&mut self, id: GameId, now: bool) {
        if !self.games.contains_key(&id) {
            return;
        }
        if !now {
            return self.stop(id, StopReason::Operator);
        }
        let reason = StopReason::OperatorKill;
        self.act(Action::Report(Event::GameStopping { game: id, reason }));
        self.kill(id);
    }

    /// Stops every game that has no players.
    pub(crate) fn stop_idle_games(&mut self) {
        let idle = |(&id, game): (&GameId, &Game)| game.match_id().is_none().then_some(id);
        let idle: Vec<GameId> = self.games.iter().filter_map(idle).collect();
        for id in idle {
            self.stop(id, StopReason::Shutdown);
        }
    }

    /// Stops every game, as the drain has lasted.
    pub(crate) fn stop_games(&mut self) {
        let all: Vec<GameId> = self.games.keys().copied().collect();
        let timeout = self.config.drain_timeout;
        for id in all {
            self.stop(id, StopReason::DrainTimeout(timeout));
        }
    }
}
