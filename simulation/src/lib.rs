//! A simulated world around the brain: players, processes and time as they might be at their worst.
//!
//! A [`World`] draws a configuration, then one operation after another from a source of [`Choices`]: players
//! come and go at every moment, processes start late, hang, crash, lie and ignore their signals, outsiders sit
//! on ports, time jumps onto deadlines and past them, and stale words come about all that ever was. The same
//! choices give the same world, whether a seeded generator makes them or the bytes of a fuzzer.
//!
//! A book beside the brain holds what the world knows for itself, from the inputs and the actions alone:
//! who stands where, which process lives on which port. It judges every action by it, and after every input
//! it demands what must hold then. So it finds a defect that the brain's own sweep shares in.
//!
//! At the end comes the calm: faults stop, and whoever waits has to be served in bounded time, every port
//! has to come back, and a drain has to end.

#![forbid(unsafe_code)]

mod book;
mod calm;
mod choices;
mod crashes;
mod demands;
mod judge_games;
mod judge_parties;
mod judge_players;
mod judge_returns;
mod moment;
mod operators;
mod runs;
mod setup;
mod stale_words;
mod trace;
mod world;

use std::fmt;

pub use choices::{ByteChoices, Choices};
pub use runs::{Found, FoundBy, Run, SeededChoices};
pub use trace::{Entry, Trace};
pub use world::{Tally, World};

/// Something that must not be, and who saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Who saw it.
    pub seen_by: Witness,
    /// What it is.
    pub what: String,
}

/// Who can see a flaw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// The world's own book, from inputs and actions alone.
    Book,
    /// The brain's sweep over its invariants.
    Sweep,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.seen_by, self.what)
    }
}

/// What a look at the world gives.
type Verdict = Result<(), Flaw>;

/// Demands a condition on behalf of the world's book.
fn demand(condition: bool, what: impl FnOnce() -> String) -> Verdict {
    if condition { Ok(()) } else { Err(Flaw { seen_by: Witness::Book, what: what() }) }
}
