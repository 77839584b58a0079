//! What Muster and its games agree on for `transport=netcode`, the netcode standard 1.02: who a connect token is for,
//! and which datagrams may reach an implementation of the standard at all.
//!
//! Nothing here encrypts or checks a signature; that is an implementation's work. What is here looks at the part of
//! a packet that everybody can read and write, its kind, its sequence number and its length, and is stricter than
//! some implementations, the reference among them: a sequence number close to the end of its range, a kind that has
//! no business going that way or a number of a length that does not exist must not get as far as arithmetic.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

use crate::Secret;

/// The word for it in assignments and in the configuration.
pub const TRANSPORT: &str = "netcode";

/// The number that keeps other programs' packets out: the letters `MUSTER`, and a version.
pub const PROTOCOL_ID: u64 = u64::from_be_bytes(*b"MUSTER\0\x01");

/// The size of a connect token, in bytes. In base64, as players are told it, it has 2,732 characters.
pub const CONNECT_TOKEN_BYTES: usize = 2048;

/// The size of the user data in a connect token, in bytes.
pub const USER_DATA_BYTES: usize = 256;

/// The longest packet, in bytes: as long as the longest datagram of the transport `plain`.
pub const PACKET_MAX: usize = crate::datagram::DATAGRAM_MAX;

/// The longest words in a packet, in bytes: what kind, sequence number and signature leave of it.
pub const PAYLOAD_MAX: usize = PACKET_MAX - 1 - SEQUENCE_BYTES_MAX - MAC_BYTES;

/// The most players of one match: as many as implementations have places for.
pub const PLAYERS_MAX: usize = 256;

/// The highest sequence number that is let through. Both sides count from zero, a game's first answers from the
/// middle of the range: none comes here honestly, and beyond, the arithmetic of implementations overflows.
pub const SEQUENCE_MAX: u64 = u64::MAX - 0xffff;

const SEQUENCE_BYTES_MAX: usize = 8;
const MAC_BYTES: usize = 16;
const REQUEST_BYTES: usize = 1 + 13 + 8 + 8 + 24 + 1024;
/// A sequence number and an encrypted challenge.
const CHALLENGE_BYTES: usize = 8 + 300;
const KEEP_ALIVE_BYTES: usize = 4 + 4;

/// What a game is told of its match's transport, in the message `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netcode {
    /// [`PROTOCOL_ID`], as 16 hexadecimal digits.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub protocol_id: u64,
    /// What the match's connect tokens are encrypted with.
    pub key: Key,
    /// The game's address as the connect tokens name it.
    pub address: SocketAddr,
    /// How long after `started` a connect token opens the door for the first time, in milliseconds. The tokens'
    /// own time, which is of the wall clock, runs out much later.
    pub expires_ms: u64,
}

/// The key of one match: who has it can make connect tokens. In base64 on the wire; never in a log.
#[derive(Clone, Copy)]
pub struct Key([u8; Key::BYTES]);

impl Key {
    /// The size of a key, in bytes.
    pub const BYTES: usize = 32;

    /// A key from bits that the caller drew from the system's random source.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The key itself, for who encrypts with it.
    pub const fn bytes(&self) -> [u8; Self::BYTES] {
        self.0
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error does not repeat the text: it could be a key, but for a letter.
        let wrong = || serde::de::Error::custom("a key is not 32 bytes in base64");
        let bytes = BASE64.decode(String::deserialize(deserializer)?).map_err(|_| wrong())?;
        bytes.try_into().map(Self).map_err(|_| wrong())
    }
}

fn to_hex<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{number:016x}"))
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}

/// A connect token as an assignment holds it.
pub fn token_to_text(token: &[u8; CONNECT_TOKEN_BYTES]) -> String {
    BASE64.encode(token)
}

/// Reads the connect token of an assignment. `None` when it is not one by its length or its letters.
pub fn token_from_text(text: &str) -> Option<Box<[u8; CONNECT_TOKEN_BYTES]>> {
    BASE64.decode(text).ok()?.into_boxed_slice().try_into().ok()
}

