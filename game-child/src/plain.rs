//! The transport `plain`: which datagram is whose.
//!
//! A token opens the door once, for the address that shows it first; from then on the address is the player. One
//! who comes back has another token, and the one before is as wrong as any other, from whatever address.
//! Everything else, a wrong token or match, a token that was used from elsewhere, an address that nobody
//! knows, looks the same from outside: silence. So nobody can use the game to send datagrams to somebody else,
//! or find out what a token is by trying.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use protocol::Secret;
use protocol::datagram::{DATAGRAM_MAX, FromPlayer};

use crate::transport::Arrival;

/// The doors of one match.
pub(crate) struct Plain {
    match_id: String,
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
}

impl Plain {
    pub(crate) fn new(match_id: String, tokens: impl IntoIterator<Item = Secret>) -> Self {
        let doors = tokens
            .into_iter()
            .map(|token| Door { token, address: None, speaks_lines: false })
            .collect();
        Self { match_id, doors, slots: BTreeMap::new(), transmits: VecDeque::new() }
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
        match (FromPlayer::parse(datagram)?, known) {
            (FromPlayer::Hello { match_id, token }, _) => {
                let (slot, is_new) = self.hello(from, match_id, token)?;
                self.doors[slot].speaks_lines = datagram.ends_with(b"\n");
                Some((slot, if is_new { Arrival::Entered } else { Arrival::HelloAgain }))
            }
            (FromPlayer::Ping(text), Some(slot)) => Some((slot, Arrival::Ping(text.into()))),
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

    /// Says words to a player who came in.
    pub(crate) fn send(&mut self, slot: usize, mut words: String) {
        let Some(door) = self.doors.get(slot) else { return };
        let Some(address) = door.address else { return };
        if door.speaks_lines {
            words.push('\n');
        }
        self.transmits.push_back((address, words.into_bytes()));
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }
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
