//! A simulated world around the brain: players, processes and time at their worst.
//!
//! A [`World`] draws a configuration, then one operation after another from a source of [`Choices`]. Players join and
//! leave at every moment; processes start late, hang, crash, lie and ignore signals; foreign processes hold ports; time
//! jumps onto deadlines and past them; stale inputs arrive about all games that ever were. The same choices give the
//! same world, whether a seeded generator makes them or the bytes of a fuzzer.
//!
//! A model beside the brain learns from inputs and actions alone, and judges promises: no player is lost or in two
//! matches, players are matched in order, a port has one process, every deadline is kept, restored state is the same.
//! It checks every action, and after every input what has to hold then. It does not predict how the brain chooses among
//! the ways to keep a promise. The brain's own sweep over its invariants runs beside it.
//!
//! At the end faults stop. Then all waiting players have to be served in a bounded time, every port has to return, and
//! a drain has to end.
//!
//! `mutants.toml` lists defects that the checkers have to catch.

#![forbid(unsafe_code)]

mod checkers;
mod choices;
mod inputs;
mod limits;
mod model;
mod operators;
mod quiescence;
mod restore;
mod runs;
mod setup;
mod stale_inputs;
mod step_context;
mod tally;
mod trace;
mod world;

use std::fmt;

pub use choices::{ByteChoices, Choices};
pub use runs::{Failure, Run, SeededChoices};
pub use tally::Tally;
pub use trace::{Entry, Trace};
pub use world::World;

/// A promise that is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The checker that found it.
    pub found_by: Checker,
    /// The problem.
    pub what: String,
}

/// A source of flaws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    /// The model beside the brain, from inputs and actions alone.
    Model,
    /// The brain's sweep over its invariants.
    Invariants,
    /// An assertion in the brain.
    Assertion,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.found_by, self.what)
    }
}

type CheckResult = Result<(), Flaw>;

/// A check by the model.
fn check(condition: bool, what: impl FnOnce() -> String) -> CheckResult {
    if condition { Ok(()) } else { Err(Flaw { found_by: Checker::Model, what: what() }) }
}
