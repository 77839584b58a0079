//! The half of Muster's brain that hosts games: which game is launched on which port, which games are kept warm, and how
//! games are stopped.
//!
//! A pure, deterministic state machine, like the matchmaker: no I/O, no clock, no randomness. It knows no players, tickets
//! and connections: a match is an id with seats, which the matchmaker places here by the messages of
//! [`protocol::placement`].
//!
//! It is driven by four calls: [`Hosting::handle`] takes an [`Input`], [`Hosting::poll_output`] gives what follows from
//! it, [`Hosting::next_deadline`] says when to call [`Hosting::handle_timeout`]. [`Hosting::capacity`] is what the
//! matchmaker may place.

#![forbid(unsafe_code)]

mod backoff;
mod config;
mod failures;
mod figures;
mod games;
mod hosting;
mod invariants;
mod io;
mod launches;
pub mod limits;
mod match_rate;
mod port_ring;
mod processes;
mod stop;
mod warm_pool;

pub use config::{Config, Mode};
pub use figures::GameFigures;
pub use hosting::Hosting;
pub use io::{GameAction, GameInput, Input, Output, SeatedMatch};
pub use port_ring::PortState;
