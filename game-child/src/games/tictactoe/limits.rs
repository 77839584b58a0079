//! The limits of tic-tac-toe.

use std::time::Duration;

/// How long the end of a game is sent to a side that does not acknowledge it.
pub const END_MAX: Duration = Duration::from_secs(5);

/// The pause before a state is repeated; it doubles each time up to [`REPEAT_MAX`].
pub(super) const REPEAT_MIN: Duration = Duration::from_millis(100);
pub(super) const REPEAT_MAX: Duration = Duration::from_millis(500);
