//! The languages that Muster speaks, as types.
//!
//! Three of them are contracts with the outside: the lines that players and Muster exchange over TCP
//! ([`Request`], [`Reply`]), the JSON lines on a game's control channel ([`ToGame`], [`FromGame`]), and the
//! datagrams with which a player enters a game ([`datagram`]). The words of the reference games that both their
//! servers and their players need are here too ([`tictactoe`], [`arena`]).
//!
//! Everything is pure: bytes in, values out, and back. No socket, no clock, no allocation that the length of
//! the input does not bound. [`LineBuffer`] cuts a stream into lines for whoever owns the socket.
//!
//! The contracts are written out for people in `protocol/README.md`; what is here follows that page.

#![forbid(unsafe_code)]

pub mod admin;
pub mod arena;
pub mod control;
pub mod datagram;
mod error;
mod fields;
mod lines;
pub mod netcode;
pub mod proxy;
mod reply;
mod request;
mod secret;
pub mod template;
pub mod tictactoe;
mod visible;

pub use control::{FromGame, Seat, ToGame};
pub use error::{ErrorCode, LineError};
pub use lines::{LineBuffer, LineTooLong};
pub use reply::{EvictReason, Reply, WaitReason};
pub use request::{Member, Request, ResumeKey};
pub use secret::{BadSecret, Secret};
pub use template::{FromTemplate, ToTemplate};
pub use visible::Visible;

/// The version of the client protocol, told in the first line.
pub const CLIENT_PROTOCOL_VERSION: u32 = 1;

/// The version of the game contract, as games find it in `MUSTER_PROTOCOL`.
pub const GAME_PROTOCOL: &str = "muster-game/1";

/// The longest line that a client may send, in bytes, its line end not counted.
pub const CLIENT_LINE_MAX: usize = 512;

/// The longest line that Muster sends to a client, in bytes, its line end not counted.
pub const SERVER_LINE_MAX: usize = 8192;

/// The longest line on a game's control channel, in bytes, its line end not counted.
pub const CONTROL_LINE_MAX: usize = 64 * 1024;

/// The longest player name, in bytes, after decoding.
pub const NAME_MAX: usize = 64;

/// The longest packet on a template's channel, in bytes.
pub const TEMPLATE_PACKET_MAX: usize = 64 * 1024;

/// The descriptor at which a game finds its UDP socket.
pub const GAME_SOCKET_FD: i32 = 3;

/// The descriptor at which a game finds its control channel; its number is also in `MUSTER_CONTROL_FD`.
pub const GAME_CONTROL_FD: i32 = 4;
