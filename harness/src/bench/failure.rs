//! Reasons for which a figure cannot be measured.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use client::ClientError;

/// How long anything that is due at once may take. The limit only ends what would hang.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A failed measurement. A figure that fails is reported, and the others are measured all the same.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("cannot {attempt}: {source}")]
    Os { attempt: &'static str, source: io::Error },
    #[error(transparent)]
    Start(#[from] Box<testkit::StartError>),
    #[error("muster ended with {0}")]
    Ended(String),
    #[error("waited {limit:?} without success for {what}")]
    TimedOut { what: &'static str, limit: Duration },
    #[error("muster sent {said:?} instead of {awaited}")]
    Unexpected { said: String, awaited: &'static str },
    #[error(
        "{} has no place for the figures: the lines <!-- figures: begin --> and <!-- figures: end -->",
        .0.display()
    )]
    NoPlace(PathBuf),
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// For `map_err`: names what was attempted.
pub(crate) fn os(attempt: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Os { attempt, source }
}
