//! Games under Muster: the reference games, and what it takes to write another.
//!
//! A game under Muster is a process that finds a bound UDP socket and a control channel when it is born, says
//! that it is ready, is told who will play, and plays. This library does all of that for a game that is written
//! as one implementation of [`Game`]; [`run()`] is then the whole of `main`. [`echo`], [`tictactoe`] and
//! [`arena`] are games written so.
//!
//! Three layers, from the pure to the worldly. A [`Game`] knows its rules and nothing else: words come in, words
//! go out, and the time is told to it. A [`Session`] is one match of it: hellos and tokens, which address is
//! which player, who has gone silent, what Muster is told. Neither reads a clock or touches a socket, so that
//! whole matches run in a test in no time and the same way each time. [`run()`] connects them to the world: it
//! takes the inherited descriptors, polls them, and keeps the contract `muster-game/1`.
//!
//! How words travel is a seam of its own in the session, the transport: text datagrams (`plain`), or the netcode
//! standard, encrypted (`netcode`), as Muster says when it starts the match. A game knows nothing of it.
//!
//! A game in real time says how long its ticks are, and gets them on time ([`Game::tick_period`]); all others are
//! awake only when something happens.
//!
//! A game that loads a lot before it can play does so in [`template()`]: Muster then starts it once, and has it
//! copied for each match.

#![forbid(unsafe_code)]

mod clock;
mod control;
mod error;
mod game;
mod games;
mod inherit;
mod netcode;
mod plain;
mod rehearsal;
mod report;
mod run;
mod session;
mod signals;
mod socket;
mod template;
mod transport;

pub use error::RunError;
pub use game::{Game, Outbox, Tick};
pub use games::{arena, echo, tictactoe};
pub use run::{Options, run};
pub use session::{BadStart, Match, Session};
pub use template::{template, variable};

/// The most players of one match.
pub const PLAYERS_MAX: usize = 1024;
