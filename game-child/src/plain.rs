//! The transport `plain`: which datagram is whose.
//!
//! A token opens the door once, for the address that shows it first; from then on the address is the player. One
//! who comes back has another token, and the one before is as wrong as any other, from whatever address.
//! Everything else, a wrong token or match, a token that was used from elsewhere, an address that nobody
//! knows, looks the same from outside: silence. So nobody can use the game to send datagrams to somebody else,
//! or find out what a token is by trying.
//!
//! A player with a token of its own could still name somebody else's address as its source. So an address is sent no
//! more, in bytes and in packets, than came from it, until it has said back the challenge in its welcome, which
//! only who receives there knows. What does not fit waits until it does; only the newest datagram waits, as games say
//! again whatever must arrive. Addresses of this machine need no proof: their packets come from no network.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use protocol::Secret;
use protocol::datagram::{CHALLENGE_ALPHABET, CHALLENGE_LENGTH, DATAGRAM_MAX, FromPlayer, Welcome};

use crate::transport::Arrival;

/// What a datagram takes on the wire besides its own bytes; IPv4 and UDP headers, RFC 791 and RFC 768.
const HEADERS: usize = 28;

/// The doors of one match.
pub(crate) struct Plain {
    match_id: String,
    /// Draws the challenge for an address.
    draw: fn() -> Option<String>,
    doors: Vec<Door>,
    /// The slot of every address that has come in.
    slots: BTreeMap<SocketAddr, usize>,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
}

struct Door {
    token: Secret,
    address: Option<SocketAddr>,
    /// Whether the player ends its datagrams as lines, as a person with netcat does, and would read ours so.
    speaks_lines: bool,
    path: Path,
}

/// What is known of the way to a player's address.
#[derive(Debug)]
enum Path {
    /// Whoever speaks from the address receives there, too.
    Proven,
    Unproven {
        /// `None`: no random bytes were to be had, so that nothing proves anything.
        challenge: Option<String>,
        received: Traffic,
        sent: Traffic,
        /// The newest datagram that did not fit.
        waiting: Option<Vec<u8>>,
    },
}

/// What went over a path in one direction.
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

    /// Whether this is no more than the other, by the datagrams' own bytes and by what is on the wire.
    fn fits(self, other: Self) -> bool {
        let wire = |it: Self| it.bytes.saturating_add(it.datagrams.saturating_mul(HEADERS));
        self.bytes <= other.bytes && wire(self) <= wire(other)
    }
}

impl Path {
    /// A path over which nothing has come.
    fn to(address: SocketAddr, draw: fn() -> Option<String>) -> Self {
        if address.ip().to_canonical().is_loopback() {
            return Self::Proven;
        }
        let (received, sent) = (Traffic::default(), Traffic::default());
        Self::Unproven { challenge: draw(), received, sent, waiting: None }
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

    /// A player says something back. It may be the challenge; what waited is then to be sent.
    fn prove(&mut self, text: &str) -> Option<Vec<u8>> {
        let Self::Unproven { challenge: Some(challenge), waiting, .. } = self else { return None };
        if challenge != text {
            return None;
        }
        let waiting = waiting.take();
        *self = Self::Proven;
        waiting
    }

    /// Whether a datagram may be sent now, which is then counted.
    fn admits(&mut self, length: usize) -> bool {
        let Self::Unproven { received, sent, .. } = self else { return true };
        let after = sent.plus(length);
        let fits = after.fits(*received);
        if fits {
            *sent = after;
        }
        fits
    }

    /// What waited, once it fits.
    fn poll_waiting(&mut self) -> Option<Vec<u8>> {
        let Self::Unproven { waiting, .. } = self else { return None };
        let datagram = waiting.take()?;
        if self.admits(datagram.len()) {
            return Some(datagram);
        }
        self.wait(datagram);
        None
    }

    fn wait(&mut self, datagram: Vec<u8>) {
        if let Self::Unproven { waiting, .. } = self {
            *waiting = Some(datagram);
        }
    }
}

impl Plain {
    pub(crate) fn new(match_id: String, tokens: impl IntoIterator<Item = Secret>) -> Self {
        let doors = tokens
            .into_iter()
            .map(|token| Door { token, address: None, speaks_lines: false, path: Path::Proven })
            .collect();
        let (slots, transmits) = (BTreeMap::new(), VecDeque::new());
        Self { match_id, draw: draw_challenge, doors, slots, transmits }
    }

