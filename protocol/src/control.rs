//! The game contract `muster-game/1`: JSON lines on a game's control channel.

use serde::{Deserialize, Serialize};

use crate::Secret;
use crate::netcode::Netcode;

/// A message from Muster to a game.
///
/// ```
/// let line = protocol::ToGame::Stop { grace_ms: 5000 }.to_line();
/// assert_eq!(line, "{\"type\":\"stop\",\"grace_ms\":5000}\n");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToGame {
    /// Start a match with these players.
    Start {
        /// The match's id, which players send in their hello.
        #[serde(rename = "match")]
        match_id: String,
        /// The players, by slot.
        players: Vec<Seat>,
        /// The time to wait for the first hello, in milliseconds.
        hello_ms: u64,
        /// The longest duration of the match, in milliseconds.
        max_ms: u64,
        /// The slots of each team, if the mode has teams.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        teams: Vec<Vec<usize>>,
        /// The parameters of the transport `netcode`, if the mode uses it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netcode: Option<Netcode>,
    },
    /// These players get slots that the game has reported as open.
    Fill {
        /// The players, by slot.
        players: Vec<Seat>,
    },
    /// A player of this match returns, with another token in the hello from now on. Only in modes with `rejoin`.
    Rejoin {
        /// The player, with the old slot.
        player: Seat,
    },
    /// Exit now: SIGTERM follows at half the grace time, SIGKILL at its end.
    Stop {
        /// The time until SIGKILL, in milliseconds.
        grace_ms: u64,
    },
    /// A message that this version does not know; to be ignored.
    #[serde(other)]
    Unknown,
}

/// A player's slot and token, as they are sent to a game.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The player's index in the match, from 0.
    pub slot: usize,
    /// The player's name, any UTF-8: escape it wherever it is shown.
    pub name: String,
    /// The token in the player's hello.
    pub token: Secret,
}

/// A message from a game to Muster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromGame {
    /// The game is launched, and players can be sent to it.
    Ready,
    /// The game waits for the players of the `start` message.
    Started,
    /// A player sent a valid hello.
    Joined {
        /// The player's place in the match.
        slot: usize,
    },
    /// A player left.
    Left {
        /// The player's place in the match.
        slot: usize,
    },
    /// All slots that are open for other players.
    Backfill {
        /// The slots; empty if no more players are wanted.
        slots: Vec<usize>,
    },
    /// A heartbeat.
    Alive,
    /// The result of the match: any fields, passed on unchanged.
    Result {
        /// The game's own fields.
        #[serde(flatten)]
        fields: serde_json::Map<String, serde_json::Value>,
    },
    /// A message that this version does not know; to be ignored.
    #[serde(other)]
    Unknown,
}

impl ToGame {
    /// The message as a line, its line end included.
    pub fn to_line(&self) -> String {
        to_line(self)
    }

    /// Reads a line without its line end.
    ///
    /// # Errors
    /// When the line is not a JSON object with a `type` and that type's fields.
    pub fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        parse(line)
    }
}

impl FromGame {
    /// The message as a line, its line end included.
    pub fn to_line(&self) -> String {
        to_line(self)
    }

    /// Reads a line without its line end.
    ///
    /// # Errors
    /// When the line is not a JSON object with a `type` and that type's fields.
    pub fn parse(line: &[u8]) -> Result<Self, serde_json::Error> {
        parse(line)
    }
}

/// Parses an object. The derived parser would also accept a list with the type as its first element.
pub(crate) fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, serde_json::Error> {
    match line.trim_ascii_start().first() {
        Some(b'{') | None => serde_json::from_slice(line),
        Some(_) => Err(serde::de::Error::custom("not a JSON object")),
    }
}

fn to_line(message: &impl Serialize) -> String {
    // Serializing fails only for maps with keys that are not strings, which no message contains.
    let mut line = serde_json::to_string(message).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_of_the_contract() {
        let start = ToGame::Start {
            match_id: "17".into(),
            players: vec![Seat { slot: 0, name: "ada".into(), token: Secret::from_bytes([1; 16]) }],
            hello_ms: 10_000,
            max_ms: 600_000,
            teams: Vec::new(),
            netcode: None,
        };
        let line = start.to_line();
        assert_eq!(
            line,
            "{\"type\":\"start\",\"match\":\"17\",\"players\":[{\"slot\":0,\"name\":\"ada\",\
             \"token\":\"01010101010101010101010101010101\"}],\"hello_ms\":10000,\"max_ms\":600000}\n"
        );
        assert_eq!(ToGame::parse(line.as_bytes()).unwrap(), start);
        let player = Seat { slot: 1, name: "bob".into(), token: Secret::from_bytes([2; 16]) };
        let rejoin = ToGame::Rejoin { player };
        let line = rejoin.to_line();
        assert_eq!(
            line,
            "{\"type\":\"rejoin\",\"player\":{\"slot\":1,\"name\":\"bob\",\
             \"token\":\"02020202020202020202020202020202\"}}\n"
        );
        assert_eq!(ToGame::parse(line.as_bytes()).unwrap(), rejoin);
        assert_eq!(FromGame::parse(b"{\"type\":\"ready\"}").unwrap(), FromGame::Ready);
        assert_eq!(
            FromGame::parse(b" {\"slot\":1, \"type\":\"joined\", \"x\":[]}").unwrap(),
            FromGame::Joined { slot: 1 }
        );
    }

    #[test]
    fn later_messages_are_unknown_and_garbage_is_an_error() {
        assert_eq!(
            FromGame::parse(b"{\"type\":\"applause\",\"slots\":[1]}").unwrap(),
            FromGame::Unknown
        );
        for line in [
            &b""[..],
            b"ready",
            b"[]",
            b"[\"alive\"]",
            b" [\"joined\",{\"slot\":0}]",
            b"{}",
            b"{\"type\":1}",
            b"{\"type\":\"joined\"}",
            b"\xff",
            b"{",
        ] {
            assert!(FromGame::parse(line).is_err(), "{}", line.escape_ascii());
        }
        let deep = "[".repeat(60_000);
        assert!(FromGame::parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn a_result_keeps_the_games_own_fields() {
        let line = b"{\"type\":\"result\",\"winner\":1,\"moves\":[4,0]}";
        let FromGame::Result { fields } = FromGame::parse(line).unwrap() else {
            panic!("not a result")
        };
        assert_eq!(serde_json::to_string(&fields).unwrap(), "{\"moves\":[4,0],\"winner\":1}");
        // A number that a quick and careless parser gives back with another last digit.
        let line =
            "{\"type\":\"result\",\"score\":44444444444444444444444444444444444444444422022}";
        let result = FromGame::parse(line.as_bytes()).unwrap();
        assert_eq!(FromGame::parse(result.to_line().trim_end().as_bytes()).unwrap(), result);
    }
}
