//! The daemon's view of templates, which the launcher keeps: who they are, and what they print.

use std::os::fd::OwnedFd;
use std::time::Instant;

use matchmaker::ModeId;
use mio::Registry;

use crate::output::{Output, Printed};
use crate::tokens;

/// A mode's newest template.
pub(crate) struct Template {
    pub(crate) pid: i32,
    output: Output,
    has_more: bool,
}

impl Template {
    /// Has the poll watch what it prints.
    pub(crate) fn new(
        mode: ModeId,
        pid: i32,
        output: Option<OwnedFd>,
        registry: &Registry,
        lines_per_second: u32,
        now: Instant,
    ) -> Self {
        let output = Output::new(output, tokens::template(mode), registry, lines_per_second, now);
        Self { pid, output, has_more: false }
    }

    /// Reads what it printed, its share of a turn.
    pub(crate) fn read(&mut self, chunk: &mut [u8], now: Instant) -> Vec<Printed> {
        let (printed, has_more) = self.output.read(chunk, now);
        self.has_more = has_more;
        printed
    }

    /// Whether its turn was over before all was read.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }
}
