//! The checks: what actions may do, and what has to hold after every input.

mod games;
mod matching;
mod notices;
mod sessions;
mod state;

pub(crate) use state::check_invariants;
