//! Figures for operators and the body, each of them cheap.

use std::time::Duration;

use protocol::report;
use protocol::{GameId, MatchId, ModeId};

use crate::games::{Game, GamePhase, StopStep};
use crate::hosting::Hosting;
use crate::port_ring::PortState;

/// A game, as far as figures are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GameFigures {
    /// The game.
    pub game: GameId,
    /// Its mode.
    pub mode: ModeId,
    /// Its port.
    pub port: u16,
    /// Its phase.
    pub phase: report::GamePhase,
    /// Players of its match.
    pub players: usize,
    /// When its launch was ordered.
    pub since: Duration,
}

impl Hosting {
    /// Every port that is not free, in no order.
    pub fn ports_taken(&self) -> impl Iterator<Item = (u16, PortState)> {
        self.ports.taken()
    }

    /// Free ports.
    pub fn ports_free(&self) -> usize {
        self.ports.free_count()
    }

    /// Games of a mode, in any phase.
    ///
    /// # Panics
    /// When the mode is not one of the configuration.
    pub fn games_of(&self, mode: ModeId) -> usize {
        self.games.of_mode(mode).games
    }

    /// Whether the games of a mode keep failing.
    ///
    /// # Panics
    /// When the mode is not one of the configuration.
    pub fn is_failing(&self, mode: ModeId) -> bool {
        self.modes[mode.0].backoff.is_failing()
    }

    /// Every game that is not gone, in the order of their launch.
    pub fn games_figures(&self) -> impl Iterator<Item = GameFigures> {
        self.games.iter().map(|(id, game)| GameFigures {
            game: id,
            mode: game.mode,
            port: game.port,
            phase: match game.phase() {
                GamePhase::Launching => report::GamePhase::Launching,
                GamePhase::Warm => report::GamePhase::Warm,
                GamePhase::Starting(_) => report::GamePhase::Starting,
                GamePhase::Running { .. } => report::GamePhase::Running,
                GamePhase::Stopping { .. } => report::GamePhase::Stopping,
            },
            players: game.match_id().map_or(0, |_| game.players),
            since: game.ordered_at,
        })
    }

    /// The games that exist, each with whether it has a process.
    pub fn games(&self) -> impl Iterator<Item = (GameId, bool)> {
        self.games.iter().map(|(id, game)| (id, game.has_process()))
    }

    /// The matches that have a game, with the game and whether their players were sent to it.
    pub fn matches(&self) -> impl Iterator<Item = (MatchId, GameId, bool)> {
        self.games.iter().filter_map(|(id, game)| Some((game.match_id()?, id, game.was_told)))
    }

    /// Whether a game has not yet reported that it can be played, to be warm or for its players.
    pub fn awaits_start(&self, id: GameId) -> bool {
        matches!(self.phase_of(id), Some(GamePhase::Launching | GamePhase::Starting(_)))
    }

    /// Whether a game was asked to end and its grace is not over: its processes may finish, also when the first of them has
    /// ended.
    pub fn may_end_in_peace(&self, id: GameId) -> bool {
        let is_in_grace = |next| matches!(next, StopStep::Terminate { .. } | StopStep::Kill);
        matches!(self.phase_of(id), Some(GamePhase::Stopping { next, .. }) if is_in_grace(next))
    }

    /// Whether a game is being stopped.
    pub fn is_stopping(&self, id: GameId) -> bool {
        matches!(self.phase_of(id), Some(GamePhase::Stopping { .. }))
    }

    fn phase_of(&self, id: GameId) -> Option<GamePhase> {
        self.games.get(id).map(Game::phase)
    }
}