/// An address as the crate `netcode-rs` has to be told it, for connect tokens to hold it as the standard says: the crate
/// (1.4.0) writes and reads the bytes of an IPv6 address in their order, and the standard has words of 16 bits there, each
/// with its low byte first. Done twice it is the address again.
pub fn in_token(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => {
            let words = v6.ip().segments().map(u16::swap_bytes);
            SocketAddr::new(Ipv6Addr::from(words).into(), address.port())
        }
    }
}

/// The client id of a slot in its connect token. Zero stays free, as some take it for nobody's.
pub const fn client_id(slot: usize) -> u64 {
    slot as u64 + 1
}

/// The slot of a client id.
pub fn slot_of(client_id: u64) -> Option<usize> {
    usize::try_from(client_id.checked_sub(1)?).ok()
}

/// The user data of a connect token: `<match> <slot> <token>`, then zeros. The token is the player's in the message
/// `start`, which nobody else was told.
pub fn user_data(match_id: &str, slot: usize, token: &Secret) -> [u8; USER_DATA_BYTES] {
    let mut data = [0; USER_DATA_BYTES];
    let text = format!("{match_id} {slot} {token}");
    debug_assert!(text.len() < USER_DATA_BYTES, "{} bytes of user data", text.len());
    for (byte, letter) in data.iter_mut().zip(text.bytes()) {
        *byte = letter;
    }
    data
}

/// What a packet from a player is, as far as its envelope tells. Whether it is genuine is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromPlayer {
    /// A request to be let in with a connect token.
    Request {
        /// The signature of the token's private part, by which a token is known again.
        mac: [u8; MAC_BYTES],
    },
    /// An answer to the challenge, a sign of life, words, or a goodbye: of a player whose request was answered.
    Other,
}

impl FromPlayer {
    /// Looks at a datagram. `None` is one that no player sends and no implementation should see.
    pub fn look(packet: &[u8]) -> Option<Self> {
        if packet.first() == Some(&0) {
            // Only a zero byte is a request: the same kind in an encrypted envelope would be one that nobody checked.
            let mac = *packet.last_chunk()?;
            return (packet.len() == REQUEST_BYTES).then_some(Self::Request { mac });
        }
        let (kind, content) = envelope(packet)?;
        let fits = match kind {
            Kind::Response => content == CHALLENGE_BYTES,
            Kind::KeepAlive => content == KEEP_ALIVE_BYTES,
            Kind::Payload => (1..=PAYLOAD_MAX).contains(&content),
            Kind::Disconnect => content == 0,
            Kind::Denied | Kind::Challenge => false,
        };
        fits.then_some(Self::Other)
    }
}

/// Whether a datagram can be a packet from a game, as far as its envelope tells.
pub fn is_from_game(packet: &[u8]) -> bool {
    envelope(packet).is_some_and(|(kind, content)| match kind {
        Kind::Denied | Kind::Disconnect => content == 0,
        Kind::Challenge => content == CHALLENGE_BYTES,
        Kind::KeepAlive => content == KEEP_ALIVE_BYTES,
        Kind::Payload => content > 0,
        Kind::Response => false,
    })
}

/// The kinds of encrypted packets.
enum Kind {
    Denied,
    Challenge,
    Response,
    KeepAlive,
    Payload,
    Disconnect,
}

