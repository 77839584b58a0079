//! Inputs and outputs of the matchmaker.

use protocol::placement::{Capacity, ToHosting, ToMatchmaker};
use protocol::report::Event;
use protocol::{Account, ConnectionId, Notice, PlayerId, Secret};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Requests of players, and events of their connections. An input about a player who is gone changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlayerInput {
    /// A player wants to join a queue.
    Ready {
        /// The player's connection.
        connection: ConnectionId,
        /// The queue's name; `None` is the default queue.
        queue: Option<String>,
        /// The player's name; `None` gets one.
        name: Option<String>,
        /// The player's skill, if it is known.
        skill: Option<i32>,
        /// The key that will name the session.
        resume_key: Secret,
        /// The token that will let the player into its game.
        token: Secret,
        /// The account that it is charged to.
        account: Account,
    },
    /// The first of a party wants all of it to join a queue, on one ticket.
    ReadyParty {
        /// The player's connection.
        connection: ConnectionId,
        /// The queue's name; `None` is the default queue.
        queue: Option<String>,
        /// For each of the party a resume key and a token, as many as [`party_size`](crate::Matchmaker::party_size)
        /// says.
        keys: Vec<(Secret, Secret)>,
    },
    /// A player gathers a party.
    CreateParty {
        /// The player's connection.
        connection: ConnectionId,
        /// The code by which others join it, drawn by the body.
        code: String,
        /// The player's name; `None` gets one.
        name: Option<String>,
        /// The player's skill, if it is known.
        skill: Option<i32>,
        /// The account that it is charged to.
        account: Account,
    },
    /// A player wants to be in a party.
    JoinParty {
        /// The player's connection.
        connection: ConnectionId,
        /// The party's.
        code: String,
        /// The player's name; `None` gets one.
        name: Option<String>,
        /// The player's skill, if it is known.
        skill: Option<i32>,
        /// The account that it is charged to.
        account: Account,
    },
    /// A player wants to be in its party no longer.
    LeaveParty {
        /// The player's connection.
        connection: ConnectionId,
    },
    /// A player wants to take up an earlier session.
    Resume {
        /// The player's connection.
        connection: ConnectionId,
        /// The key of the session; `None` does not have the form of a key.
        key: Option<Secret>,
        /// The token that will let the player into its game again, if it comes to that.
        token: Secret,
        /// The account that it is charged to from now on.
        account: Account,
    },
    /// A player wants to leave.
    Leave {
        /// The player's connection.
        connection: ConnectionId,
    },
    /// A player goes for good.
    Quit {
        /// The player's connection.
        connection: ConnectionId,
    },
    /// A player answers a ready check.
    Answer {
        /// The player's connection.
        connection: ConnectionId,
        /// Whether it takes part in the match.
        accepts: bool,
    },
    /// A connection is gone, from whatever side.
    Lost {
        /// The connection.
        connection: ConnectionId,
    },
    /// Send a player out who waits.
    Kick {
        /// The player.
        player: PlayerId,
    },
}

/// An input of the matchmaker. One about a match that is gone, or that comes too late, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// From a player, or about one.
    Player(PlayerInput),
    /// A message from hosting. Matches are formed and placed when the capacity that follows it is handled.
    Message(ToMatchmaker),
    /// The capacity of hosting.
    Capacity(Capacity),
    /// Continue with another configuration.
    Reconfigure(Box<Config>),
    /// Accept no players, and refuse waiting players.
    Drain,
    /// Accept players again.
    Undrain,
}

/// An output that follows from an input, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A message to a player.
    Send {
        /// The player's connection.
        to: ConnectionId,
        /// The message.
        notice: Notice,
    },
    /// A message to hosting.
    Message(ToHosting),
    /// An event for operators.
    Report(Event),
}
