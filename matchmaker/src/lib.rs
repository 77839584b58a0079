//! The brain of Muster: who waits, who plays with whom, on which game and port.
//!
//! A pure, deterministic state machine. It holds no descriptor, reads no clock, draws no random number, writes
//! no log: the body (the `orchestrator`) turns what the kernel says into an [`Input`], and performs each
//! [`Action`] that comes out. The same inputs at the same times give the same actions, on every machine.
//!
//! Four calls are all there is. [`Matchmaker::handle`] says what happened; [`Matchmaker::poll_action`] says
//! what to do about it, until nothing is left; [`Matchmaker::next_deadline`] says when to call
//! [`Matchmaker::handle_timeout`], if nothing happens before. Time is a monotonic [`Duration`] since the start.
//!
//! Its things are players (with a ticket, their place in a [`queue`]), matches, games (processes) and ports;
//! each has a phase, an enum whose moves one function checks. What is left out: sockets, processes, secrets
//! (drawn by the body and handed in), and what is played.
//!
//! [`Duration`]: std::time::Duration

#![forbid(unsafe_code)]

mod accounts;
mod arrivals;
mod backfill;
mod brief;
mod conduct;
mod config;
mod deadlines;
mod endings;
mod figures;
mod forming;
mod games;
mod going_down;
mod invariants;
mod io;
mod joining;
pub mod limits;
mod lineup;
mod matches;
mod matchmaker;
mod modes;
mod offers;
mod order;
mod parties;
mod players;
mod ports;
pub mod queue;
mod reconfigure;
mod recovery;
mod refills;
mod returns;
mod seating;
mod sessions;
mod supply;
mod warmth;

pub use config::{Config, Mode, Skill};
pub use figures::{GameFigures, GameStage, ModeFigures, PlayerFigures, PortPlace};
pub use invariants::Violation;
pub use io::{
    Action, Event, Exit, GameFault, Input, LaunchFault, MatchEnd, SeatedMatch, StopReason,
};
pub use lineup::SkillRules;
pub use matchmaker::{Matchmaker, ModeStatus, Totals};
pub use protocol::{Account, ConnectionId, GameId, MatchId, ModeId, PlayerId};
pub use reconfigure::Unchangeable;
