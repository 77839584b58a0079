//! Figures for operators and the body, each of them cheap.

use std::time::Duration;

use hosting::{GameFigures, PortState};
use matchmaker::{PlayerFigures, Totals};
use protocol::{ConnectionId, GameId, ModeId, PlayerId};

use crate::brain::Brain;

/// How full a mode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeStatus {
    /// Connected players who wait, those in a match without a game included.
    pub waiting: usize,
    /// Players who are away and whose position is kept.
    pub away: usize,
    /// Games, in any phase.
    pub games: usize,
    /// Free ports, for all modes together.
    pub ports_free: usize,
}

/// The figures of a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeFigures {
    /// Connected players who wait, those in a match without a game included.
    pub waiting: usize,
    /// Players who are away and whose position is kept.
    pub away: usize,
    /// When the player joined who waits longest, of those without a game.
    pub oldest_since: Option<Duration>,
    /// Matches that wait for a game.
    pub matches_waiting: usize,
    /// Whether its games keep failing.
    pub is_failing: bool,
}

impl Brain {
    /// How full a mode is.
    ///
    /// # Panics
    /// When the mode is not one of the configuration.
    pub fn mode_status(&self, mode: ModeId) -> ModeStatus {
        let figures = self.matchmaker.mode_figures(mode);
        ModeStatus {
            waiting: figures.waiting,
            away: figures.away,
            games: self.hosting.games_of(mode),
            ports_free: self.hosting.ports_free(),
        }
    }

    /// The figures of a mode.
    ///
    /// # Panics
    /// When the mode is not one of the configuration.
    pub fn mode_figures(&self, mode: ModeId) -> ModeFigures {
        let figures = self.matchmaker.mode_figures(mode);
        ModeFigures {
            waiting: figures.waiting,
            away: figures.away,
            oldest_since: figures.oldest_since,
            matches_waiting: figures.matches_waiting,
            is_failing: self.hosting.is_failing(mode),
        }
    }

    /// Whether players are accepted.
    pub fn is_serving(&self) -> bool {
        self.matchmaker.is_serving()
    }

    /// The players so far, by how they left the queue.
    pub fn totals(&self) -> Totals {
        self.matchmaker.totals()
    }

    /// Waiting players from this one on, in the order in which they joined.
    pub fn players_figures(&self, from: PlayerId) -> impl Iterator<Item = PlayerFigures<'_>> {
        self.matchmaker.players_figures(from)
    }

    /// When a player joined, as long as their match is not over.
    pub fn joined_at(&self, player: PlayerId) -> Option<Duration> {
        self.matchmaker.joined_at(player)
    }

    /// How many accounts' players are passed over.
    pub fn accounts_held(&self) -> usize {
        self.matchmaker.accounts_held()
    }

    /// Every port that is not free, in no order.
    pub fn ports_taken(&self) -> impl Iterator<Item = (u16, PortState)> {
        self.hosting.ports_taken()
    }

    /// Every game that is not gone, in the order of their launch.
    pub fn games_figures(&self) -> impl Iterator<Item = GameFigures> {
        self.hosting.games_figures()
    }

    /// Whether a game has not yet reported that it can be played, to be warm or for its players.
    pub fn awaits_start(&self, game: GameId) -> bool {
        self.hosting.awaits_start(game)
    }

    /// Whether a game was asked to end and its grace is not over: its processes may finish, also when the first of them has
    /// ended.
    pub fn may_end_in_peace(&self, game: GameId) -> bool {
        self.hosting.may_end_in_peace(game)
    }

    /// Whether a game is being stopped.
    pub fn is_stopping(&self, game: GameId) -> bool {
        self.hosting.is_stopping(game)
    }

    /// The connections of waiting players and of party members, for a body that recovers from a crash.
    pub fn connections(&self) -> Vec<ConnectionId> {
        self.matchmaker.connections()
    }

    /// The games that exist, each with whether it has a process, for a body that recovers from a crash.
    pub fn games(&self) -> impl Iterator<Item = (GameId, bool)> {
        self.hosting.games()
    }
}
