//! The template channel, an addition to the game contract: one JSON object per packet.
//!
//! The channel preserves packet boundaries (`SOCK_SEQPACKET`, see unix(7)), so that a message needs no line end and
//! arrives together with its descriptors.

use serde::{Deserialize, Serialize};

use crate::control::parse;

/// A message from Muster to a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToTemplate {
    /// Fork a game. Three descriptors come with it, in this order: the game's UDP socket, its control channel, and the
    /// pipe to the log.
    Fork {
        /// The game's id, which other games have in `MUSTER_GAME`.
        game: String,
        /// The port of its socket, which other games have in `MUSTER_PORT`.
        port: u16,
        /// Its working directory: an absolute path.
        directory: String,
    },
    /// A message that this version does not know; to be ignored.
    #[serde(other)]
    Unknown,
}

/// A message from a template to Muster.
///
/// ```
/// let packet = protocol::FromTemplate::Forked { game: "17".into(), pid: 1234 }.to_packet();
/// assert_eq!(packet, r#"{"type":"forked","game":"17","pid":1234}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromTemplate {
    /// The template has loaded and can fork games.
    Ready,
    /// The game exists: a child of Muster, which sends `ready` on its own channel.
    Forked {
        /// The game's id, as in the request.
        game: String,
        /// Its process id.
        pid: i32,
    },
    /// The fork failed.
    Failed {
        /// The game's id, as in the request.
        game: String,
        /// The reason, for people.
        reason: String,
    },
    /// A message that this version does not know; to be ignored.
    #[serde(other)]
    Unknown,
}

impl ToTemplate {
    /// The message as a packet.
    pub fn to_packet(&self) -> String {
        to_packet(self)
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// When the packet is not a JSON object with a `type` and that type's fields.
    pub fn parse(packet: &[u8]) -> Result<Self, serde_json::Error> {
        parse(packet)
    }
}

impl FromTemplate {
    /// The message as a packet.
    pub fn to_packet(&self) -> String {
        to_packet(self)
    }

    /// Reads a packet.
    ///
    /// # Errors
    /// When the packet is not a JSON object with a `type` and that type's fields.
    pub fn parse(packet: &[u8]) -> Result<Self, serde_json::Error> {
        parse(packet)
    }
}

fn to_packet(message: &impl Serialize) -> String {
    // Serializing fails only for maps with keys that are not strings, which no message contains.
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packets_are_those_of_the_contract() {
        let fork = ToTemplate::Fork { game: "17".into(), port: 20004, directory: "/a/b".into() };
        let packet = fork.to_packet();
        assert_eq!(packet, r#"{"type":"fork","game":"17","port":20004,"directory":"/a/b"}"#);
        assert_eq!(ToTemplate::parse(packet.as_bytes()).unwrap(), fork);
        for (message, packet) in [
            (FromTemplate::Ready, r#"{"type":"ready"}"#),
            (
                FromTemplate::Failed { game: "17".into(), reason: "no \"room\"".into() },
                r#"{"type":"failed","game":"17","reason":"no \"room\""}"#,
            ),
        ] {
            assert_eq!(message.to_packet(), packet);
            assert_eq!(FromTemplate::parse(packet.as_bytes()).unwrap(), message);
        }
    }

    #[test]
    fn later_messages_are_unknown_and_garbage_is_an_error() {
        assert_eq!(
            ToTemplate::parse(b"{\"type\":\"reload\",\"x\":[1]}").unwrap(),
            ToTemplate::Unknown
        );
        for packet in [&b""[..], b"fork", b"[\"ready\"]", b"{}"] {
            assert!(ToTemplate::parse(packet).is_err(), "{}", packet.escape_ascii());
            assert!(FromTemplate::parse(packet).is_err(), "{}", packet.escape_ascii());
        }
        let port = br#"{"type":"fork","game":"17","port":70000,"directory":"/"}"#;
        assert!(ToTemplate::parse(port).is_err());
        assert!(FromTemplate::parse(br#"{"type":"forked","game":"17"}"#).is_err());
    }
}
