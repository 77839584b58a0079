//! A player of Muster: over TCP to a match, then over UDP in its game.
//!
//! There are two layers. The machines neither read a clock nor use a socket: [`Conversation`] is the client's side of
//! the lines over TCP, [`Link`] its side of a game over UDP (hello, keep-alive, goodbye), and [`tictactoe::Player`] and
//! [`arena::Player`] play over a link. A program with thousands of players owns the sockets and drives the machines.
//! [`Lobby`] and [`GameSocket`] own one socket each and wait, always with a deadline: for tests, scripts, and a person
//! at a terminal.
//!
//! ```no_run
//! use std::time::Duration;
//! use client::{GameSocket, Lobby};
//!
//! # fn main() -> Result<(), client::ClientError> {
//! let limit = Duration::from_secs(10);
//! let mut lobby = Lobby::connect("127.0.0.1:7000", limit)?;
//! lobby.join(Some("duel"), Some("ada"), limit)?;
//! let assignment = lobby.assignment(limit)?;
//! let mut game = GameSocket::enter(&assignment, limit)?;
//! println!("the game is {:?} away", game.ping("x", limit)?);
//! game.bye(limit)?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod arena;
mod assignment;
mod conversation;
mod error;
mod limits;
mod link;
mod lobby;
mod machine;
mod netcode;
mod playing;
mod socket;
pub mod tictactoe;
mod waiting;

pub use assignment::Assignment;
pub use conversation::Conversation;
pub use error::ClientError;
pub use link::{Closed, Link, LinkEvent};
pub use lobby::{Lobby, Place};
pub use machine::Machine;
pub use playing::{Io, Playing, Rules};
pub use socket::GameSocket;
