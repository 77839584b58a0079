//! The parts of `transport=netcode`, the netcode standard 1.02, that Muster and its games agree on: the contents of
//! connect tokens, and a filter for datagrams in front of an implementation of the standard.
//!
//! Nothing here encrypts or checks a signature; the implementation does that. The filter checks the unencrypted part of
//! a packet, its kind, sequence number and length, and is stricter than some implementations, including the reference:
//! it drops sequence numbers close to the end of the range, kinds that are never sent in that direction, and sequence
//! numbers of an invalid length, before an implementation computes with them.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;

use crate::Secret;

/// The name of the transport in assignments and in the configuration.
pub const TRANSPORT: &str = "netcode";

/// The protocol id, which excludes other programs' packets: the letters `MUSTER`, and a version.
pub const PROTOCOL_ID: u64 = u64::from_be_bytes(*b"MUSTER\0\x01");

/// The size of a connect token, in bytes. In base64, as players receive it, it has 2,732 characters.
pub const CONNECT_TOKEN_BYTES: usize = 2048;

/// The size of the user data in a connect token, in bytes.
pub const USER_DATA_BYTES: usize = 256;

/// The longest packet, in bytes: as long as the longest datagram of the transport `plain`.
pub const PACKET_MAX: usize = crate::datagram::DATAGRAM_MAX;

/// The longest payload of a packet, in bytes: without kind, sequence number and signature.
pub const PAYLOAD_MAX: usize = PACKET_MAX - 1 - SEQUENCE_BYTES_MAX - MAC_BYTES;

/// The largest number of players in a match that implementations support.
pub const PLAYERS_MAX: usize = 256;

/// The highest sequence number that is accepted. Both sides count from zero, a game's first answers from the middle of
/// the range, so honest packets never exceed it. Beyond it the arithmetic of implementations overflows.
pub const SEQUENCE_MAX: u64 = u64::MAX - 0xffff;

const SEQUENCE_BYTES_MAX: usize = 8;
const MAC_BYTES: usize = 16;
const REQUEST_BYTES: usize = 1 + 13 + 8 + 8 + 24 + 1024;
/// A sequence number and an encrypted challenge.
const CHALLENGE_BYTES: usize = 8 + 300;
const KEEP_ALIVE_BYTES: usize = 4 + 4;

/// The transport parameters of a match, in the message `start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netcode {
    /// [`PROTOCOL_ID`], as 16 hexadecimal digits.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    pub protocol_id: u64,
    /// The key that encrypts the match's connect tokens.
    pub key: Key,
    /// The game's address in the connect tokens.
    pub address: SocketAddr,
    /// The time after `started` within which a connect token must first be used, in milliseconds. The tokens' own
    /// expiry time, by the wall clock, is much later.
    pub expires_ms: u64,
}

/// The key of one match, which can create connect tokens. In base64 on the wire; never in a log.
#[derive(Clone, Copy)]
pub struct Key([u8; Key::BYTES]);

impl Key {
    /// The size of a key, in bytes.
    pub const BYTES: usize = 32;

    /// A key from bits that the caller drew from the system's random source.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes of the key, for encryption.
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
        // The error does not repeat the text, which could be a mistyped key.
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

/// Parses the connect token of an assignment. `None` if its length or its characters are wrong.
pub fn token_from_text(text: &str) -> Option<Box<[u8; CONNECT_TOKEN_BYTES]>> {
    BASE64.decode(text).ok()?.into_boxed_slice().try_into().ok()
}

/// Converts an address for the crate `netcode-rs`, so that connect tokens contain it in the standard's format: the
/// crate (1.4.0) writes and reads the bytes of an IPv6 address in their order, and the standard has 16-bit words, each
/// with its low byte first. The conversion is its own inverse.
pub fn in_token(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => {
            let words = v6.ip().segments().map(u16::swap_bytes);
            SocketAddr::new(Ipv6Addr::from(words).into(), address.port())
        }
    }
}

/// The client id of a slot in its connect token. Zero is not used, as some implementations treat it as unassigned.
pub const fn client_id(slot: usize) -> u64 {
    slot as u64 + 1
}

/// The slot of a client id.
pub fn slot_of(client_id: u64) -> Option<usize> {
    usize::try_from(client_id.checked_sub(1)?).ok()
}

/// The user data of a connect token: `<match> <slot> <token>`, padded with zeros. The token is the player's in the
/// message `start`, which no other player receives.
pub fn user_data(match_id: &str, slot: usize, token: &Secret) -> [u8; USER_DATA_BYTES] {
    let mut data = [0; USER_DATA_BYTES];
    let text = format!("{match_id} {slot} {token}");
    debug_assert!(text.len() < USER_DATA_BYTES, "{} bytes of user data", text.len());
    for (byte, letter) in data.iter_mut().zip(text.bytes()) {
        *byte = letter;
    }
    data
}

/// The kind of a player's packet, by its unencrypted part. The packet may be forged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromPlayer {
    /// A connection request with a connect token.
    Request {
        /// The signature of the token's private part, which identifies the token.
        mac: [u8; MAC_BYTES],
    },
    /// A challenge response, keep-alive, payload or disconnect packet of a player whose request was answered.
    Other,
}

impl FromPlayer {
    /// Classifies a datagram. `None` if no player sends it and no implementation should process it.
    pub fn look(packet: &[u8]) -> Option<Self> {
        if packet.first() == Some(&0) {
            // A request has no sequence number: the same kind in an encrypted envelope would bypass all checks.
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

/// Whether a datagram can be a packet from a game, by its unencrypted part.
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

/// The kind of an encrypted packet, and the length of its content.
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
    fn packets_of_either_side_are_accepted() {
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
    fn sequence_numbers_near_the_end_of_the_range_are_dropped() {
        for sequence in SEQUENCE_MAX + 1..=u64::MAX {
            for (kind, content) in [(4, 8), (5, 3)] {
                let packet = packet(kind, sequence, 8, content);
                assert!(FromPlayer::look(&packet).is_none() && !is_from_game(&packet));
            }
        }
    }

    #[test]
    fn invalid_envelopes_are_dropped() {
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
    fn keys_and_tokens_survive_their_text_form_and_are_hidden_in_their_debug_form() {
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
