//! The transport `netcode`: the standard 1.02, by the crate `netcode-rs`, which is handed datagrams and the time.
//!
//! The crate does the cryptography and the handshake. The code around it examines every datagram first and passes
//! on only those that find the crate in a state it can handle. Without that, in version 1.4.0, a stranger with a
//! player's address or a player with a token could
//! - end the process: with a sequence number of more than eight bytes, or close to the end of its range, with a
//!   kind of packet that only a server sends, or by requesting connections from 256 addresses (half-open connections
//!   never time out, and of the tokens that were shown only the last one is remembered);
//! - make a token for another player's slot: a request in an encrypted envelope is accepted without a check;
//! - send messages before answering the challenge, from a spoofed address;
//! - leave, return with the same token, and have the same keys used twice for the same sequence numbers;
//! - start to connect and then, with another token, answer the challenge from elsewhere: the old address was
//!   connected.
//!
//! So only packets that a player sends are passed on ([`FromPlayer::look`]); every genuine token is valid for the
//! one address that showed it first, and once; and only connected players' messages are accepted.
//!
//! The standard measures the life of a token in wall-clock time, which may step. Muster therefore makes tokens
//! valid for hours, and this module measures their real life on the match's own clock.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netcode::{ClientIndex, Server, ServerConfig, Transceiver};
use protocol::datagram;
use protocol::netcode::{FromPlayer, PAYLOAD_MAX, PLAYERS_MAX, in_token, slot_of};

use crate::arrival::Arrival;

/// The longest time between two packets to a player. The standard's clients send ten packets a second, which would
/// wake an idle game too often.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// The crate acts when the pause is over, not when it is exactly reached: a little later is certain.
const KEEP_ALIVE_DUE: Duration = KEEP_ALIVE.saturating_add(Duration::from_millis(1));

/// Disconnect packets to each player at the end, all at once.
const GOODBYES: usize = 4;

/// The connections of one match.
pub(crate) struct Netcode {
    match_id: String,
    /// Until when a token may be used for the first time.
    expires: Duration,
    /// How long a token is valid after its player received it.
    life: Duration,
    /// The most tokens that can exist: one for each slot, and one for each rejoin.
    tokens_max: usize,
    /// `None` if the system had no random bytes for its challenges: then no player can connect.
    server: Option<Server<Wire, Wire>>,
    wire: Wire,
    /// The tokens that were found genuine.
    tokens: Vec<Token>,
    /// By slot.
    seats: Vec<Option<Seat>>,
    transmits: VecDeque<(SocketAddr, Vec<u8>)>,
    lost: VecDeque<usize>,
}

/// A genuine token.
struct Token {
    mac: [u8; 16],
    /// The one address that it is valid for; `None` when it is not valid any more.
    address: Option<SocketAddr>,
    /// The slot that it has connected: it is not accepted again.
    used_by: Option<usize>,
}

/// A connected player.
#[derive(Clone, Copy)]
struct Seat {
    client: ClientIndex,
    address: SocketAddr,
    last_sent: Duration,
}

impl Netcode {
    /// The connections of a match with this number of players.
    // Tens of KiB of stack, which a match over another transport should not touch: each page would be its own.
    #[inline(never)]
    pub(crate) fn boxed(
        match_id: String,
        players: usize,
        setup: &protocol::netcode::Netcode,
    ) -> Box<Self> {
        let wire = Wire::new(in_token(setup.address));
        let config = ServerConfig::with_context(wire.clone())
            .keep_alive_send_rate(KEEP_ALIVE.as_secs_f64())
            .num_disconnect_packets(GOODBYES)
            .on_connect(|client, wire: &mut Wire| wire.lock().connected.push(client))
            .on_disconnect(|client, wire: &mut Wire| wire.lock().lost.push(client));
        let (id, key) = (setup.protocol_id, setup.key.bytes());
        let life = Duration::from_millis(setup.expires_ms);
        Box::new(Self {
            match_id,
            expires: life,
            life,
            tokens_max: PLAYERS_MAX,
            server: Server::with_config_and_transceiver(id, key, config, wire.clone()).ok(),
            wire,
            tokens: Vec::new(),
            seats: vec![None; players],
            transmits: VecDeque::new(),
            lost: VecDeque::new(),
        })
    }

