//! Muster's protocols, as types.
//!
//! Three of them are contracts with other programs: the lines between players and Muster over TCP ([`Request`],
//! [`Reply`]), the JSON lines on a game's control channel ([`ToGame`], [`FromGame`]), and the datagrams with which a
//! player joins a game ([`datagram`]). The messages after that belong to each game: those of the reference games are
//! in `game-child`.
//!
//! Everything is pure: bytes become values, and values become bytes. There are no sockets and no clocks, and all
//! allocations are bounded by the length of the input. [`LineBuffer`] splits a stream into lines.
//!
//! `protocol/README.md` specifies the contracts.

#![forbid(unsafe_code)]

pub mod admin;
pub mod control;
pub mod datagram;
mod error;
pub mod fields;
mod ids;
pub mod limits;
mod lines;
mod message;
pub mod netcode;
pub mod placement;
pub mod proxy;
mod reply;
pub mod report;
mod request;
mod secret;
pub mod template;
pub mod text;
mod visible;

pub use control::{FromGame, Seat, ToGame};
pub use error::{ErrorCode, LineError};
pub use ids::{Account, BadConnectionId, ConnectionId, GameId, MatchId, ModeId, PlayerId};
pub use limits::{
    CLIENT_LINE_MAX, CONTROL_LINE_MAX, NAME_MAX, SERVER_LINE_MAX, TEMPLATE_PACKET_MAX,
};
pub use lines::{LineBuffer, LineTooLong};
pub use message::{
    Assignment, EvictReason, Member, Notice, Refusal, Request, ResumeKey, WaitReason,
};
pub use reply::Reply;
pub use secret::{BadSecret, Secret};
pub use template::{FromTemplate, ToTemplate};
pub use visible::Visible;

/// The version of the client protocol, sent in the first line.
pub const CLIENT_PROTOCOL_VERSION: u32 = 1;

/// The version of the game contract, as games find it in `MUSTER_PROTOCOL`.
pub const GAME_PROTOCOL: &str = "muster-game/1";

/// The number of the descriptor of a game's UDP socket.
pub const GAME_SOCKET_FD: i32 = 3;

/// The number of the descriptor of a game's control channel, which is also in `MUSTER_CONTROL_FD`.
pub const GAME_CONTROL_FD: i32 = 4;
