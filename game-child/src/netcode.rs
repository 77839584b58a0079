//! The transport `netcode`: the standard 1.02, by the crate `netcode-rs`, which is handed datagrams and the time.
//!
//! The crate does the cryptography and the handshake. Around it stands a door of our own, which looks at every
//! datagram first and lets through only what is certain to find the crate in a state that it is made for. For want of
//! it, in version 1.4.0, a stranger with a player's address or a player with a token could
//! - end the process: with a sequence number of more than eight bytes, or close to the end of its range, with a kind
//!   of packet that only a server sends, or by asking from 256 addresses for a place (half-open connections are never
//!   given up, and of the tokens that were shown only the last one is remembered);
//! - make a token of its own for another player's place: a request in an encrypted envelope is believed unread;
//! - be heard before it has answered the challenge, from an address that is not its own;
//! - leave, come again with the same token, and have the same keys used twice for the same sequence numbers;
//! - come half-way in and then, with another token, answer the challenge from elsewhere: its old address was connected.
//!
//! So the door keeps to packets that a player sends ([`FromPlayer::look`]), remembers for every token that was found
//! genuine the one address that has shown it, lets each token in once, and hears only who is connected.
//!
//! The standard counts the life of a token in wall-clock time, which may step. Muster therefore gives its tokens
//! hours, and the door counts the seconds that they are good for on the match's own clock.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netcode::{ClientIndex, Server, ServerConfig, Transceiver};
use protocol::datagram;
use protocol::netcode::{FromPlayer, PAYLOAD_MAX, PLAYERS_MAX, in_token, slot_of};

use crate::transport::Arrival;

/// How long a player is told nothing before it is told that the game is there. The standard's clients send ten
/// times a second; that many wake-ups of an idle game are worth nothing.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// The crate says it is time once the pause is over, and not when it is just so: a little later is certain.
const KEEP_ALIVE_DUE: Duration = KEEP_ALIVE.saturating_add(Duration::from_millis(1));

/// How often a player is told that the game is over, all at once.
const GOODBYES: usize = 4;

/// One match's connections.
pub(crate) struct Netcode {
    match_id: String,
    /// Until when a token opens the door for the first time.
    expires: Duration,
    /// How long a token is good for, from when its player was told it.
    life: Duration,
    /// How many tokens there can be: one for each place, and one for each return.
    tokens_max: usize,
    /// `None` where the system had no random bytes for its challenges: nobody is let in then.
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
    /// The one address that it is good for; `None` when it is good for none any more.
    address: Option<SocketAddr>,
    /// Whom it has let in: it will not again.
    used_by: Option<usize>,
}

/// A connected player.
#[derive(Clone, Copy)]
struct Seat {
    client: ClientIndex,
    address: SocketAddr,
    last_told: Duration,
}

impl Netcode {
    /// The connections of a match with so many players.
    // Tens of KiB of stack, which a match over another transport is not to touch: each page of it would be its own.
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

