//! The reference game arena: its map, and the words with which its players and its server speak.
//!
//! Up to sixteen players run about a small map and collect coins, in real time: the server moves everybody on at
//! a fixed tick, and says what the world looks like after each one. Numbers are integers everywhere, so that the
//! same inputs make the same world on every machine.
//!
//! Nothing is said again because it was lost: the next tick says something newer anyway. A player's [`Input`]
//! repeats its last few moves and names the newest [`Snapshot`] that it has; the server's [`Update`] tells what
//! is different from that one. So a lost datagram costs nothing, and a copy or a late one changes nothing.
//!
//! The rules are in `game-child`, the player's machine is in `client`.

mod histogram;
mod map;
mod server;
mod snapshot;
mod words;
mod world;

pub use map::{Cell, Direction, HEIGHT, Point, UNIT, WIDTH, free_cells, is_wall};
pub use server::{Arena, DURATION_MAX, END_MAX, Rate, Rules};
pub use snapshot::{Runner, Snapshot, Standing, Update};
pub use words::{FromArena, Input, NAME_SHOWN_MAX, Setup};

/// The most players of one match.
pub const PLAYERS_MAX: usize = 16;

/// How many coins lie on the map, always.
pub const COINS: usize = 8;

/// How many snapshots back the base of an update can be: both sides remember so many.
pub const HISTORY: u32 = 64;

/// The most moves that one input repeats, the newest included.
pub const MOVES_MAX: usize = 8;
