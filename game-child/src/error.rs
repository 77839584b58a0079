//! Errors of a game process.

use std::io;

use crate::session::BadStart;

/// Why [`run`](crate::run()) or [`template`](crate::template()) failed, with what was attempted.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The environment names no control channel.
    #[error(
        "MUSTER_CONTROL_FD is not set: Muster starts this program, with a socket and a control channel. Name \
         it in a mode's `command` and start `muster serve`"
    )]
    NotUnderMuster,
    /// The environment names a control channel that cannot be one.
    #[error("MUSTER_CONTROL_FD={0} is not the number of a descriptor")]
    BadControlNumber(String),
    /// Muster uses another version of the contract.
    #[error("MUSTER_PROTOCOL={0}, but this game implements {expected}", expected = protocol::GAME_PROTOCOL)]
    Protocol(String),
    /// An inherited descriptor is missing.
    #[error("descriptor {number}, {what}, is not open: start this program as a game of Muster")]
    Missing {
        /// The descriptor.
        number: i32,
        /// The expected kind of descriptor.
        what: &'static str,
    },
    /// An inherited descriptor is something else.
    #[error("descriptor {number} is not {what}: start this program as a game of Muster")]
    Foreign {
        /// The descriptor.
        number: i32,
        /// The expected kind of descriptor.
        what: &'static str,
    },
    /// The kernel did not let this process use its own descriptor.
    #[error(
        "cannot take descriptor {number}, {what}: {source} (pidfd_open and pidfd_getfd must be allowed)"
    )]
    Take {
        /// The descriptor.
        number: i32,
        /// The expected kind of descriptor.
        what: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// A template's load failed.
    #[error("cannot load: {0}")]
    Load(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A request to a template came with the wrong number of descriptors.
    #[error(
        "{count} descriptors came with the request: it needs a socket, a control channel and a log"
    )]
    Descriptors {
        /// The number of descriptors.
        count: usize,
    },
    /// A fork cannot have a descriptor under the number that the contract requires.
    #[error("descriptor {number} is in use; a template must leave it to its forks")]
    Occupied {
        /// The descriptor.
        number: i32,
    },
    /// Muster started a match that the game cannot play.
    #[error("cannot start match {match_id}: {source}")]
    Start {
        /// The match, made visible.
        match_id: String,
        /// The reason.
        source: BadStart,
    },
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    Os {
        /// The attempted operation.
        what: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}

impl RunError {
    /// The exit code, as in `sysexits.h`: 64 when the program is not started as a game, 1 for a failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotUnderMuster
            | Self::BadControlNumber(_)
            | Self::Protocol(_)
            | Self::Missing { .. }
            | Self::Foreign { .. } => 64,
            Self::Take { .. }
            | Self::Load(_)
            | Self::Descriptors { .. }
            | Self::Occupied { .. }
            | Self::Start { .. }
            | Self::Os { .. } => 1,
        }
    }
}
