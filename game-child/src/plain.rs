//! The transport `plain`: which datagram is from which player.
//!
//! A token is valid once, for the address that shows it first; from then on the address identifies the player. A
//! returning player has another token, and the previous one is invalid for every address. Everything else, a wrong
//! token or match, a token that was used from another address, an unknown address, gets no answer. So the game
//! cannot be used to send datagrams to third parties, and tokens cannot be guessed.
//!
//! A player with a valid token could still spoof another host's address. So an address is sent no more, in bytes
//! and in packets, than it sent, until it returns the challenge in its welcome, which only the real owner of the
//! address receives. A datagram that exceeds this is delayed; only the newest one is kept, as games repeat what
//! must arrive. Addresses of this machine need no proof: their packets come from no network.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use protocol::Secret;
use protocol::datagram::{CHALLENGE_ALPHABET, CHALLENGE_LENGTH, DATAGRAM_MAX, FromPlayer, Welcome};

use crate::arrival::Arrival;

/// Bytes of a datagram's headers; IPv4 and UDP, RFC 791 and RFC 768.
const HEADERS: usize = 28;

/// The players' addresses in one match.
pub(crate) struct Plain {
    match_id: String,
    /// Draws the challenge for an address.
    draw: fn() -> Option<String>,
    players: Vec<Player>,
    /// The slots of the addresses that are in use.
    slots: BTreeMap<SocketAddr, usize>,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
}

struct Player {
    token: Secret,
    address: Option<SocketAddr>,
    /// Whether the player ends datagrams with a newline, as a person with netcat does, and should get answers so.
    speaks_lines: bool,
    path: Path,
}

/// Whether a player's address is proven, and the traffic until it is.
#[derive(Debug)]
enum Path {
    /// The sender of packets from the address also receives there.
    Proven,
    Unproven {
        /// `None`: there were no random bytes, so that the address cannot be proven.
        challenge: Option<String>,
        received: Traffic,
        sent: Traffic,
        /// The newest delayed datagram.
        delayed: Option<Vec<u8>>,
    },
}

/// The traffic in one direction.
#[derive(Debug, Clone, Copy, Default)]
struct Traffic {
    datagrams: usize,
    bytes: usize,
}

impl Traffic {
    fn plus(self, length: usize) -> Self {
        Self {
            datagrams: self.datagrams.saturating_add(1),
            bytes: self.bytes.saturating_add(length),
        }
    }

    /// Whether this does not exceed the other, in the datagrams' bytes and in bytes on the wire.
    fn fits(self, other: Self) -> bool {
        let wire = |it: Self| it.bytes.saturating_add(it.datagrams.saturating_mul(HEADERS));
        self.bytes <= other.bytes && wire(self) <= wire(other)
    }
}

impl Path {
    /// A path without traffic.
    fn to(address: SocketAddr, draw: fn() -> Option<String>) -> Self {
        if address.ip().to_canonical().is_loopback() {
            return Self::Proven;
        }
        let (received, sent) = (Traffic::default(), Traffic::default());
        Self::Unproven { challenge: draw(), received, sent, delayed: None }
    }

    fn challenge(&self) -> Option<&str> {
        match self {
            Self::Proven => None,
            Self::Unproven { challenge, .. } => challenge.as_deref(),
        }
    }

    fn note_received(&mut self, length: usize) {
        if let Self::Unproven { received, .. } = self {
            *received = received.plus(length);
        }
    }

    /// A player's ping arrived. If its text is the challenge, the delayed datagram is returned.
    fn prove(&mut self, text: &str) -> Option<Vec<u8>> {
        let Self::Unproven { challenge: Some(challenge), delayed, .. } = self else { return None };
        if challenge != text {
            return None;
        }
        let delayed = delayed.take();
        *self = Self::Proven;
        delayed
    }

    /// Whether a datagram may be sent now; it is then counted.
    fn admits(&mut self, length: usize) -> bool {
        let Self::Unproven { received, sent, .. } = self else { return true };
        let after = sent.plus(length);
        let fits = after.fits(*received);
        if fits {
            *sent = after;
        }
        fits
    }

    /// The delayed datagram, once it may be sent.
    fn poll_delayed(&mut self) -> Option<Vec<u8>> {
        let Self::Unproven { delayed, .. } = self else { return None };
        let datagram = delayed.take()?;
        if self.admits(datagram.len()) {
            return Some(datagram);
        }
        self.delay(datagram);
        None
    }

