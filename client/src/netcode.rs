//! A link over the netcode standard 1.02, by the crate `netcode-rs`, which is handed datagrams and the time.
//!
//! What comes from the game's address is looked at before the crate sees it ([`protocol::netcode::is_from_game`]):
//! anybody can send in the game's name, and some envelopes would end the process.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netcode::{Client, ClientConfig, ClientState, Transceiver};
use protocol::netcode::{is_from_game, token_from_text};

/// How long a player says nothing before it says again that it is there, or what it wants: as the standard does.
const PAUSE: Duration = Duration::from_millis(100);

/// The crate says it is time once the pause is over, and not when it is just so: a little later is certain.
const PAUSE_DUE: Duration = PAUSE.saturating_add(Duration::from_millis(1));

/// How often the connection's end is told, all at once.
const GOODBYES: usize = 4;

/// A player's connection.
pub(crate) struct Netcode {
    client: Client<Wire>,
    wire: Wire,
    last_sent: Duration,
}

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    Asking,
    Connected,
    /// Nothing has come for as long as the token allows.
    TimedOut,
    /// The game has ended it, or wants none.
    Ended,
}

impl Netcode {
    /// A connection that begins by asking. `None` when the token makes no sense.
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

    /// A datagram came: the words in it, if there are any.
    pub(crate) fn handle_datagram(&mut self, now: Duration, packet: &[u8]) -> Option<Vec<u8>> {
        if !is_from_game(packet) {
            return None;
        }
        self.wire.lock().arrived = Some(packet.to_vec());
        self.handle_timeout(now);
        self.client.recv()
    }

    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        // It fails when the wall clock shows a time before 1970, or a packet makes no sense after all.
        let _ = self.client.try_update(now.as_secs_f64());
        let mut wire = self.wire.lock();
        wire.arrived = None;
        // A deadline that has passed is behind us, whatever the crate made of it.
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

    /// Says words, once the connection stands.
    pub(crate) fn send(&mut self, now: Duration, words: &str) {
        // It fails for words that are too long, which the link does not say.
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

/// Without the keys that are in there.
impl fmt::Debug for Netcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netcode").field("connection", &self.connection()).finish_non_exhaustive()
    }
}

/// What the crate takes for a socket: a packet that has arrived, and those that it wants sent.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    /// Where the crate sends to, and so where all that arrives is from: the link's socket hears nobody else.
    game: Option<SocketAddr>,
    arrived: Option<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

impl Wire {
    /// Held for one statement at a time, by one thread: it is never waited for.
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
