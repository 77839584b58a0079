//! What can go wrong for a player.

use std::io;
use std::time::Duration;

use protocol::LineError;

use crate::link::Closed;

/// What was attempted, on what, and why it failed. Texts from the other side are made visible.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is at this address.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The address, as it was given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// An operation on a socket failed.
    #[error("cannot {what} {address}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// With whom.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The other side did not do in time what was waited for.
    #[error("{address} gave no {what} within {limit:?}")]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// From whom.
        address: String,
        /// How long.
        limit: Duration,
    },
    /// Muster ended the connection where more was due.
    #[error("{address} closed the connection")]
    HungUp {
        /// Who did.
        address: String,
    },
    /// A line that is none of Muster's.
    #[error("{address} sent a line that makes no sense, {line}: {source}")]
    BadLine {
        /// Who did.
        address: String,
        /// The line, cut and made visible.
        line: String,
        /// What is wrong with it.
        source: LineError,
    },
    /// A line longer than the protocol's lines are.
    #[error("{address} sent a line of more than {} bytes", protocol::SERVER_LINE_MAX)]
    LongLine {
        /// Who did.
        address: String,
    },
    /// Muster said that it cannot be done.
    #[error("{address} answered {number} {text}")]
    Refused {
        /// Who did.
        address: String,
        /// The number of the error.
        number: u16,
        /// Its text.
        text: String,
    },
    /// Muster took the player out: it said goodbye, or the player was evicted or has left.
    #[error("{address} ended it: {reason}")]
    Ended {
        /// Who did.
        address: String,
        /// Its last line.
        reason: String,
    },
    /// The match's transport is not one that this library speaks.
    #[error("the game on {address} speaks the transport {transport}, which this client does not")]
    Transport {
        /// The game's address.
        address: String,
        /// What it speaks.
        transport: String,
    },
    /// The game's side of the link is gone.
    #[error("the game on {address} {closed}")]
    Game {
        /// The game's address.
        address: String,
        /// How it went.
        closed: Closed,
    },
}

impl ClientError {
    /// Whether nobody could be reached in the first place.
    pub fn is_connect(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    /// Whether the connection to Muster is lost, or did not come about, without a word of Muster's: the place
    /// may still be there.
    pub fn is_lost_connection(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Io { .. } | Self::TimedOut { .. } | Self::HungUp { .. }
        )
    }

    /// Whether a player and its game do not hear each other any more, though the game may go on.
    pub fn is_lost_game(&self) -> bool {
        matches!(self, Self::Game { closed: Closed::Silent, .. })
    }
}
