//! The datagrams of `transport=plain` that all reference games share.
//!
//! A datagram is a text: a verb, then words. The hello and its answer are the same for all games; other messages are
//! the game's own.

use std::fmt;

use crate::Secret;
pub use crate::limits::DATAGRAM_MAX;

/// A datagram from a player, as every reference game understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromPlayer<'a> {
    /// `HELLO <match> <token>`: the player joins.
    Hello {
        /// The match, as the assignment named it.
        match_id: &'a str,
        /// The player's token.
        token: Secret,
    },
    /// `PING <text>`: the game returns the text.
    Ping(&'a str),
    /// `BYE`: the player leaves.
    Bye,
    /// A message of the game itself.
    Words(&'a str),
}

impl<'a> FromPlayer<'a> {
    /// Parses a datagram; a line end from netcat is removed. `None` if it must not be answered: not UTF-8, control
    /// characters, or a hello without a match and a token.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(datagram).ok()?.trim_end_matches(['\n', '\r']);
        if text.chars().any(char::is_control) {
            return None;
        }
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match verb {
            "HELLO" => {
                let (match_id, token) = rest.split_once(' ')?;
                Self::Hello { match_id, token: token.trim_end_matches(' ').parse().ok()? }
            }
            "PING" => Self::Ping(rest),
            "BYE" => Self::Bye,
            _ => Self::Words(text),
        })
    }
}

impl fmt::Display for FromPlayer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello { match_id, token } => write!(f, "HELLO {match_id} {token}"),
            Self::Ping(text) => write!(f, "PING {text}"),
            Self::Bye => f.write_str("BYE"),
            Self::Words(text) => f.write_str(text),
        }
    }
}

/// The length of a challenge in characters: 36 random bits, and short enough for a welcome that is no longer than its
/// hello.
pub const CHALLENGE_LENGTH: usize = 6;

/// The characters of a challenge: each stands for 6 bits.
pub const CHALLENGE_ALPHABET: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The answer to a hello: `WELCOME <match> slot=… players=…`. It is never longer than the hello, so that a spoofed
/// source address gains nothing.
///
/// For an address that may be spoofed it ends with ` n=…`: a challenge, which the receiver at that address returns with
/// `PING <n>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome<'a> {
    /// The match.
    pub match_id: &'a str,
    /// The player's slot in the match, from 0.
    pub slot: usize,
    /// The number of players in the match.
    pub players: usize,
    /// Returning it proves that the player receives at this address.
    pub challenge: Option<&'a str>,
}

impl<'a> Welcome<'a> {
    /// Parses a datagram; `None` if it is another message or contains control characters.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(datagram).ok()?.trim_end_matches(['\n', '\r']);
        if text.chars().any(char::is_control) {
            return None;
        }
        let mut words = text.strip_prefix("WELCOME ")?.split(' ');
        Some(Self {
            match_id: words.next()?,
            slot: words.next()?.strip_prefix("slot=")?.parse().ok()?,
            players: words.next()?.strip_prefix("players=")?.parse().ok()?,
            challenge: words
                .find_map(|word| word.strip_prefix("n="))
                .filter(|challenge| challenge.len() == CHALLENGE_LENGTH),
        })
    }
}

impl fmt::Display for Welcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WELCOME {} slot={} players={}", self.match_id, self.slot, self.players)?;
        match self.challenge {
            Some(challenge) => write!(f, " n={challenge}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_survive_formatting_and_parsing() {
        let token = Secret::from_bytes([7; 16]);
        for said in [
            FromPlayer::Hello { match_id: "17", token },
            FromPlayer::Ping("a b"),
            FromPlayer::Bye,
            FromPlayer::Words("MOVE 1 4"),
        ] {
            let text = said.to_string();
            assert_eq!(FromPlayer::parse(text.as_bytes()), Some(said.clone()));
            assert_eq!(FromPlayer::parse(format!("{text}\n").as_bytes()), Some(said));
        }
    }

    #[test]
    fn malformed_datagrams_are_not_parsed() {
        for datagram in [&b"\xff"[..], b"HELLO", b"HELLO 17", b"HELLO 17 token", b"PING \x1b[31m"] {
            assert_eq!(FromPlayer::parse(datagram), None, "{}", datagram.escape_ascii());
        }
        assert_eq!(Welcome::parse(b"WELCOME 1\x1b[31m slot=0 players=2"), None);
    }

    #[test]
    fn the_welcome_is_never_longer_than_the_hello() {
        let token = Secret::from_bytes([7; 16]);
        for match_id in ["1", "18446744073709551615"] {
            let hello = FromPlayer::Hello { match_id, token }.to_string();
            for challenge in [None, Some("Az0-_9")] {
                let welcome = Welcome { match_id, slot: 999, players: 9999, challenge };
                assert!(welcome.to_string().len() <= hello.len());
                assert_eq!(Welcome::parse(welcome.to_string().as_bytes()), Some(welcome.clone()));
            }
        }
    }
}
