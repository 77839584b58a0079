//! The seam between datagrams and words: which player a datagram is from, and what it means.
//!
//! A session speaks in words with players by slot. How those travel is the transport's matter, one for the whole
//! match: [`Plain`] for netcat and development, [`Netcode`] encrypted. Neither reads a clock or touches a socket.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::Secret;
use protocol::datagram::Welcome;

use crate::netcode::Netcode;
use crate::plain::Plain;

/// How a match's datagrams are read and written.
pub(crate) enum Transport {
    Plain(Plain),
    Netcode(Box<Netcode>),
}

/// What a datagram means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<'a> {
    /// A player has shown a token, for the first time.
    Entered,
    /// A hello of a player who is in: the answer to the first one was lost, or is late.
    HelloAgain,
    /// A player asks for a sign of life. Holds the text to be said back.
    Ping(Cow<'a, str>),
    /// A player goes.
    Bye,
    /// Words of the game.
    Words(Cow<'a, str>),
}

impl Transport {
    /// Whose datagram it is, and what it means. `None` deserves no answer, or the transport has given it.
    pub(crate) fn handle_datagram<'a>(
        &mut self,
        now: Duration,
        from: SocketAddr,
        datagram: &'a [u8],
    ) -> Option<(usize, Arrival<'a>)> {
        match self {
            Self::Plain(plain) => plain.handle_datagram(from, datagram),
            Self::Netcode(netcode) => netcode.handle_datagram(now, from, datagram),
        }
    }

    /// The time of [`next_deadline`](Self::next_deadline) has come. Too early is harmless.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        match self {
            Self::Plain(_) => {}
            Self::Netcode(netcode) => netcode.handle_timeout(now),
        }
    }

    /// When the transport has something to say of itself.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        match self {
            Self::Plain(_) => None,
            Self::Netcode(netcode) => netcode.next_deadline(),
        }
    }

    /// A player comes back with another token: the one before, and whoever came in with it, are good for nothing more.
    pub(crate) fn handle_rejoin(&mut self, now: Duration, slot: usize, token: Secret) {
        match self {
            Self::Plain(plain) => plain.handle_rejoin(slot, token),
            Self::Netcode(netcode) => netcode.handle_rejoin(now, slot),
        }
    }

    /// Says words to a player. Nothing is said before it came in.
    pub(crate) fn send(&mut self, now: Duration, slot: usize, words: String) {
        match self {
            Self::Plain(plain) => plain.send(slot, words),
            Self::Netcode(netcode) => netcode.send(now, slot, &words),
        }
    }

    /// Answers a player's hello.
    pub(crate) fn welcome(&mut self, now: Duration, match_id: &str, slot: usize, players: usize) {
        match self {
            Self::Plain(plain) => plain.welcome(slot, players),
            Self::Netcode(netcode) => {
                let welcome = Welcome { match_id, slot, players, challenge: None };
                netcode.send(now, slot, &welcome.to_string());
            }
        }
    }

    /// The match is over: whoever is still connected is told, where the transport has a word for it.
    pub(crate) fn close(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Netcode(netcode) => netcode.close(),
        }
    }

    /// The next datagram to send, and where to.
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        match self {
            Self::Plain(plain) => plain.poll_transmit(),
            Self::Netcode(netcode) => netcode.poll_transmit(),
        }
    }

    /// The next player whose connection is no more: ended by the player, or given up.
    pub(crate) fn poll_lost(&mut self) -> Option<usize> {
        match self {
            Self::Plain(_) => None,
            Self::Netcode(netcode) => netcode.poll_lost(),
        }
    }
}