    fn delay(&mut self, datagram: Vec<u8>) {
        if let Self::Unproven { delayed, .. } = self {
            *delayed = Some(datagram);
        }
    }
}

impl Plain {
    pub(crate) fn new(match_id: String, tokens: impl IntoIterator<Item = Secret>) -> Self {
        let players = tokens
            .into_iter()
            .map(|token| Player { token, address: None, speaks_lines: false, path: Path::Proven })
            .collect();
        let (slots, transmits) = (BTreeMap::new(), VecDeque::new());
        Self { match_id, draw: draw_challenge, players, slots, transmits }
    }

    /// Decodes a datagram: the slot of its player, and what it means. `None` gets no answer.
    pub(crate) fn handle_datagram<'a>(
        &mut self,
        from: SocketAddr,
        datagram: &'a [u8],
    ) -> Option<(usize, Arrival<'a>)> {
        if datagram.len() > DATAGRAM_MAX {
            return None;
        }
        let known = self.slots.get(&from).copied();
        if let Some(slot) = known {
            self.players[slot].path.note_received(datagram.len());
        }
        let arrival = self.read(from, known, datagram);
        // The room that a hello creates is for its welcome: a player without that ignores other messages.
        let is_hello = matches!(arrival, Some((_, Arrival::Entered | Arrival::HelloAgain)));
        if let Some(slot) = known.filter(|_| !is_hello) {
            self.send_delayed(slot);
        }
        arrival
    }

    fn read<'a>(
        &mut self,
        from: SocketAddr,
        known: Option<usize>,
        datagram: &'a [u8],
    ) -> Option<(usize, Arrival<'a>)> {
        match (FromPlayer::parse(datagram)?, known) {
            (FromPlayer::Hello { match_id, token }, _) => {
                let (slot, is_new) = self.hello(from, match_id, token)?;
                self.players[slot].speaks_lines = datagram.ends_with(b"\n");
                if is_new {
                    self.players[slot].path.note_received(datagram.len());
                }
                Some((slot, if is_new { Arrival::Entered } else { Arrival::HelloAgain }))
            }
            (FromPlayer::Ping(text), Some(slot)) => {
                let delayed = self.players[slot].path.prove(text);
                self.transmits.extend(delayed.map(|datagram| (from, datagram)));
                Some((slot, Arrival::Ping(text.into())))
            }
            (FromPlayer::Bye, Some(slot)) => Some((slot, Arrival::Bye)),
            (FromPlayer::Words(words), Some(slot)) => Some((slot, Arrival::Words(words.into()))),
            (FromPlayer::Ping(_) | FromPlayer::Bye | FromPlayer::Words(_), None) => None,
        }
    }

    /// The slot that a hello is valid for, and whether it is the first one.
    fn hello(&mut self, from: SocketAddr, match_id: &str, token: Secret) -> Option<(usize, bool)> {
        if match_id != self.match_id {
            return None;
        }
        let slot = self.players.iter().position(|player| player.token == token)?;
        let player = &mut self.players[slot];
        match player.address {
            Some(address) => (address == from).then_some((slot, false)),
            // An address belongs to one player, or its messages would be ambiguous.
            None if self.slots.contains_key(&from) => None,
            None => {
                player.address = Some(from);
                player.path = Path::to(from, self.draw);
                self.slots.insert(from, slot);
                debug_assert!(self.slots.len() <= self.players.len());
                Some((slot, true))
            }
        }
    }

    /// A player will return with another token; nothing is sent to the old address any more.
    pub(crate) fn handle_rejoin(&mut self, slot: usize, token: Secret) {
        let Some(player) = self.players.get_mut(slot) else { return };
        if let Some(address) = player.address.take() {
            self.slots.remove(&address);
        }
        player.token = token;
    }

    /// Sends a message to a player who joined: now, or when their address has sent enough.
    pub(crate) fn send(&mut self, slot: usize, mut words: String) {
        let Some(player) = self.players.get_mut(slot) else { return };
        let Some(address) = player.address else { return };
        if player.speaks_lines {
            words.push('\n');
        }
        match player.path.admits(words.len()) {
            true => self.transmits.push_back((address, words.into_bytes())),
            false => player.path.delay(words.into_bytes()),
        }
    }

    /// Answers a hello, with the challenge if the address may be spoofed.
    pub(crate) fn welcome(&mut self, slot: usize, players: usize) {
        let Some(player) = self.players.get(slot) else { return };
        let challenge = player.path.challenge();
        let welcome = Welcome { match_id: &self.match_id, slot, players, challenge };
        self.send(slot, welcome.to_string());
    }

    fn send_delayed(&mut self, slot: usize) {
        let Some(player) = self.players.get_mut(slot) else { return };
        if let (Some(address), Some(datagram)) = (player.address, player.path.poll_delayed()) {
            self.transmits.push_back((address, datagram));
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }
}

