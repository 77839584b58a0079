//! A network that loses, copies, delays and reorders datagrams, as its dice say.

#![allow(dead_code)] // each test file uses its part

pub(crate) mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use client::Assignment;
use game_child::Match;
use netcode::ConnectToken;
use protocol::Secret;
use protocol::datagram::DATAGRAM_MAX;
use protocol::netcode::{Key, Netcode, PROTOCOL_ID, client_id, token_to_text, user_data};
use testkit::Dice;

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Game { from: SocketAddr },
    Player(usize),
}

/// Datagrams on their way between the players and their game.
pub(crate) struct Network {
    pub(crate) dice: Dice,
    pub(crate) loss_percent: u64,
    pub(crate) copy_percent: u64,
    pub(crate) delay_ms_max: u64,
    /// Datagrams that were not lost, copies included.
    pub(crate) sent: u64,
    /// By the time of their arrival and the order in which they were sent.
    on_the_way: BTreeMap<(Duration, u64), (To, Vec<u8>)>,
}

impl Network {
    /// A network that loses less than `loss_max` percent, for a whole game of the seed.
    pub(crate) fn new(seed: u64, loss_max: u64) -> Self {
        let mut dice = Dice::new(seed);
        Self {
            loss_percent: dice.next() % loss_max,
            copy_percent: dice.next() % 40,
            delay_ms_max: 1 + dice.next() % 400,
            sent: 0,
            on_the_way: BTreeMap::new(),
            dice,
        }
    }

    pub(crate) fn send(&mut self, now: Duration, to: To, datagram: &[u8]) {
        assert!(datagram.len() <= DATAGRAM_MAX);
        let copies = 1 + u64::from(self.dice.next() % 100 < self.copy_percent);
        for _ in 0..copies {
            if self.dice.next() % 100 >= self.loss_percent {
                let delay =
                    Duration::from_micros(1 + self.dice.next() % (self.delay_ms_max * 1000));
                self.deliver(now + delay, to, datagram.to_vec());
            }
        }
    }

    /// Lets a datagram arrive at a time, from wherever it came.
    pub(crate) fn deliver(&mut self, at: Duration, to: To, datagram: Vec<u8>) {
        self.sent += 1;
        self.on_the_way.insert((at, self.sent), (to, datagram));
    }

    /// When the next datagram arrives.
    pub(crate) fn next_arrival(&self) -> Option<Duration> {
        self.on_the_way.keys().next().map(|(at, _)| *at)
    }

    /// Takes the next datagram that has arrived.
    pub(crate) fn receive(&mut self, now: Duration) -> Option<(To, Vec<u8>)> {
        let entry = self.on_the_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

pub(crate) fn address(slot: usize) -> SocketAddr {
    ([10, 0, 0, 1], 5000 + u16::try_from(slot).unwrap()).into()
}

pub(crate) fn token(slot: usize) -> Secret {
    Secret::from_bytes([u8::try_from(slot).unwrap() + 1; 16])
}

/// The transport of a game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Plain,
    Netcode,
}

/// The game's address in assignments.
const GAME: ([u8; 4], u16) = ([10, 0, 0, 2], 20004);

const KEY: Key = Key::from_bytes([9; 32]);

/// How long a connect token is valid.
pub(crate) const EXPIRES: Duration = Duration::from_secs(15);

impl Over {
    /// The match, as Muster starts it over this transport.
    pub(crate) fn of(self, setup: Match) -> Match {
        match self {
            Self::Plain => setup,
            Self::Netcode => setup.over_netcode(netcode()).unwrap(),
        }
    }

    /// What Muster tells a player of it.
    pub(crate) fn assignment(self, slot: usize, players: usize) -> Assignment {
        let (token, transport) = match self {
            Self::Plain => (token(slot).to_string(), "plain"),
            Self::Netcode => (connect_token(slot, KEY), "netcode"),
        };
        Assignment {
            match_id: "17".into(),
            host: "10.0.0.2".into(),
            port: GAME.1,
            slot,
            players,
            token,
            transport: transport.into(),
        }
    }
}

fn netcode() -> Netcode {
    let expires_ms = u64::try_from(EXPIRES.as_millis()).unwrap();
    Netcode { protocol_id: PROTOCOL_ID, key: KEY, address: GAME.into(), expires_ms }
}

/// A connect token for a slot, made with any key.
pub(crate) fn connect_token(slot: usize, key: Key) -> String {
    connect_token_at(GAME.into(), slot, key)
}

/// The same, for a game anywhere.
pub(crate) fn connect_token_at(game: SocketAddr, slot: usize, key: Key) -> String {
    let token = ConnectToken::build(game, PROTOCOL_ID, client_id(slot), key.bytes());
    let token = token.user_data(user_data("17", slot, &self::token(slot))).expire_seconds(7200);
    token_to_text(&token.generate().unwrap().try_into_bytes().unwrap())
}