    /// Whose datagram it is, and what it means.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Duration,
        from: SocketAddr,
        packet: &[u8],
    ) -> Option<(usize, Arrival<'static>)> {
        let look = FromPlayer::look(packet)?;
        let may_pass = match look {
            FromPlayer::Request { mac } => self.may_ask(now, from, mac),
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
            .or_else(|| self.take_said())
    }

    /// A player comes back with another token. The standard knows a player by its id, and lets nobody in who is connected.
    pub(crate) fn handle_rejoin(&mut self, now: Duration, slot: usize) {
        let seat = self.seats.get_mut(slot).and_then(Option::take);
        if let (Some(seat), Some(server)) = (seat, &mut self.server) {
            let _ = server.disconnect(seat.client);
        }
        // It is not lost: whoever said that it comes back knows.
        let lost = self.take_lost();
        self.lost.extend(lost);
        self.take_sent(now);
        for token in self.tokens.iter_mut().filter(|token| token.used_by == Some(slot)) {
            token.address = None;
        }
        self.expires = self.expires.max(now.saturating_add(self.life));
        self.tokens_max += 1;
    }

    /// Gives signs of life where they are due, and gives up connections without any.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        self.update(now);
        // A deadline that has passed is behind us, whatever the crate made of it.
        for seat in self.seats.iter_mut().flatten() {
            if now >= seat.last_told.saturating_add(KEEP_ALIVE_DUE) {
                seat.last_told = now;
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let told = self.seats.iter().flatten().map(|seat| seat.last_told);
        Some(told.min()?.saturating_add(KEEP_ALIVE_DUE))
    }

    /// Says words to a player who is connected. Words of more than [`PAYLOAD_MAX`] bytes are not sent.
    pub(crate) fn send(&mut self, now: Duration, slot: usize, words: &str) {
        let seat = self.seats.get(slot).copied().flatten();
        let (Some(seat), Some(server)) = (seat, &mut self.server) else { return };
        if words.len() <= PAYLOAD_MAX {
            // It fails when the connection is gone, which is told apart.
            let _ = server.send(words.as_bytes(), seat.client);
        }
        self.take_sent(now);
    }

    /// Tells everybody who is still connected that it is over.
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

    /// Whether a request may be looked into. A token is good for the address that shows it first, and once; an
    /// address is good for one token.
    fn may_ask(&self, now: Duration, from: SocketAddr, mac: [u8; 16]) -> bool {
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

    /// Lets the crate do what there is to do.
    fn update(&mut self, now: Duration) {
        if let Some(server) = &mut self.server {
            // It fails when the wall clock shows a time before 1970, or a packet makes no sense after all.
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
                seat.last_told = now;
            }
            self.transmits.push_back((to, packet));
        }
    }

    /// The slot of a player who has just been connected by what it said.
    fn take_connected(&mut self, now: Duration, from: SocketAddr) -> Option<usize> {
        let client = self.wire.lock().connected.pop()?;
        let server = self.server.as_mut()?;
        let (id, address) = (server.client_id(client)?, server.client_addr(client)?);
        let seat = slot_of(id).and_then(|slot| Some((slot, self.seats.get_mut(slot)?)));
        let Some((slot, seat)) = seat.filter(|_| address == from) else {
            // A token that Muster did not make, and yet with its key. Or the player's address from before, of which the
            // implementation is rid now: it says its answer again from where it is.
            let _ = server.disconnect(client);
            return None;
        };
        *seat = Some(Seat { client, address, last_told: now });
        for token in self.tokens.iter_mut().filter(|token| token.address == Some(address)) {
            token.used_by = Some(slot);
        }
        Some(slot)
    }

    /// What a connected player has said.
    fn take_said(&mut self) -> Option<(usize, Arrival<'static>)> {
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
            // The connection has shown the token; nobody has to say one here.
            datagram::FromPlayer::Hello { .. } => return None,
            datagram::FromPlayer::Ping(text) => Arrival::Ping(text.to_owned().into()),
            datagram::FromPlayer::Bye => Arrival::Bye,
            datagram::FromPlayer::Words(words) => Arrival::Words(words.to_owned().into()),
        })
    }

    /// The slots of connections that are no more.
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

/// What the crate takes for a socket: a datagram that has arrived, and those that it wants sent. Its callbacks leave
/// here what they are told.
#[derive(Clone)]
struct Wire(Arc<Mutex<Ends>>);

struct Ends {
    /// The address that the tokens name as the game's.
    address: SocketAddr,
    arrived: Option<(SocketAddr, Vec<u8>)>,
    sent: VecDeque<(SocketAddr, Vec<u8>)>,
    connected: Vec<ClientIndex>,
    lost: Vec<ClientIndex>,
}

impl Wire {
    fn new(address: SocketAddr) -> Self {
        let (sent, connected, lost) = (VecDeque::new(), Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Ends { address, arrived: None, sent, connected, lost })))
    }

    fn address(&self) -> SocketAddr {
        self.lock().address
    }

    /// Held for one statement at a time, by one thread: it is never waited for.
    fn lock(&self) -> MutexGuard<'_, Ends> {
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
