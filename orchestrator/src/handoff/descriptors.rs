//! The common parts of all saved states: descriptors that stay open across an exec, and errors.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use serde_json::error::Category;

use crate::clock::NOT_YET;

/// The version of the state's format. It changes when the meaning of a field changes.
pub(crate) const FORMAT: u32 = 1;

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    #[error("cannot read the state: {0}")]
    Read(#[from] io::Error),
    #[error("the state is not understood: {}", without_values(.0))]
    Parse(#[from] serde_json::Error),
    #[error("the state has format {0}, and this version reads {FORMAT}")]
    Format(u32),
    #[error("the state has no live part")]
    NotLive,
    #[error("the state ends at {NOT_YET}")]
    Future,
    #[error("the configuration changes {0}, which requires a stop and a start")]
    Config(&'static str),
    #[error("the configuration has {0}")]
    Places(String),
    #[error("descriptor {number}, {what}, was not handed over: {source}")]
    Descriptor { number: RawFd, what: &'static str, source: io::Error },
}

/// The error in JSON, without its values, which contain keys and tokens.
pub(super) fn without_values(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let told = error.to_string();
    match error.classify() {
        // What is missing is named by the program alone, and a time is no secret.
        Category::Data if told.starts_with("missing field") || told.starts_with(NOT_YET) => told,
        Category::Data => format!("an invalid value at line {line} column {column}"),
        _ => format!("invalid JSON at line {line} column {column}"),
    }
}

/// Whether a value need not be written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The descriptors that a state names, collected when it is written.
#[derive(Default)]
pub(crate) struct InheritedFds(Vec<RawFd>);

impl InheritedFds {
    /// Keeps a descriptor; its number, which it has in the next program, too.
    pub(crate) fn keep(&mut self, descriptor: &impl AsRawFd) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.0.push(number);
        number
    }

    pub(crate) fn numbers(&self) -> &[RawFd] {
        &self.0
    }
}

/// Takes a descriptor that the program before this one has kept.
///
/// # Errors
/// [`StateError::Descriptor`] when there is none, or it was taken already.
pub(crate) fn take(number: RawFd, what: &'static str) -> Result<OwnedFd, StateError> {
    process::take_inherited(number).map_err(|source| StateError::Descriptor {
        number,
        what,
        source,
    })
}
