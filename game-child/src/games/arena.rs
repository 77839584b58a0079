//! The reference game arena: its map, and the messages between its players and its server.
//!
//! Up to sixteen players run about a small map and collect coins, in real time: the server moves all of them at a fixed
//! tick, and sends the state of the world after each one. All numbers are integers, so that the same inputs make the
//! same world on every machine.
//!
//! No message is repeated because it was lost: the next tick sends a newer one anyway. A player's [`Input`] repeats the
//! last few moves and names the newest [`Snapshot`] that the player has; the server's [`Update`] contains the
//! differences from that one. So a lost datagram costs nothing, and a copy or a late one changes nothing.
//!
//! The player's machine is in `client`.

mod histogram;
mod limits;
mod map;
mod server;
mod snapshot;
mod words;
mod world;

pub use limits::{DURATION_MAX, END_MAX, MOVES_MAX, NAME_SHOWN_MAX, PLAYERS_MAX};
pub use map::{Cell, Direction, HEIGHT, Point, UNIT, WIDTH, free_cells, is_wall};
pub use server::{Arena, Rate, Rules};
pub use snapshot::{Runner, Snapshot, Standing, Update};
pub use words::{FromArena, Input, Setup};

/// The number of coins on the map.
pub const COINS: usize = 8;

/// How many snapshots back the base of an update can be: both sides remember this many.
pub const HISTORY: u32 = 64;
