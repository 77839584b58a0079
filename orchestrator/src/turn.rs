//! What the loop lends an owner for a moment of its turn.

use std::collections::VecDeque;

use brain::Input;
use mio::Registry;

use crate::clock::Instant;
use crate::config::Config;
use crate::operators::metrics::Counts;

/// What the owners share. An owner decides nothing: what happened, it puts among the inputs.
pub(crate) struct Turn<'a> {
    /// The time of the turn.
    pub(crate) now: Instant,
    pub(crate) registry: &'a Registry,
    pub(crate) config: &'a Config,
    pub(crate) counts: &'a mut Counts,
    /// What the brain handles next.
    pub(crate) inputs: &'a mut VecDeque<Input>,
    /// A buffer for reads: one for all, so that an idle connection holds none.
    pub(crate) chunk: &'a mut [u8],
    /// Whether a descriptor was closed, so that an accept that failed for want of one may work now.
    pub(crate) closed_a_descriptor: &'a mut bool,
}

impl Turn<'_> {
    pub(crate) fn push(&mut self, input: Input) {
        self.inputs.push_back(input);
    }
}
