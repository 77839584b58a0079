//! Where to play.

use protocol::Reply;

/// What an `ASSIGN` line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The match.
    pub match_id: String,
    /// The host that the game is on.
    pub host: String,
    /// The game's UDP port.
    pub port: u16,
    /// The player's place in the match, from 0.
    pub slot: usize,
    /// Players in the match.
    pub players: usize,
    /// What lets this player, and nobody else, into the game: not for logs.
    pub token: String,
    /// How the game speaks over UDP; this library speaks `plain` and `netcode`.
    pub transport: String,
}

impl Assignment {
    /// The assignment that a reply is, if it is one.
    pub fn of(reply: Reply) -> Option<Self> {
        let Reply::Assign { match_id, host, port, slot, players, token, transport } = reply else {
            return None;
        };
        Some(Self { match_id, host, port, slot, players, token, transport })
    }

    /// The game's address, `host:port`, as it is resolved and shown.
    pub fn address(&self) -> String {
        // An IPv6 address holds colons of its own.
        if self.host.contains(':') && !self.host.starts_with('[') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}
