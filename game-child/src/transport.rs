//! The layer between datagrams and messages: which player a datagram is from, and what it means.
//!
//! A session exchanges messages with players by slot. The transport, one for the whole match, encodes them:
//! [`Plain`] for netcat and development, [`Netcode`] encrypted. Neither reads a clock or uses a socket.

use std::net::SocketAddr;
use std::time::Duration;

use protocol::Secret;
use protocol::datagram::Welcome;

use crate::arrival::Arrival;
use crate::netcode::Netcode;
use crate::plain::Plain;

/// Decodes and encodes a match's datagrams.
pub(crate) enum Transport {
    Plain(Plain),
    Netcode(Box<Netcode>),
}

impl Transport {
    /// Decodes a datagram: the slot of its player, and what it means. `None` needs no answer from the session.
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

    /// The time of [`next_deadline`](Self::next_deadline) has passed. A call too early is harmless.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        match self {
            Self::Plain(_) => {}
            Self::Netcode(netcode) => netcode.handle_timeout(now),
        }
    }

    /// When the transport must send something itself.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        match self {
            Self::Plain(_) => None,
            Self::Netcode(netcode) => netcode.next_deadline(),
        }
    }

    /// A player will return with another token: the previous token, and the address that used it, become invalid.
    pub(crate) fn handle_rejoin(&mut self, now: Duration, slot: usize, token: Secret) {
        match self {
            Self::Plain(plain) => plain.handle_rejoin(slot, token),
            Self::Netcode(netcode) => netcode.handle_rejoin(now, slot),
        }
    }

    /// Sends a message to a player. Nothing is sent before they joined.
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

    /// The match is over: connected players are notified, if the transport can.
    pub(crate) fn close(&mut self) {
        match self {
            Self::Plain(_) => {}
            Self::Netcode(netcode) => netcode.close(),
        }
    }

    /// The next datagram to send, and its destination.
    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        match self {
            Self::Plain(plain) => plain.poll_transmit(),
            Self::Netcode(netcode) => netcode.poll_transmit(),
        }
    }

    /// The next player whose connection has ended or timed out.
    pub(crate) fn poll_lost(&mut self) -> Option<usize> {
        match self {
            Self::Plain(_) => None,
            Self::Netcode(netcode) => netcode.poll_lost(),
        }
    }
}
