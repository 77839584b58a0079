//! Deadlines and invariants, shared by Muster's pure state machines.

#![forbid(unsafe_code)]

mod deadlines;
mod invariants;

pub use deadlines::Deadlines;
pub use invariants::{Check, Violation, holds};
