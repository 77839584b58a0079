//! The parts that all figures share: the scale, and the output of the table.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use crate::report::Report;
use crate::stats::Row;

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    /// Latencies of each kind.
    pub(crate) latencies: usize,
    /// Stretches of each kind in which games are counted, and how long one is.
    pub(crate) stretches: usize,
    pub(crate) stretch: Duration,
    /// Games whose memory is looked at.
    pub(crate) living: u16,
    /// How many games tick at a time, one round after the other.
    pub(crate) tick_games: Vec<u16>,
    /// Their ticks in a second, one rate after the other.
    pub(crate) tick_rates: Vec<u32>,
    pub(crate) tick_length: Duration,
    pub(crate) tick_rounds: usize,
    /// Games that start at once, and how often they do.
    pub(crate) stall_games: u16,
    pub(crate) stall_rounds: usize,
    /// How many clients wait in queues, and how often.
    pub(crate) idle_clients: Vec<usize>,
    pub(crate) idle_rounds: usize,
    /// How many clients wait while a match is measured; the first number is what the others are compared with.
    pub(crate) growth_clients: Vec<usize>,
    /// How many tickets wait in the brain; the first number is what the others are compared with.
    pub(crate) brain_tickets: Vec<usize>,
    /// Clients who are there when the daemon is upgraded, and when it crashes.
    pub(crate) upgrade_clients: usize,
    pub(crate) upgrades: usize,
    pub(crate) crashes: usize,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) scale: Scale,
    report: RefCell<Report>,
}

impl Bench {
    pub(crate) fn new(scale: Scale) -> Self {
        Self { scale, report: RefCell::new(Report::begin()) }
    }

    /// The run as data, when all is measured.
    pub(crate) fn into_report(self) -> Report {
        self.report.into_inner()
    }

    /// Prints the title of a figure.
    pub(crate) fn title(&self, title: &str) {
        self.report.borrow_mut().add_figure(title);
        self.line(format_args!("\n{title}\n{}", Row::heading()));
    }

    /// Prints a row of the table.
    pub(crate) fn print(&self, row: &Row) {
        self.report.borrow_mut().add_row(row);
        self.line(row);
    }

    /// Prints what is no row.
    pub(crate) fn note(&self, text: impl Display) {
        let text = text.to_string();
        self.report.borrow_mut().add_note(&text);
        self.line(format_args!("  {text}"));
    }

    /// Prints a line. Errors of the reader are ignored.
    pub(crate) fn line(&self, line: impl Display) {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
