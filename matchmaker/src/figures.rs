//! What operators are shown of the brain: read-only figures, each of them cheap.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::games::GamePhase;
use crate::matchmaker::{Matchmaker, Totals};
use crate::players::PlayerPhase;
use protocol::{GameId, MatchId, ModeId, PlayerId};

/// How a mode fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeFigures {
    /// Players who wait, those in a match without a game included.
    pub waiting: usize,
    /// Players who are away and whose place is kept.
    pub away: usize,
    /// Since when the one waits who joined first, of those who were not sent to a game yet.
    pub oldest_since: Option<Duration>,
    /// Matches that wait for a game.
    pub matches_waiting: usize,
    /// Whether its games keep failing.
    pub is_failing: bool,
}

/// Where a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortPlace {
    /// Waits for a game.
    Free,
    /// A game has it.
    Leased,
    /// Rests after a game.
    Resting,
    /// Something outside Muster holds it.
    Busy,
}

/// What a game is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GameStage {
    /// Its process is being made, or loads.
    Launching,
    /// It waits for players.
    Warm,
    /// It has its players, and they were not told yet.
    Starting,
    /// Its players were told.
    Running,
    /// It is on its way to its end.
    Stopping,
}

/// A game, as far as figures go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GameFigures {
    /// Which.
    pub game: GameId,
    /// Its mode.
    pub mode: ModeId,
    /// Its port.
    pub port: u16,
    /// What it is at.
    pub stage: GameStage,
    /// Players of its match.
    pub players: usize,
    /// When its launch was ordered.
    pub since: Duration,
}

/// A player who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayerFigures<'a> {
    /// Who.
    pub player: PlayerId,
    /// As it called itself.
    pub name: &'a str,
    /// What it waits for.
    pub mode: ModeId,
    /// Its match, which has no game that plays yet.
    pub match_id: Option<MatchId>,
    /// When it joined.
    pub since: Duration,
    /// Whether it is connected; if not, its place is kept.
    pub is_here: bool,
}

impl Matchmaker {
    /// Who waits, from this player on, in the order in which they came.
    pub fn players_figures(&self, from: PlayerId) -> impl Iterator<Item = PlayerFigures<'_>> {
        self.players.range(from..).filter_map(|(&id, player)| {
            let match_id = match player.phase() {
                PlayerPhase::Queued => None,
                PlayerPhase::Matched(match_id) => Some(match_id),
                PlayerPhase::Assigned(_) => return None,
            };
            Some(PlayerFigures {
                player: id,
                name: &player.name,
                mode: player.mode,
                match_id,
                since: player.joined_at,
                is_here: player.connection.is_some(),
            })
        })
    }

    /// How a mode fares.
    ///
    /// # Panics
    /// When the mode is not one of the configuration.
    pub fn mode_figures(&self, mode: ModeId) -> ModeFigures {
        let state = &self.modes[mode.0];
        let queued = state.queue.first();
        let matched = state.waiting.first_key_value().map(|(&ticket, _)| ticket);
        // A ticket's number is its player's.
        let first = queued.into_iter().chain(matched).min().map(|ticket| PlayerId(ticket.0));
        ModeFigures {
            waiting: state.players_waiting - state.players_away,
            away: state.players_away,
            oldest_since: first.and_then(|player| self.joined_at(player)),
            matches_waiting: state.waiting.len(),
            is_failing: state.is_failing(),
        }
    }

    /// When a player joined, as long as its match is not over.
    pub fn joined_at(&self, player: PlayerId) -> Option<Duration> {
        self.players.get(&player).map(|player| player.joined_at)
    }

    /// Every port that is not free, in no order.
    pub fn ports_taken(&self) -> impl Iterator<Item = (u16, PortPlace)> {
        self.ports.taken()
    }

    /// Every game that is not gone, in the order of their launch.
    pub fn games_figures(&self) -> impl Iterator<Item = GameFigures> {
        self.games.iter().map(|(&id, game)| GameFigures {
            game: id,
            mode: game.mode,
            port: game.port,
            stage: match game.phase() {
                GamePhase::Launching => GameStage::Launching,
                GamePhase::Warm => GameStage::Warm,
                GamePhase::Starting(_) => GameStage::Starting,
                GamePhase::Running { .. } => GameStage::Running,
                GamePhase::Stopping { .. } => GameStage::Stopping,
            },
            players: game
                .match_id()
                .and_then(|id| self.matches.get(&id))
                .map_or(0, |it| it.players.len()),
            since: game.ordered_at,
        })
    }
}

impl GameStage {
    /// Every stage, in the order in which a game passes them.
    pub const ALL: [Self; 5] =
        [Self::Launching, Self::Warm, Self::Starting, Self::Running, Self::Stopping];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Launching => "launching",
            Self::Warm => "warm",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
        }
    }
}

impl PortPlace {
    /// Every place.
    pub const ALL: [Self; 4] = [Self::Free, Self::Leased, Self::Resting, Self::Busy];

    /// The word for it. A port rests, or is held by somebody else: both are called quarantined elsewhere.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Leased => "leased",
            Self::Resting => "quarantined",
            Self::Busy => "busy",
        }
    }
}

impl Totals {
    /// What became of all players so far, by the words for it.
    pub fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("joined", self.joined),
            ("assigned", self.assigned),
            ("left", self.left),
            ("expired", self.expired),
            ("timed_out", self.timed_out),
            ("evicted", self.evicted),
            ("refused", self.refused),
        ]
    }
}
