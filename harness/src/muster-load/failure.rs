//! Why there is no run, or no report.

use std::io;
use std::path::PathBuf;

use client::ClientError;

use crate::limits::TooSmall;
use crate::scenario_file::ScenarioError;

/// An error, with what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
    #[error("{source}; is Muster running there? (`muster serve`)")]
    Unreachable { source: ClientError },
    #[error("cannot begin: {source}")]
    Unwelcome { source: ClientError },
    #[error("{address} has no queue {queue}; it has {has}")]
    NoSuchQueue { address: String, queue: String, has: String },
    #[error("cannot {attempt}: {source}")]
    Os { attempt: &'static str, source: io::Error },
    #[error("cannot write the report {}: {source}", file.display())]
    Report { file: PathBuf, source: io::Error },
}

impl Failure {
    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Scenario(_) => 2,
            Self::TooSmall(_)
            | Self::Unreachable { .. }
            | Self::Unwelcome { .. }
            | Self::NoSuchQueue { .. }
            | Self::Os { .. }
            | Self::Report { .. } => 3,
        }
    }
}
