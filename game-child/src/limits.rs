//! The limits of this crate.

use std::time::Duration;

/// The most players of one match.
pub const PLAYERS_MAX: usize = 1024;

/// The most messages of a game that wait to be sent. More are lost, as they could be on the way.
pub(crate) const OUTBOX_MAX: usize = 4 * PLAYERS_MAX;

/// Bytes read from the control channel in one turn, so that a busy channel cannot keep the game from its players.
pub(crate) const CONTROL_BYTES_PER_TURN: usize = 64 * 1024;

/// The most unsent bytes of the control channel: more than all messages of the largest match. If this many are
/// unsent, the other end does not read.
pub(crate) const UNSENT_BYTES_MAX: usize = 1024 * 1024;

/// The most invalid control lines that are reported.
pub(crate) const COMPLAINTS_MAX: u32 = 5;

/// The most senders whose route is remembered. Beyond, those that were never answered are forgotten first.
pub(crate) const SENDERS_MAX: usize = 1024;

/// Datagrams handled before the control channel, signals and deadlines get their turn.
pub(crate) const DATAGRAMS_PER_TURN: usize = 64;

/// Datagrams from before the start that are dropped: more than a socket's buffer holds. The match itself drops the
/// rest of a flood, because it knows no sender yet.
pub(crate) const STALE_DATAGRAMS_MAX: usize = 4096;

/// How long the process waits at its end for Muster to read its messages.
pub(crate) const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How long the loading thread may exist after it was joined: the kernel wakes the joining thread a little early.
pub(crate) const THREAD_END_MAX: Duration = Duration::from_secs(1);
