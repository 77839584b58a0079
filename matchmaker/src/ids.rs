//! Names for things. An id is never given twice, so a late word about something gone hits nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A connection, named by the body; the brain only hands it back.
    ConnectionId
}
id! {
    /// A player: one session, from READY to its end.
    PlayerId
}
id! {
    /// A match. What players are told, and what they say in their hello.
    MatchId
}
id! {
    /// A game: one process on one port.
    GameId
}

/// A mode, by its place in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModeId(pub usize);
