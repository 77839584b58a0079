//! One world from one seed, and what a flaw in it looks like to the player who has to find the defect.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::limits::TRACE_MAX;
use crate::{Checker, Choices, Flaw, Tally, Trace, World};

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

/// A flaw, and all that helps to find its cause.
#[derive(Debug)]
pub struct Failure {
    /// The flaw.
    pub flaw: Flaw,
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
    /// The only checker that is used; `None`: all are.
    pub only: Option<Checker>,
    /// Entries of the trace that are kept.
    pub trace_max: usize,
}

impl Run {
    /// A run with all checkers.
    pub fn new(seed: u64, steps: usize) -> Self {
        Self { seed, steps, only: None, trace_max: TRACE_MAX }
    }

    /// Runs the world to its end.
    ///
    /// # Errors
    /// The first flaw. An assertion that fails in the brain is one.
    pub fn go(self) -> Result<(Tally, Trace), Box<Failure>> {
        let mut choices = SeededChoices::new(self.seed);
        let mut world = World::new(&mut choices, Trace::new(self.trace_max));
        if let Some(checker) = self.only {
            world = world.checked_only_by(checker);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| world.run(self.steps)));
        let flaw = match outcome {
            Ok(Ok(())) => return Ok((world.tally().clone(), world.trace().clone())),
            Ok(Err(flaw)) => flaw,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let literal = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let what = text.or(literal).unwrap_or_default();
                Flaw { found_by: Checker::Assertion, what }
            }
        };
        let story = format!("{:#?}\n{}", world.config(), world.trace());
        Err(Box::new(Failure { flaw, story }))
    }
}
