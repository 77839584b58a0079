//! The limits of this program.

use std::time::Duration;

/// The longest typed line that is processed, in bytes.
pub(crate) const TYPED_MAX: usize = 256;

/// The longest wait for an answer of the echo game.
pub(crate) const ECHO_ANSWER_MAX: Duration = Duration::from_secs(5);

/// The longest wait for the answer to a message that may have been lost, before it is sent again.
pub(crate) const ECHO_TRY_MAX: Duration = Duration::from_secs(1);

/// The time after which a game without a first message is treated as unknown. The games with a first message send it
/// with the welcome, and repeat it.
pub(crate) const FIRST_WORDS_MAX: Duration = Duration::from_secs(1);

/// The longest duration of a goodbye.
pub(crate) const BYE_MAX: Duration = Duration::from_secs(2);

/// How long Muster may take to send the greeting, or to answer QUIT. The wait for other players has no limit.
pub(crate) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The largest number of lines in a second. A queue sends a few; more cannot be from Muster, and could not be read.
pub(crate) const LINES_PER_SECOND_MAX: u32 = 1_000;