    /// Whose datagram it is, and what it means. `None` deserves no answer.
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
            self.doors[slot].path.note_received(datagram.len());
        }
        let arrival = self.read(from, known, datagram);
        // What a hello makes room for is its welcome's: who has not heard that one takes no other words.
        let is_hello = matches!(arrival, Some((_, Arrival::Entered | Arrival::HelloAgain)));
        if let Some(slot) = known.filter(|_| !is_hello) {
            self.send_waiting(slot);
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
                self.doors[slot].speaks_lines = datagram.ends_with(b"\n");
                if is_new {
                    self.doors[slot].path.note_received(datagram.len());
                }
                Some((slot, if is_new { Arrival::Entered } else { Arrival::HelloAgain }))
            }
            (FromPlayer::Ping(text), Some(slot)) => {
                let waited = self.doors[slot].path.prove(text);
                self.transmits.extend(waited.map(|datagram| (from, datagram)));
                Some((slot, Arrival::Ping(text.into())))
            }
            (FromPlayer::Bye, Some(slot)) => Some((slot, Arrival::Bye)),
            (FromPlayer::Words(words), Some(slot)) => Some((slot, Arrival::Words(words.into()))),
            (FromPlayer::Ping(_) | FromPlayer::Bye | FromPlayer::Words(_), None) => None,
        }
    }

    /// The slot that a hello opens, and whether it does so for the first time.
    fn hello(&mut self, from: SocketAddr, match_id: &str, token: Secret) -> Option<(usize, bool)> {
        if match_id != self.match_id {
            return None;
        }
        let slot = self.doors.iter().position(|door| door.token == token)?;
        let door = &mut self.doors[slot];
        match door.address {
            Some(address) => (address == from).then_some((slot, false)),
            // One address is one player, or its words would be of two.
            None if self.slots.contains_key(&from) => None,
            None => {
                door.address = Some(from);
                door.path = Path::to(from, self.draw);
                self.slots.insert(from, slot);
                debug_assert!(self.slots.len() <= self.doors.len());
                Some((slot, true))
            }
        }
    }

    /// A player comes back with another token; nothing is said to its old address any more.
    pub(crate) fn handle_rejoin(&mut self, slot: usize, token: Secret) {
        let Some(door) = self.doors.get_mut(slot) else { return };
        if let Some(address) = door.address.take() {
            self.slots.remove(&address);
        }
        door.token = token;
    }

    /// Says words to a player who came in: now, or when enough has come from its address.
    pub(crate) fn send(&mut self, slot: usize, mut words: String) {
        let Some(door) = self.doors.get_mut(slot) else { return };
        let Some(address) = door.address else { return };
        if door.speaks_lines {
            words.push('\n');
        }
        match door.path.admits(words.len()) {
            true => self.transmits.push_back((address, words.into_bytes())),
            false => door.path.wait(words.into_bytes()),
        }
    }

    /// Answers a hello, with the challenge of an address that may be spoofed.
    pub(crate) fn welcome(&mut self, slot: usize, players: usize) {
        let Some(door) = self.doors.get(slot) else { return };
        let challenge = door.path.challenge();
        let welcome = Welcome { match_id: &self.match_id, slot, players, challenge };
        self.send(slot, welcome.to_string());
    }

    fn send_waiting(&mut self, slot: usize) {
        let Some(door) = self.doors.get_mut(slot) else { return };
        if let (Some(address), Some(datagram)) = (door.address, door.path.poll_waiting()) {
            self.transmits.push_back((address, datagram));
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }
}

/// A challenge from the kernel's random bytes. `None`: there are none.
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
    fn a_token_opens_once_and_for_one_address() {
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
    fn who_speaks_lines_is_answered_in_lines_and_never_with_more_than_it_said() {
        let mut plain = plain();
        let mut line = hello("17", 1);
        line.push(b'\n');
        plain.send(1, "x".into());
        assert_eq!(plain.poll_transmit(), None, "nobody came in");
        assert_eq!(plain.handle_datagram(address(1), &line), Some((1, Arrival::Entered)));
        plain.send(1, "WELCOME 17 slot=1 players=2".into());
        let (_, welcome) = plain.poll_transmit().unwrap();
        assert!(welcome.ends_with(b"\n") && welcome.len() <= line.len(), "{welcome:?}");
    }

    #[test]
    fn who_comes_back_has_another_token_and_the_old_one_opens_no_more() {
        for address_again in [address(1), address(2)] {
            let mut plain = plain();
            plain.handle_datagram(address(1), &hello("17", 1));
            plain.handle_datagram(address(3), &hello("17", 0));
            plain.handle_rejoin(1, Secret::from_bytes([9; 16]));
            for datagram in [&hello("17", 1)[..], b"PING x", b"BYE"] {
                assert_eq!(plain.handle_datagram(address(1), datagram), None);
            }
            plain.send(1, "x".into());
            assert_eq!(plain.poll_transmit(), None, "nobody is there");
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
