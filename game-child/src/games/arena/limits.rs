//! The limits of arena.

use std::time::Duration;

/// How long the end of a game is sent to a player who does not acknowledge it.
pub const END_MAX: Duration = Duration::from_secs(5);

/// The longest game.
pub const DURATION_MAX: Duration = Duration::from_secs(60 * 60);

/// The score that ends the game.
pub(super) const POINTS_MAX: u16 = 30;

/// A player whose last input is older, or who never sent one, does not receive every tick: it may be a person who
/// watches with netcat, or an address that never asked for this much.
pub(super) const LIVELY_MAX: Duration = Duration::from_secs(1);

/// The largest number of moves of a player that wait for their tick. More arrive only after a pause of the network;
/// then the oldest are dropped. And while more than usual wait, each tick drops one: a permanent queue would be a
/// permanent delay.
pub(super) const WAITING_MAX: usize = 4;

/// The longest name that is sent, in bytes; longer ones are truncated. So all names fit into one datagram, however they
/// are encoded.
pub const NAME_SHOWN_MAX: usize = 20;

/// The highest rate of ticks that is accepted, in Hz.
pub(super) const HZ_MAX: u32 = 1000;

/// The largest number of players of a match.
pub const PLAYERS_MAX: usize = 16;

/// The largest number of moves in an input, including the newest.
pub const MOVES_MAX: usize = 8;
