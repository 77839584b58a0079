//! A link over the netcode standard 1.02, by the crate `netcode-rs`, without sockets and clock.
//!
//! Datagrams from the game's address are filtered before the crate processes them
//! ([`protocol::netcode::is_from_game`]): the address can be spoofed, and some packets would make the crate panic.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netcode::{Client, ClientConfig, ClientState, Transceiver};
use protocol::netcode::{is_from_game, token_from_text};

/// The time of silence after which a packet is repeated, as in the standard.
const PAUSE: Duration = Duration::from_millis(100);

/// The crate acts after the pause has passed, not exactly at its end: a little later is safe.
const PAUSE_DUE: Duration = PAUSE.saturating_add(Duration::from_millis(1));

/// The number of disconnect packets, which are sent together.
const GOODBYES: usize = 4;

/// A player's connection.
pub(crate) struct Netcode {
    client: Client<Wire>,
    wire: Wire,
    last_sent: Duration,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    Asking,
    Connected,
    /// Nothing arrived for as long as the token permits.
    TimedOut,
    /// The game ended or refused the connection.
    Ended,
}

impl Netcode {
    /// A connection that starts with a request. `None` if the token is invalid.
    pub(crate) fn new(token: &str) -> Option<Self> {
        let token = token_from_text(token)?;
        let config = ClientConfig::default()
            .packet_send_rate(PAUSE.as_secs_f64())
            .num_disconnect_packets(GOODBYES);
        let wire = Wire::default();
        let mut client =
            Client::with_config_and_transceiver(&token[..], config, wire.clone()).ok()?;
        client.connect();
        Some(Self { client, wire, last_sent: Duration::ZERO })
    }

    /// Handles a datagram, and returns the message in it, if there is one.
    pub(crate) fn handle_datagram(&mut self, now: Duration, packet: &[u8]) -> Option<Vec<u8>> {
        if !is_from_game(packet) {
            return None;
        }
        self.wire.lock().arrived = Some(packet.to_vec());
        self.handle_timeout(now);
        self.client.recv()
    }

    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        // It fails if the wall clock is before 1970, or a packet is invalid after all.
        let _ = self.client.try_update(now.as_secs_f64());
        let mut wire = self.wire.lock();
        wire.arrived = None;
        // A deadline that has passed must not stay, whatever the crate does.
        if !wire.sent.is_empty() || now >= self.last_sent + PAUSE_DUE {
            self.last_sent = now;
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        match self.connection() {
            // The first request is due at once.
            Connection::Asking if self.wire.lock().game.is_none() => Some(Duration::ZERO),
            Connection::Asking | Connection::Connected => Some(self.last_sent + PAUSE_DUE),
            Connection::TimedOut | Connection::Ended => None,
        }
    }

    pub(crate) fn connection(&self) -> Connection {
        match self.client.state() {
            ClientState::SendingConnectionRequest | ClientState::SendingChallengeResponse => {
                Connection::Asking
            }
            ClientState::Connected => Connection::Connected,
            ClientState::ConnectionTimedOut
            | ClientState::ConnectionRequestTimedOut
            | ClientState::ChallengeResponseTimedOut
            | ClientState::ConnectTokenExpired => Connection::TimedOut,
            ClientState::ConnectionDenied | ClientState::Disconnected => Connection::Ended,
        }
    }

    /// Sends a message, if the connection is established.
    pub(crate) fn send(&mut self, now: Duration, words: &str) {
        // It fails for messages that are too long, which the link does not send.
        let _ = self.client.send(words.as_bytes());
        self.last_sent = now;
    }

    /// Ends the connection, if there is one.
    pub(crate) fn disconnect(&mut self) {
        if self.connection() == Connection::Connected {
            let _ = self.client.disconnect();
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.wire.lock().sent.pop_front()
    }
}

/// Hides the keys.
impl fmt::Debug for Netcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netcode").field("connection", &self.connection()).finish_non_exhaustive()
    }
}

/// The socket for the crate: a packet that has arrived, and packets to be sent.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    /// The address that the crate sends to, which is also the source of all received packets: the link's socket is
    /// connected.
    game: Option<SocketAddr>,
    arrived: Option<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

impl Wire {
    /// Locked for one statement at a time, by one thread: it never blocks.
    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transceiver for Wire {
    type IntoError = io::Error;

    fn addr(&self) -> SocketAddr {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    }

    fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let mut wire = self.lock();
        let (Some(packet), Some(game)) = (wire.arrived.take(), wire.game) else { return Ok(None) };
        let Some(room) = buffer.get_mut(..packet.len()) else { return Ok(None) };
        room.copy_from_slice(&packet);
        Ok(Some((packet.len(), game)))
    }

    fn send(&self, packet: &[u8], to: SocketAddr) -> io::Result<usize> {
        let mut wire = self.lock();
        wire.game = Some(to);
        wire.sent.push_back(packet.to_vec());
        Ok(packet.len())
    }
}