/// A challenge of random bytes from the kernel, if there are any.
fn draw_challenge() -> Option<String> {
    let mut bytes = [0; CHALLENGE_LENGTH];
    getrandom::fill(&mut bytes).ok()?;
    let character = |byte: u8| char::from(CHALLENGE_ALPHABET[usize::from(byte & 0x3f)]);
    Some(bytes.into_iter().map(character).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn hello(match_id: &str, token: u8) -> Vec<u8> {
        format!("HELLO {match_id} {}", Secret::from_bytes([token; 16])).into_bytes()
    }

    fn plain() -> Plain {
        Plain::new("17".into(), [0, 1].map(|token| Secret::from_bytes([token; 16])))
    }

    #[test]
    fn a_token_is_valid_once_and_for_one_address() {
        let mut plain = plain();
        assert_eq!(plain.handle_datagram(address(1), b"PING x"), None);
        assert_eq!(plain.handle_datagram(address(1), &hello("17", 1)), Some((1, Arrival::Entered)));
        assert_eq!(
            plain.handle_datagram(address(1), &hello("17", 1)),
            Some((1, Arrival::HelloAgain))
        );
        assert_eq!(plain.handle_datagram(address(2), &hello("17", 1)), None, "replayed");
        assert_eq!(plain.handle_datagram(address(1), &hello("17", 0)), None, "two players in one");
        assert_eq!(plain.handle_datagram(address(2), &hello("17", 0)), Some((0, Arrival::Entered)));
        assert_eq!(
            plain.handle_datagram(address(2), b"PING x"),
            Some((0, Arrival::Ping("x".into())))
        );
        plain.send(0, "x".into());
        assert_eq!(plain.poll_transmit(), Some((address(2), b"x".to_vec())));
    }

    #[test]
    fn a_player_who_sends_lines_gets_lines_that_are_never_longer() {
        let mut plain = plain();
        let mut line = hello("17", 1);
        line.push(b'\n');
        plain.send(1, "x".into());
        assert_eq!(plain.poll_transmit(), None, "the player has not joined");
        assert_eq!(plain.handle_datagram(address(1), &line), Some((1, Arrival::Entered)));
        plain.send(1, "WELCOME 17 slot=1 players=2".into());
        let (_, welcome) = plain.poll_transmit().unwrap();
        assert!(welcome.ends_with(b"\n") && welcome.len() <= line.len(), "{welcome:?}");
    }

    #[test]
    fn a_returning_player_has_another_token_and_the_old_one_is_invalid() {
        for address_again in [address(1), address(2)] {
            let mut plain = plain();
            plain.handle_datagram(address(1), &hello("17", 1));
            plain.handle_datagram(address(3), &hello("17", 0));
            plain.handle_rejoin(1, Secret::from_bytes([9; 16]));
            for datagram in [&hello("17", 1)[..], b"PING x", b"BYE"] {
                assert_eq!(plain.handle_datagram(address(1), datagram), None);
            }
            plain.send(1, "x".into());
            assert_eq!(plain.poll_transmit(), None, "the player is away");
            let again = hello("17", 9);
            assert_eq!(plain.handle_datagram(address(3), &again), None, "another player's");
            let entered = plain.handle_datagram(address_again, &again);
            assert_eq!(entered, Some((1, Arrival::Entered)));
            let ping = plain.handle_datagram(address(3), b"PING x");
            assert_eq!(ping, Some((0, Arrival::Ping("x".into()))), "the others stay");
        }
    }

    #[test]
    fn wrong_hellos_change_nothing() {
        let mut plain = plain();
        for datagram in [&hello("17", 2)[..], &hello("18", 1), b"HELLO", b"\xff", b"BYE"] {
            assert_eq!(plain.handle_datagram(address(1), datagram), None);
        }
        let mut long = hello("17", 1);
        long.resize(DATAGRAM_MAX + 1, b' ');
        assert_eq!(plain.handle_datagram(address(1), &long), None);
        assert_eq!(plain.handle_datagram(address(1), &hello("17", 1)), Some((1, Arrival::Entered)));
    }
}
