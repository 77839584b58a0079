//! Inputs and outputs of hosting.

use std::time::Duration;

use protocol::placement::{ToHosting, ToMatchmaker};
use protocol::report::{Event, Exit, LaunchFault};
use protocol::{GameId, MatchId, ModeId, Seat};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Events of games, and their reports. An input about a game that is gone, or that comes too late, changes
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum GameInput {
    /// A game's process exists.
    Launched {
        /// The game.
        game: GameId,
    },
    /// A game's process could not be made.
    LaunchFailed {
        /// The game.
        game: GameId,
        /// Why.
        fault: LaunchFault,
    },
    /// A game sent `ready`.
    Ready {
        /// The game.
        game: GameId,
    },
    /// A game sent `started`.
    Started {
        /// The game.
        game: GameId,
    },
    /// A game sent `joined`.
    Joined {
        /// The game.
        game: GameId,
        /// The player's slot.
        slot: usize,
    },
    /// A game sent `left`.
    Left {
        /// The game.
        game: GameId,
        /// The player's slot.
        slot: usize,
    },
    /// A game sent `backfill`.
    Backfill {
        /// The game.
        game: GameId,
        /// The slots that are open.
        slots: Vec<usize>,
    },
    /// A game sent `alive`.
    Alive {
        /// The game.
        game: GameId,
    },
    /// A game sent `result`.
    Result {
        /// The game.
        game: GameId,
        /// The result's fields, as JSON.
        result: String,
    },
    /// A game broke the contract; nothing that it sends can be trusted any more.
    Broken {
        /// The game.
        game: GameId,
        /// The violation, for the log.
        what: String,
    },
    /// A game and all of its processes are dead, and everything that it sent was read.
    Exited {
        /// The game.
        game: GameId,
        /// How it ended.
        exit: Exit,
    },
    /// All processes of a game are gone, and something else holds its port. `Exited` follows.
    PortTaken {
        /// The game.
        game: GameId,
    },
    /// End a game, even if a match is played there.
    End {
        /// The game.
        game: GameId,
        /// Whether it is killed at once, without its grace.
        now: bool,
    },
}

/// An input of hosting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// From a game, or about one.
    Game(GameInput),
    /// A message from the matchmaker.
    Message(ToHosting),
    /// Continue with another configuration.
    Reconfigure(Box<Config>),
    /// Let running games end, then stop.
    Drain,
    /// Host matches again, unless no game was left already.
    Undrain,
    /// Stop now.
    Stop,
}

/// An output that follows from an input, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Something to do to a game.
    Act(GameAction),
    /// A message to the matchmaker.
    Message(ToMatchmaker),
    /// An event for operators.
    Report(Event),
    /// The drain is over: no game is left.
    Drained,
}

/// Something to do to a game. Each carries everything that is needed to do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GameAction {
    /// Make a game's process; answered by `Launched` or `LaunchFailed`.
    Launch {
        /// The game.
        game: GameId,
        /// Its mode.
        mode: ModeId,
        /// Its port.
        port: u16,
        /// The match that it is launched for. No `Start` follows.
        seated: Option<SeatedMatch>,
    },
    /// Send a game its players.
    Start {
        /// The game.
        game: GameId,
        /// Its mode.
        mode: ModeId,
        /// The match.
        match_id: MatchId,
        /// Its players, by slot.
        seats: Vec<Seat>,
    },
    /// Send a running game the players for its open slots.
    Fill {
        /// The game.
        game: GameId,
        /// The players, by slot.
        seats: Vec<Seat>,
    },
    /// Send a running game a player who rejoins with a new token.
    Rejoin {
        /// The game.
        game: GameId,
        /// The player's slot and token.
        seat: Seat,
    },
    /// Send a game `stop`.
    Stop {
        /// The game.
        game: GameId,
        /// The time until SIGKILL.
        grace: Duration,
    },
    /// Send a game SIGTERM.
    Terminate {
        /// The game.
        game: GameId,
    },
    /// Send SIGKILL to all processes of a game. Repeated until the game is gone.
    Kill {
        /// The game.
        game: GameId,
    },
}

/// A match with whose players a game is launched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatedMatch {
    /// The match.
    pub match_id: MatchId,
    /// Its players, by slot.
    pub seats: Vec<Seat>,
}