/// The kind of an encrypted packet, and the length of what is in it.
fn envelope(packet: &[u8]) -> Option<(Kind, usize)> {
    let (&prefix, rest) = packet.split_first()?;
    let kind = match prefix & 0xf {
        1 => Kind::Denied,
        2 => Kind::Challenge,
        3 => Kind::Response,
        4 => Kind::KeepAlive,
        5 => Kind::Payload,
        6 => Kind::Disconnect,
        _ => return None,
    };
    let sequence_bytes = usize::from(prefix >> 4);
    if !(1..=SEQUENCE_BYTES_MAX).contains(&sequence_bytes) || packet.len() > PACKET_MAX {
        return None;
    }
    let (sequence, sealed) = rest.split_at_checked(sequence_bytes)?;
    let sequence = sequence.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let content = sealed.len().checked_sub(MAC_BYTES)?;
    (sequence <= SEQUENCE_MAX).then_some((kind, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u8, sequence: u64, sequence_bytes: u8, content: usize) -> Vec<u8> {
        let mut packet = vec![sequence_bytes << 4 | kind];
        packet.extend_from_slice(&sequence.to_le_bytes()[..usize::from(sequence_bytes.min(8))]);
        packet.resize(packet.len() + content + MAC_BYTES, 7);
        packet
    }

    #[test]
    fn what_each_side_sends_is_let_through() {
        for (kind, content) in [(3, 308), (4, 8), (5, 1), (5, PAYLOAD_MAX), (6, 0)] {
            for sequence in [0, 1, 255, 256, 1 << 62, SEQUENCE_MAX] {
                let packet = packet(kind, sequence, 8, content);
                assert_eq!(FromPlayer::look(&packet), Some(FromPlayer::Other), "{kind}");
                assert_eq!(is_from_game(&packet), kind != 3);
            }
        }
        for (kind, content) in [(1, 0), (2, 308)] {
            let packet = packet(kind, 1 << 63, 8, content);
            assert!(is_from_game(&packet) && FromPlayer::look(&packet).is_none());
        }
        let mut request = vec![0; REQUEST_BYTES];
        request[REQUEST_BYTES - 1] = 9;
        let mac = *request.last_chunk().unwrap();
        assert_eq!(FromPlayer::look(&request), Some(FromPlayer::Request { mac }));
        assert!(!is_from_game(&request));
    }

    #[test]
    fn sequence_numbers_near_the_end_of_their_range_are_not() {
        for sequence in SEQUENCE_MAX + 1..=u64::MAX {
            for (kind, content) in [(4, 8), (5, 3)] {
                let packet = packet(kind, sequence, 8, content);
                assert!(FromPlayer::look(&packet).is_none() && !is_from_game(&packet));
            }
        }
    }

    #[test]
    fn envelopes_that_nobody_writes_are_not() {
        for kind in 0..16 {
            for sequence_bytes in 0..16 {
                for content in [0, 1, 8, 308, PAYLOAD_MAX + 8] {
                    let packet = packet(kind, 0, sequence_bytes, content);
                    let sound = (1..=8).contains(&sequence_bytes) && packet.len() <= PACKET_MAX;
                    let known = (3..=6).contains(&kind) && sound;
                    assert!(
                        known || FromPlayer::look(&packet).is_none(),
                        "{kind} {sequence_bytes}"
                    );
                }
            }
        }
        for length in 0..REQUEST_BYTES + 200 {
            let zeros = vec![0; length];
            assert_eq!(FromPlayer::look(&zeros).is_some(), length == REQUEST_BYTES);
            let payload = vec![0x85; length];
            assert_eq!(FromPlayer::look(&payload).is_some(), (26..=PACKET_MAX).contains(&length));
        }
        // A request in an encrypted envelope.
        assert!(FromPlayer::look(&packet(0, 1, 1, REQUEST_BYTES - 1)).is_none());
    }

    #[test]
    fn keys_and_tokens_survive_their_text_and_hide_in_debug() {
        let key = Key::from_bytes([7; 32]);
        let netcode = Netcode {
            protocol_id: PROTOCOL_ID,
            key,
            address: ([127, 0, 0, 1], 20004).into(),
            expires_ms: 15_000,
        };
        let text = serde_json::to_string(&netcode).unwrap();
        assert_eq!(
            text,
            "{\"protocol_id\":\"4d55535445520001\",\"key\":\
             \"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\",\"address\":\"127.0.0.1:20004\",\
             \"expires_ms\":15000}"
        );
        assert_eq!(serde_json::from_str::<Netcode>(&text).unwrap(), netcode);
        assert!(format!("{netcode:?}").contains("key: Key(…)"));
        let wrong = serde_json::from_str::<Key>("\"BwcHBw\"").unwrap_err().to_string();
        assert!(!wrong.contains("Bwc"), "{wrong}");

        let token = Box::new([9; CONNECT_TOKEN_BYTES]);
        let text = token_to_text(&token);
        assert_eq!((text.len(), token_from_text(&text)), (2732, Some(token)));
        assert!(text.len() + 512 < crate::SERVER_LINE_MAX);
        assert_eq!(token_from_text(&text[4..]), None);
        assert_eq!(slot_of(client_id(3)), Some(3));
        assert_eq!(slot_of(0), None);
        assert!(user_data("17", 1, &Secret::from_bytes([1; 16])).starts_with(b"17 1 0101"));
    }
}
