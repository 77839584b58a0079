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
mod setup;
mod stale_words;
#[cfg(test)]
mod tests;
mod trace;
mod world;

use std::fmt;

use crate::matchmaker::Matchmaker;

pub use choices::{ByteChoices, Choices};
pub use trace::{Entry, Trace};
pub use world::{Tally, World};

/// A defect that can be planted in the brain, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A player who goes back to its queue gets a new ticket.
    PlaceLostOnTheWayBack,
    /// The port of a game without players is free again as soon as the game is killed, not when it is gone.
    PortReturnedBeforeExit,
    /// A `ready` that comes too late is believed.
    StaleReadyAccepted,
    /// Players are told where to play before their game has started.
    AssignedBeforeStarted,
    /// Who went back to the queue is overtaken by matches that stand in line.
    LineLeftOutOfOrder,
    /// One of the players of a match that comes to nothing is not put back.
    SurvivorForgotten,
    /// A port does not rest after its players.
    QuarantineSkipped,
    /// A game that was sent its players may take for ever to start.
    StartTimeoutForgotten,
    /// A launch that was lost on its way counts as a failure of its mode.
    InterruptionCounted,
    /// The port of a launch that was lost on its way is left alone, as if something held it.
    InterruptedPortKept,
    /// A game that was born with its players and says `ready` is sent them again.
    SeatedStartedAgain,
    /// Games are launched to be warm before those that a match waits for.
    RefillBeforeDemand,
    /// Any number of games may be ordered to be warm at a time.
    RefillsUnbounded,
    /// Games are launched to be warm beside matches that are on their way to their players.
    RefillNotHeldBack,
    /// Games are launched to be warm in quiet moments only, however long there is none.
    RefillHeldBackForEver,
    /// Nobody looks again when games may be launched to be warm.
    RefillForgotten,
    /// Who comes back after its window is let in.
    WindowOverstayed,
    /// A connection that was replaced still speaks for its player.
    OlderConnectionNotFenced,
    /// Warm games that are too many are never stopped.
    SurplusKept,
    /// A brain that takes over knows of no deadline.
    DeadlinesNotWrittenDown,
}

impl Matchmaker {
    /// Whether a defect was planted.
    pub(crate) fn is_planted(&self, defect: Defect) -> bool {
        self.planted == Some(defect)
    }
}

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
