//! Invariants and their violations.

use std::fmt;

/// An invariant that does not hold: a defect of a state machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether an invariant holds.
pub type Check = Result<(), Violation>;

/// Demands a condition.
///
/// # Errors
/// A [`Violation`] with this text if the condition is false.
pub fn holds(condition: bool, what: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(Violation(what())) }
}
