//! Ids. None is used twice, so a late message about something that is gone finds nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

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
    /// A player: one session, from READY to its end.
    PlayerId
}
id! {
    /// A match. Players receive it with their assignment, and send it in their hello.
    MatchId
}
id! {
    /// A game: one process on one port.
    GameId
}

/// A mode, by its index in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModeId(pub usize);

/// A connection, named by the body; a brain only hands it back.
///
/// It is independent of how players are connected. `life` is the process or link that the connection belongs to: 0 is the
/// daemon's own listener, and each gateway link has another one, which is not reused when the link reconnects.
/// `number` is unique within a life; the body may count up or pack a slot and its generation into it. So a gateway can
/// carry many players over one link, and when a link is lost all of its connections are known by their life.
///
/// It is serialized as the text `number`, or `life-number` where `life` is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// The process or link that the connection belongs to.
    pub life: u32,
    /// The connection within its life.
    pub number: u64,
}

impl ConnectionId {
    /// A connection of the daemon's own listener.
    pub const fn local(number: u64) -> Self {
        Self { life: 0, number }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.life {
            0 => self.number.fmt(f),
            life => write!(f, "{life}-{}", self.number),
        }
    }
}

/// A text that is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a connection: NUMBER or LIFE-NUMBER")]
pub struct BadConnectionId;

impl FromStr for ConnectionId {
    type Err = BadConnectionId;

    fn from_str(text: &str) -> Result<Self, BadConnectionId> {
        let (life, number) = text.split_once('-').unwrap_or(("0", text));
        let life = life.parse().map_err(|_| BadConnectionId)?;
        Ok(Self { life, number: number.parse().map_err(|_| BadConnectionId)? })
    }
}

impl Serialize for ConnectionId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

/// The account that a player's use is charged to: an address, or a prefix of addresses. The body names it; a brain only
/// compares it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Account(pub u64);

impl Account {
    /// The account of a player whose account is unknown. Nothing is charged to it.
    pub const UNKNOWN: Self = Self(0);

    /// Whether anything can be charged to it.
    pub const fn is_known(self) -> bool {
        self.0 != Self::UNKNOWN.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_a_text_and_a_key() {
        for id in [ConnectionId::local(0), ConnectionId { life: 7, number: u64::MAX }] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(ConnectionId::local(12).to_string(), "12");
        for text in ["", "-", "1-", "-1", "1-2-3", "x"] {
            assert_eq!(text.parse::<ConnectionId>(), Err(BadConnectionId), "{text}");
        }
    }
}
