//! The owners of the matchmaker's deadlines.

use protocol::{Account, MatchId, ModeId, PlayerId};
use serde::{Deserialize, Serialize};

/// The owner of a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Owner {
    /// The player's position is kept no longer.
    Away(PlayerId),
    /// Players who have not accepted the match are evicted.
    Offer(MatchId),
    /// The ticket whose first player this is has waited for a round.
    Wait(PlayerId),
    /// A skill window may widen, and there may be a match.
    Windows(ModeId),
    /// The account's pause is over.
    Pause(Account),
    /// The players of the match had time to join.
    Arrivals(MatchId),
    /// Waiting players of the mode may be told something.
    Telling(ModeId),
}
