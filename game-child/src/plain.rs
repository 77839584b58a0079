//! The transport `plain`: which datagram is whose.
//!
//! A token opens the door once, for the address that shows it first; from then on the address is the player.
//! Everything else, a wrong token or match, a token that was used from elsewhere, an address that nobody
//! knows, looks the same from outside: silence. So nobody can use the game to send datagrams to somebody else,
//! or find out what a token is by trying.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use protocol::Secret;
use protocol::datagram::{DATAGRAM_MAX, FromPlayer, Welcome};

/// The doors of one match.
pub(crate) struct Plain {
    match_id: String,
    doors: Vec<Door>,
    /// The slot of every address that has come in.
    slots: BTreeMap<SocketAddr, usize>,
}

struct Door {
    token: Secret,
    address: Option<SocketAddr>,
    /// Whether the player ends its datagrams as lines, as a person with netcat does, and would read ours so.
    speaks_lines: bool,
}

/// What a datagram means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<'a> {
    /// A player's first valid hello.
    Entered,
    /// A hello of a player who is in: the answer to the first one was lost, or is late.
    HelloAgain,
    /// A player asks for a sign of life. Holds the text to be said back.
    Ping(&'a str),
    /// A player goes.
    Bye,
    /// Words of the game.
    Words(&'a str),
}

impl Plain {
    pub(crate) fn new(match_id: String, tokens: impl IntoIterator<Item = Secret>) -> Self {
        let doors = tokens
            .into_iter()
            .map(|token| Door { token, address: None, speaks_lines: false })
            .collect();
        Self { match_id, doors, slots: BTreeMap::new() }
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
            (FromPlayer::Ping(text), Some(slot)) => Some((slot, Arrival::Ping(text))),
            (FromPlayer::Bye, Some(slot)) => Some((slot, Arrival::Bye)),
            (FromPlayer::Words(words), Some(slot)) => Some((slot, Arrival::Words(words))),
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

    /// The answer to a player's hello.
    pub(crate) fn welcome(&self, slot: usize) -> String {
        Welcome { match_id: &self.match_id, slot, players: self.doors.len() }.to_string()
    }

    /// A datagram for a player, and where to; `None` before it came in.
    pub(crate) fn transmit(&self, slot: usize, mut text: String) -> Option<(SocketAddr, String)> {
        let door = self.doors.get(slot)?;
        if door.speaks_lines {
            text.push('\n');
        }
        Some((door.address?, text))
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
        assert_eq!(plain.handle_datagram(address(2), b"PING x"), Some((0, Arrival::Ping("x"))));
        assert_eq!(plain.transmit(0, "x".into()), Some((address(2), "x".into())));
    }

    #[test]
    fn who_speaks_lines_is_answered_in_lines_and_never_with_more_than_it_said() {
        let mut plain = plain();
        let mut line = hello("17", 1);
        line.push(b'\n');
        assert_eq!(plain.transmit(1, "x".into()), None, "nobody came in");
        assert_eq!(plain.handle_datagram(address(1), &line), Some((1, Arrival::Entered)));
        let (_, welcome) = plain.transmit(1, plain.welcome(1)).unwrap();
        assert!(welcome.ends_with('\n') && welcome.len() <= line.len(), "{welcome:?}");
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
