//! Muster's brain on one box: the [`matchmaker`] and [`hosting`], joined in the same turn.
//!
//! A pure, deterministic state machine. It holds no descriptor, reads no clock, draws no random number and writes no log:
//! the body (the `orchestrator`) turns what the kernel reports into an [`Input`], and performs each [`Action`]. The same
//! inputs at the same times give the same actions, on every machine.
//!
//! Four calls drive it. [`Brain::handle`] takes an input; [`Brain::poll_action`] gives what to do about it, until nothing
//! is left; [`Brain::next_deadline`] says when to call [`Brain::handle_timeout`] if nothing happens before. Time is a
//! monotonic [`Duration`] since the start.
//!
//! Neither half knows the other: they exchange the messages of [`protocol::placement`], and hosting's capacity is known to
//! the matchmaker exactly at the end of each turn. What is left out: sockets, processes, secrets (drawn by the body), and
//! what is played.
//!
//! [`Duration`]: std::time::Duration

#![forbid(unsafe_code)]

mod brain;
mod config;
mod figures;
mod invariants;
mod io;

pub use hosting::{GameAction, GameFigures, GameInput, PortState, SeatedMatch};
pub use machine::Violation;
pub use matchmaker::{PlayerFigures, PlayerInput, Skill, SkillRules, Totals};
pub use protocol::placement::GameSource;
pub use protocol::report::{Event, Exit, GameFault, GamePhase, LaunchFault, MatchEnd, StopReason};
pub use protocol::{Account, ConnectionId, GameId, MatchId, ModeId, PlayerId};

pub use crate::brain::Brain;
pub use crate::config::{Config, Mode, Unchangeable};
pub use crate::figures::{ModeFigures, ModeStatus};
pub use crate::io::{Action, Input};

/// The fixed bounds of both halves.
pub mod limits {
    pub use hosting::limits::*;
    pub use matchmaker::limits::*;
}
