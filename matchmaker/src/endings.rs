//! How games are brought to their end, and what becomes of the matches in them.
//!
//! A game that may say goodbye is asked, then told, then killed; one that cannot be trusted or was never of use is
//! killed at once. In any case its port stays taken until the body says that it is gone. A match whose players
//! were told of the game goes on in it until then; any other goes back to where it stood.

use protocol::EvictReason;

use crate::deadlines::Owner;
use crate::games::{Game, GamePhase, StopStep};
use crate::ids::{GameId, MatchId};
use crate::io::{Action, Event, MatchEnd};
use crate::limits;
use crate::matches::MatchPhase;
use crate::matchmaker::{Matchmaker, Phase};
#[cfg(any(test, feature = "simulation"))]
use crate::ports::Return;
#[cfg(any(test, feature = "simulation"))]
use crate::simulation::Defect;

impl Matchmaker {
    /// Asks a game to end: `stop` now, SIGTERM when half the grace is over, SIGKILL after it.
    pub(crate) fn stop(&mut self, id: GameId, why: &'static str) {
        let game = &self.games[&id];
        if matches!(game.phase(), GamePhase::Stopping { .. }) {
            return;
        }
        if !game.has_process() {
            return self.kill(id);
        }
        let match_id = self.detach_match(id);
        let grace = self.mode(self.games[&id].mode).stop_grace;
        let next = StopStep::Terminate { kill_at: self.after(grace) };
        self.move_game(id, GamePhase::Stopping { match_id, next }, Some(self.after(grace / 2)));
        self.act(Action::Report(Event::GameStopping { game: id, why: why.into() }));
        self.act(Action::Stop { game: id, grace });
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
        #[cfg(any(test, feature = "simulation"))]
        if self.is_planted(Defect::PortReturnedBeforeExit) && match_id.is_none() {
            self.remove_game(id, Return::Free);
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
        found.told = None;
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

    pub(crate) fn end_match(&mut self, match_id: MatchId, end: MatchEnd) {
        let Some(ended) = self.matches.remove(&match_id) else {
            unreachable!("{match_id:?} is played and does not exist")
        };
        let MatchPhase::Assigned { game, since } = ended.phase() else {
            unreachable!("{match_id:?} ends and was never assigned")
        };
        self.close_slots(ended.mode, Some(match_id));
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
    }

    /// An operator wants a game to end.
    pub(crate) fn handle_end_game(&mut self, id: GameId, now: bool) {
        if !self.games.contains_key(&id) {
            return;
        }
        if !now {
            return self.stop(id, "an operator wants it to end");
        }
        let why = "an operator wants it dead".into();
        self.act(Action::Report(Event::GameStopping { game: id, why }));
        self.kill(id);
    }

    /// Stops every game that has no players.
    pub(crate) fn stop_idle_games(&mut self) {
        let idle = |(&id, game): (&GameId, &Game)| game.match_id().is_none().then_some(id);
        let idle: Vec<GameId> = self.games.iter().filter_map(idle).collect();
        for id in idle {
            self.stop(id, "Muster is going down");
        }
    }

    /// Stops every game.
    pub(crate) fn stop_games(&mut self, why: &'static str) {
        let all: Vec<GameId> = self.games.keys().copied().collect();
        for id in all {
            self.stop(id, why);
        }
    }
}
