//! What is left to be read of a channel after one read.

use crate::clock::Instant;

/// What is left. The poll tells once of whatever comes; a channel is left alone when nothing can be there of which it told
/// already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Nothing, for certain: the kernel said so, or the channel is closed.
    Nothing,
    /// Nothing, by the length of what was read, and the poll has not told of the end.
    NothingLikely,
    /// As much again, or the end.
    More,
    /// There may be more, and it is not looked at before then: whoever writes has written too much.
    Later(Instant),
}

impl Rest {
    /// After so many bytes were read into so much room.
    pub(crate) fn after(read: usize, room: usize, end_is_near: bool) -> Self {
        if read < room && !end_is_near { Self::NothingLikely } else { Self::More }
    }
}
