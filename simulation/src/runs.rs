//! One world from one seed, and what a flaw in it looks like to the person who has to find the defect.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::{Choices, Tally, Trace, Witness, World};

/// Choices made by a generator whose stream is the same on every machine and in every version.
#[derive(Debug)]
pub struct SeededChoices(ChaCha8Rng);

impl SeededChoices {
    /// The choices of a seed.
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
}

impl Choices for SeededChoices {
    fn below(&mut self, bound: u32) -> u32 {
        self.0.next_u32() % bound
    }
}

/// What found a flaw in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundBy {
    /// The model beside the brain.
    Book,
    /// The brain's sweep over its invariants.
    Sweep,
    /// An assertion in the brain.
    Panic,
}

/// A flaw, and all that helps to find its cause.
#[derive(Debug)]
pub struct Found {
    /// What found it.
    pub by: FoundBy,
    /// What is wrong.
    pub what: String,
    /// The configuration of the world and the last entries of its trace.
    pub story: String,
}

/// One run of one world.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// All choices follow from it.
    pub seed: u64,
    /// Operations until faults stop.
    pub steps: usize,
    /// The only witness that is asked after each input; `None`: all are.
    pub only: Option<Witness>,
    /// Entries of the trace that are kept.
    pub trace_max: usize,
}

impl Run {
    /// A run in which all witnesses are asked.
    pub fn new(seed: u64, steps: usize) -> Self {
        Self { seed, steps, only: None, trace_max: 60 }
    }

    /// Runs the world to its end.
    ///
    /// # Errors
    /// The first flaw; an assertion that fails in the brain is one.
    pub fn go(self) -> Result<(Tally, Trace), Found> {
        let mut choices = SeededChoices::new(self.seed);
        let mut world = World::new(&mut choices, Trace::new(self.trace_max));
        if let Some(witness) = self.only {
            world = world.watched_only_by(witness);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| world.run(self.steps)));
        let (by, what) = match outcome {
            Ok(Ok(())) => return Ok((world.tally().clone(), world.trace().clone())),
            Ok(Err(flaw)) => match flaw.seen_by {
                Witness::Book => (FoundBy::Book, flaw.what),
                Witness::Sweep => (FoundBy::Sweep, flaw.what),
            },
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                (FoundBy::Panic, text.or(literal).unwrap_or_default())
            }
        };
        let story = format!("{:#?}\n{}", world.config(), world.trace());
        Err(Found { by, what, story })
    }
}
