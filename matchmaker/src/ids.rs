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

/// Whom it is charged to what somebody uses: an address, or a prefix of addresses. Named by the body; the brain compares it,
/// and no more.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Account(pub u64);

impl Account {
    /// The account of a player whose account is unknown. Nothing is charged to it.
    pub const UNKNOWN: Self = Self(0);

    /// Whether something can be charged to it.
    pub const fn is_known(self) -> bool {
        self.0 != Self::UNKNOWN.0
    }
}

/// A mode, by its place in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModeId(pub usize);