    /// Decodes a datagram: the slot of its player, and what it means.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Duration,
        from: SocketAddr,
        packet: &[u8],
    ) -> Option<(usize, Arrival<'static>)> {
        let look = FromPlayer::look(packet)?;
        let may_pass = match look {
            FromPlayer::Request { mac } => self.may_request(now, from, mac),
            FromPlayer::Other => self.tokens.iter().any(|token| token.address == Some(from)),
        };
        if !may_pass {
            return None;
        }
        self.wire.lock().arrived = Some((from, packet.to_vec()));
        let before = self.transmits.len();
        self.update(now);
        let was_answered = self.transmits.range(before..).any(|(to, _)| *to == from);
        match look {
            // Only a request with a genuine token is answered.
            FromPlayer::Request { mac } if was_answered => self.remember(mac, from),
            FromPlayer::Request { .. } | FromPlayer::Other => {}
        }
        self.take_connected(now, from)
            .map(|slot| (slot, Arrival::Entered))
            .or_else(|| self.take_message())
    }

    /// A player will return with another token. The standard identifies a player by an id, and refuses one who is
    /// connected.
    pub(crate) fn handle_rejoin(&mut self, now: Duration, slot: usize) {
        let seat = self.seats.get_mut(slot).and_then(Option::take);
        if let (Some(seat), Some(server)) = (seat, &mut self.server) {
            let _ = server.disconnect(seat.client);
        }
        // The disconnection is expected, so it is not reported as lost.
        let lost = self.take_lost();
        self.lost.extend(lost);
        self.take_sent(now);
        for token in self.tokens.iter_mut().filter(|token| token.used_by == Some(slot)) {
            token.address = None;
        }
        self.expires = self.expires.max(now.saturating_add(self.life));
        self.tokens_max += 1;
    }

    /// Sends keep-alives that are due, and ends connections that have timed out.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        self.update(now);
        // A deadline that has passed must not be returned again, whatever the crate did.
        for seat in self.seats.iter_mut().flatten() {
            if now >= seat.last_sent.saturating_add(KEEP_ALIVE_DUE) {
                seat.last_sent = now;
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let sent = self.seats.iter().flatten().map(|seat| seat.last_sent);
        Some(sent.min()?.saturating_add(KEEP_ALIVE_DUE))
    }

    /// Sends a message to a connected player. One of more than [`PAYLOAD_MAX`] bytes is dropped.
    pub(crate) fn send(&mut self, now: Duration, slot: usize, words: &str) {
        let seat = self.seats.get(slot).copied().flatten();
        let (Some(seat), Some(server)) = (seat, &mut self.server) else { return };
        if words.len() <= PAYLOAD_MAX {
            // An error means that the connection has ended, which is reported separately.
            let _ = server.send(words.as_bytes(), seat.client);
        }
        self.take_sent(now);
    }

    /// Disconnects all players.
    pub(crate) fn close(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.disconnect_all();
        }
        self.take_lost();
        self.take_sent(Duration::ZERO);
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transmits.pop_front()
    }

    pub(crate) fn poll_lost(&mut self) -> Option<usize> {
        self.lost.pop_front()
    }

    /// Whether a request may be passed on. A token is valid for the address that shows it first, and once; an
    /// address may use one token.
    fn may_request(&self, now: Duration, from: SocketAddr, mac: [u8; 16]) -> bool {
        let from = Some(from);
        match self.tokens.iter().find(|token| token.mac == mac || token.address == from) {
            Some(token) => token.mac == mac && token.address == from && token.used_by.is_none(),
            None => now < self.expires && self.tokens.len() < self.tokens_max,
        }
    }

    fn remember(&mut self, mac: [u8; 16], address: SocketAddr) {
        if self.tokens.iter().all(|token| token.mac != mac) {
            self.tokens.push(Token { mac, address: Some(address), used_by: None });
        }
        debug_assert!(self.tokens.len() <= self.tokens_max);
    }

    /// Lets the crate handle the datagram and the time.
    fn update(&mut self, now: Duration) {
        if let Some(server) = &mut self.server {
            // An error means that the wall clock shows a time before 1970, or that a packet is invalid after all.
            let _ = server.try_update(now.as_secs_f64());
        }
        self.wire.lock().arrived = None;
        self.take_sent(now);
        let lost = self.take_lost();
        self.lost.extend(lost);
    }

    fn take_sent(&mut self, now: Duration) {
        for (to, packet) in std::mem::take(&mut self.wire.lock().sent) {
            if let Some(seat) = self.seats.iter_mut().flatten().find(|seat| seat.address == to) {
                seat.last_sent = now;
            }
            self.transmits.push_back((to, packet));
        }
    }

    /// The slot of a player whom the last datagram connected.
    fn take_connected(&mut self, now: Duration, from: SocketAddr) -> Option<usize> {
        let client = self.wire.lock().connected.pop()?;
        let server = self.server.as_mut()?;
        let (id, address) = (server.client_id(client)?, server.client_addr(client)?);
        let seat = slot_of(id).and_then(|slot| Some((slot, self.seats.get_mut(slot)?)));
        let Some((slot, seat)) = seat.filter(|_| address == from) else {
            // A token with Muster's key that Muster did not make. Or the player's previous address, which is
            // disconnected now: the player repeats the answer from the new one.
            let _ = server.disconnect(client);
            return None;
        };
        *seat = Some(Seat { client, address, last_sent: now });
        for token in self.tokens.iter_mut().filter(|token| token.address == Some(address)) {
            token.used_by = Some(slot);
        }
        Some(slot)
    }

    /// The message of a connected player.
    fn take_message(&mut self) -> Option<(usize, Arrival<'static>)> {
        let (words, client) = self.server.as_mut()?.recv()?;
        let is_theirs = |seat: &Option<Seat>| seat.is_some_and(|seat| seat.client == client);
        let slot = self.seats.iter().position(is_theirs)?;
        Some((slot, self.meaning(&words)?))
    }

    fn meaning(&self, words: &[u8]) -> Option<Arrival<'static>> {
        if words.strip_prefix(b"HELLO ") == Some(self.match_id.as_bytes()) {
            return Some(Arrival::HelloAgain);
        }
        Some(match datagram::FromPlayer::parse(words)? {
            // The connection has shown the token; no hello may contain one.
            datagram::FromPlayer::Hello { .. } => return None,
            datagram::FromPlayer::Ping(text) => Arrival::Ping(text.to_owned().into()),
            datagram::FromPlayer::Bye => Arrival::Bye,
            datagram::FromPlayer::Words(words) => Arrival::Words(words.to_owned().into()),
        })
    }

    /// The slots of connections that have ended.
    fn take_lost(&mut self) -> Vec<usize> {
        let lost = std::mem::take(&mut self.wire.lock().lost);
        let mut slots = Vec::new();
        for (slot, seat) in self.seats.iter_mut().enumerate() {
            if seat.take_if(|seat| lost.contains(&seat.client)).is_some() {
                slots.push(slot);
            }
        }
        slots
    }
}

