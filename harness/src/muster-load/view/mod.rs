//! What is seen while it runs: a table that refreshes on a terminal, a line a second elsewhere.

mod lines;
mod table;

use std::io::IsTerminal as _;
use std::time::Duration;

use crate::measure::Sample;
use crate::players::Players;

/// Where the run shows itself. All of it goes to stderr: stdout is the report's.
#[derive(Debug)]
pub(crate) enum View {
    Nothing,
    Lines(lines::Lines),
    Table(table::Table),
}

impl View {
    /// What suits the place: nothing if so wished, a table on a terminal, lines elsewhere.
    pub(crate) fn new(is_quiet: bool, duration: Duration) -> Self {
        match (is_quiet, std::io::stderr().is_terminal()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Table(table::Table::new(duration)),
            (false, false) => Self::Lines(lines::Lines::default()),
        }
    }

    /// Shows how it stands.
    pub(crate) fn show(
        &mut self,
        now: Duration,
        players: &Players,
        last: Option<&Sample>,
        is_ending: bool,
    ) {
        match self {
            Self::Nothing => {}
            Self::Lines(lines) => lines.show(now, players, last),
            Self::Table(table) => table.show(now, players, last, is_ending),
        }
    }

    /// Shows something that is not to be overlooked.
    pub(crate) fn warn(&mut self, text: &str) {
        match self {
            Self::Nothing | Self::Lines(_) => lines::warn(text),
            Self::Table(table) => table.warn(text),
        }
    }

    /// Makes room for the report.
    pub(crate) fn finish(&mut self) {
        if let Self::Table(table) = self {
            table.finish();
        }
    }
}
