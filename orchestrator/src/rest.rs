//! How much of a channel is left to be read after one read.

use crate::clock::Instant;

/// What is left. Polling is edge-triggered: a channel is not read again if nothing can be left of what was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing, for certain: the kernel said so, or the channel is closed.
    Nothing,
    /// Nothing, as the read was short, and the end was not reported.
    NothingLikely,
    /// More, or the end.
    More,
    /// Perhaps more, which is not read before this time: the writer exceeds its rate.
    Later(Instant),
}

impl Rest {
    /// After a read of `read` bytes into a buffer of `room` bytes.
    pub(crate) fn after(read: usize, room: usize, end_is_near: bool) -> Self {
        if read < room && !end_is_near { Self::NothingLikely } else { Self::More }
    }
}
