//! Inputs and actions of the brain: those of its halves, and the commands for both.

use hosting::{GameAction, GameInput};
use matchmaker::PlayerInput;
use protocol::report::Event;
use protocol::{ConnectionId, Notice};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Something that happened. An input about a thing that is gone, or that comes too late, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// From a player, or about one.
    Player(PlayerInput),
    /// From a game, or about one.
    Game(GameInput),
    /// Continue with another configuration. One that the brain cannot continue with changes nothing, see
    /// [`Brain::may_reconfigure`](crate::Brain::may_reconfigure).
    Reconfigure(Box<Config>),
    /// Accept no players, let running games end, then stop.
    Drain,
    /// Accept players again, unless no game was left already. Games that are being stopped still end.
    Undrain,
    /// Stop now.
    Stop,
}

/// Something to do. Each carries everything that is needed to do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a player a message.
    Send {
        /// The player's connection.
        to: ConnectionId,
        /// The message.
        notice: Notice,
    },
    /// Do something to a game.
    Game(GameAction),
    /// Report an event to operators.
    Report(Event),
    /// The drain is over: no game is left.
    Drained,
}
