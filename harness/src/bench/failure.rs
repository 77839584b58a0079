//! Why a figure could not be measured.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use client::ClientError;

/// What went wrong. A figure that fails says so, and the others are measured all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot {attempt}: {source}")]
    Os { attempt: &'static str, source: io::Error },
    #[error("muster refuses its configuration: {0}")]
    ConfigRefused(String),
    #[error("muster ended with {0}")]
    Ended(String),
    #[error("waited {limit:?} in vain for {what}")]
    TimedOut { what: &'static str, limit: Duration },
    #[error("muster said {said:?} to one who waited for {awaited}")]
    Unexpected { said: String, awaited: &'static str },
    #[error(
        "{} has no place for the figures: the lines <!-- figures: begin --> and <!-- figures: end -->",
        .0.display()
    )]
    NoPlace(PathBuf),
    #[error("no block of {0} UDP ports is free")]
    NoPorts(u16),
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// For `map_err`: names what was attempted.
pub(crate) fn os(attempt: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Os { attempt, source }
}
