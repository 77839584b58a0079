//! The assignment of a player to a game.

use protocol::Reply;

/// The fields of an `ASSIGN` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The match.
    pub match_id: String,
    /// The game's host.
    pub host: String,
    /// The game's UDP port.
    pub port: u16,
    /// The player's slot, from 0.
    pub slot: usize,
    /// The number of players in the match.
    pub players: usize,
    /// Admits this player to the game: must not be logged.
    pub token: String,
    /// The game's transport over UDP; this library supports `plain` and `netcode`.
    pub transport: String,
}

impl Assignment {
    /// The assignment in a reply, if it is one.
    pub fn of(reply: Reply) -> Option<Self> {
        let Reply::Assign { match_id, host, port, slot, players, token, transport } = reply else {
            return None;
        };
        Some(Self { match_id, host, port, slot, players, token, transport })
    }

    /// The game's address, `host:port`, to be resolved and shown.
    pub fn address(&self) -> String {
        // An IPv6 address contains colons itself.
        if self.host.contains(':') && !self.host.starts_with('[') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}
