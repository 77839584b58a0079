//! The display during the run: a table that refreshes on a terminal, a line a second elsewhere.

mod lines;
mod table;

use std::io::IsTerminal as _;
use std::time::Duration;

use crate::measure::Sample;
use crate::players::Players;

/// The display. It uses stderr only: stdout is for the report.
#[derive(Debug)]
pub(crate) enum View {
    Nothing,
    Lines(lines::Lines),
    Table(table::Table),
}

impl View {
    /// The suitable display: none if quiet, a table on a terminal, lines elsewhere.
    pub(crate) fn new(is_quiet: bool, duration: Duration) -> Self {
        match (is_quiet, std::io::stderr().is_terminal()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Table(table::Table::new(duration)),
            (false, false) => Self::Lines(lines::Lines::default()),
        }
    }

    /// Shows the current state.
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

    /// Shows an important message.
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
