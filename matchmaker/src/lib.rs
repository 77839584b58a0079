//! The half of Muster's brain that makes matches: which players wait, and which of them play together.
//!
//! A pure, deterministic state machine. It holds no descriptor, reads no clock, draws no random number and writes no log:
//! the same inputs at the same times give the same outputs, on every machine. It knows no port and no process: a match is
//! placed with hosting by the messages of [`protocol::placement`].
//!
//! It is driven by four calls. [`Matchmaker::handle`] takes an [`Input`]; [`Matchmaker::poll_output`] gives what follows
//! from it, until nothing is left; [`Matchmaker::next_deadline`] says when to call [`Matchmaker::handle_timeout`] if nothing
//! happens before. Time is a monotonic [`Duration`] since the start.
//!
//! Players have a ticket with a position in a [`queue`]; matches are offered, placed, started and assigned. Each has a
//! phase, an enum whose changes one function checks.
//!
//! [`Duration`]: std::time::Duration

#![forbid(unsafe_code)]

mod accounts;
mod backfill;
mod brief;
mod conduct;
mod config;
mod deadlines;
mod drain;
mod figures;
mod forming;
mod invariants;
mod io;
mod joining;
pub mod limits;
mod lineup;
mod matches;
mod matchmaker;
mod offers;
mod order;
mod parties;
mod placements;
mod placing;
mod players;
pub mod queue;
mod queue_state;
mod reconfigure;
mod returns;
mod sessions;
mod waiting;

pub use config::{Config, Mode, Skill};
pub use figures::{ModeFigures, PlayerFigures};
pub use io::{Input, Output, PlayerInput};
pub use lineup::SkillRules;
pub use matchmaker::{Matchmaker, Totals};
