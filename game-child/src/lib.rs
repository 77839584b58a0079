//! The SDK for games under Muster, and the reference games.
//!
//! A game under Muster is a process that inherits a bound UDP socket and a control channel, reports that it is
//! ready, receives its players, and plays. This library does all of that for a game that implements [`Game`];
//! [`run()`] is then the whole of `main`. [`echo`], [`tictactoe`] and [`arena`] are such games.
//!
//! There are three layers. A [`Game`] knows its rules only: messages come in, messages go out, and the time is an
//! argument. A [`Session`] is one match of it: hellos and tokens, the players' addresses, timeouts, the messages to
//! Muster. Neither reads a clock or uses a socket, so that tests run whole matches at once and deterministically.
//! [`run()`] adds the I/O: it takes the inherited descriptors, polls them, and implements the contract
//! `muster-game/1`.
//!
//! Inside the session the transport is a layer of its own: text datagrams (`plain`), or the netcode standard,
//! encrypted (`netcode`), as Muster says when it starts the match. A game does not depend on it.
//!
//! A real-time game states the length of its ticks, and gets them on time ([`Game::tick_period`]); all others run
//! only when something happens.
//!
//! A game that loads much before it can play does so in [`template()`]: Muster then starts it once, and has it
//! forked for each match.

#![forbid(unsafe_code)]

mod arrival;
mod clock;
mod contract;
mod control;
mod error;
mod game;
mod games;
mod inherit;
mod limits;
mod netcode;
mod plain;
mod report;
mod run;
mod session;
mod signals;
mod socket;
mod template;
mod transport;
mod warmup;

pub use error::RunError;
pub use game::{Game, Outbox, Tick};
pub use games::{arena, echo, tictactoe};
pub use inherit::variable;
pub use limits::PLAYERS_MAX;
pub use run::{Options, run};
pub use session::{BadStart, Match, Session};
pub use template::template;
