//! Errors of a player.

use std::io;
use std::time::Duration;

use protocol::LineError;

use crate::link::Closed;

/// What was attempted, with which address, and why it failed. Text from the other side is escaped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address, as given.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// An operation on a socket failed.
    #[error("cannot {what} {address}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// The address of the other side.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The other side did not answer in time.
    #[error("{address} gave no {what} within {limit:?}")]
    TimedOut {
        /// The expected answer.
        what: &'static str,
        /// The address of the other side.
        address: String,
        /// The time limit.
        limit: Duration,
    },
    /// Muster closed the connection unexpectedly.
    #[error("{address} closed the connection")]
    HungUp {
        /// Muster's address.
        address: String,
    },
    /// A line that is not a valid reply.
    #[error("{address} sent a malformed line, {line}: {source}")]
    BadLine {
        /// Muster's address.
        address: String,
        /// The line, truncated and escaped.
        line: String,
        /// The error in it.
        source: LineError,
    },
    /// A line that exceeds the protocol's limit.
    #[error("{address} sent a line of more than {} bytes", protocol::SERVER_LINE_MAX)]
    LongLine {
        /// Muster's address.
        address: String,
    },
    /// Muster answered with an error.
    #[error("{address} answered {number} {text}")]
    Refused {
        /// Muster's address.
        address: String,
        /// The error's number.
        number: u16,
        /// The error's text.
        text: String,
    },
    /// Muster removed the player: it sent a goodbye, or the player was evicted or has left.
    #[error("{address} ended the session: {reason}")]
    Ended {
        /// Muster's address.
        address: String,
        /// Its last line.
        reason: String,
    },
    /// This library does not support the match's transport.
    #[error(
        "the game on {address} uses the transport {transport}, which this client does not support"
    )]
    Transport {
        /// The game's address.
        address: String,
        /// The transport.
        transport: String,
    },
    /// The link to the game has ended.
    #[error("the game on {address} {closed}")]
    Game {
        /// The game's address.
        address: String,
        /// The reason.
        closed: Closed,
    },
}

impl ClientError {
    /// Whether the connection could not be established.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    /// Whether the connection to Muster was lost, or could not be established, without a notice: the session may still
    /// be kept.
    pub fn is_lost_connection(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Io { .. } | Self::TimedOut { .. } | Self::HungUp { .. }
        )
    }

    /// Whether the player and the game no longer receive each other's messages, although the game may continue.
    pub fn is_lost_game(&self) -> bool {
        matches!(self, Self::Game { closed: Closed::Silent, .. })
    }
}
