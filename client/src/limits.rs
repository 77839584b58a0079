//! The limits of this crate.

use std::time::Duration;

/// The longest part of a malformed line that is shown, in bytes.
pub(crate) const LINE_SHOWN_MAX: usize = 80;

/// The pause before the hello is repeated; it doubles each time up to [`HELLO_PAUSE_MAX`].
pub(crate) const HELLO_PAUSE_MIN: Duration = Duration::from_millis(50);
pub(crate) const HELLO_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a game may leave the hello unanswered.
pub(crate) const HELLO_MAX: Duration = Duration::from_secs(10);

/// The longest silence of a game, which is asked for a keep-alive every second.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(10);
/// The number of goodbyes.
pub(crate) const BYES_MAX: u32 = 8;

/// The longest queues of messages to be sent and of events; messages beyond them are lost, as they could be on the
/// network.
pub(crate) const QUEUE_MAX: usize = 1024;

/// How long a connection may accept no data.
pub(crate) const FLUSH_MAX: Duration = Duration::from_secs(10);

/// The most queued events. The oldest ones are dropped beyond that.
pub(crate) const EVENTS_MAX: usize = 256;

/// The pause before a move is repeated; it doubles each time up to [`REPEAT_MAX`].
pub(crate) const REPEAT_MIN: Duration = Duration::from_millis(100);
pub(crate) const REPEAT_MAX: Duration = Duration::from_millis(500);