/// The crate's socket: the datagram that has arrived, and those to be sent. Its callbacks leave their events here.
#[derive(Clone)]
struct Wire(Arc<Mutex<WireState>>);

struct WireState {
    /// The game's address in the tokens.
    address: SocketAddr,
    arrived: Option<(SocketAddr, Vec<u8>)>,
    sent: VecDeque<(SocketAddr, Vec<u8>)>,
    connected: Vec<ClientIndex>,
    lost: Vec<ClientIndex>,
}

impl Wire {
    fn new(address: SocketAddr) -> Self {
        let (sent, connected, lost) = (VecDeque::new(), Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(WireState { address, arrived: None, sent, connected, lost })))
    }

    fn address(&self) -> SocketAddr {
        self.lock().address
    }

    /// Locked for one statement at a time, by one thread: it never blocks.
    fn lock(&self) -> MutexGuard<'_, WireState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transceiver for Wire {
    type IntoError = io::Error;

    fn addr(&self) -> SocketAddr {
        self.address()
    }

    fn recv(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let Some((from, packet)) = self.lock().arrived.take() else { return Ok(None) };
        let Some(room) = buffer.get_mut(..packet.len()) else { return Ok(None) };
        room.copy_from_slice(&packet);
        Ok(Some((packet.len(), from)))
    }

    fn send(&self, packet: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.lock().sent.push_back((to, packet.to_vec()));
        Ok(packet.len())
    }
}
