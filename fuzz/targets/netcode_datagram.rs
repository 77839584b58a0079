//! Datagrams for a game over netcode, and for its players: hostile bytes, and genuine packets that are changed and
//! repeated, from strangers and from players' addresses, never cause a panic, and only requests are answered.
#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use client::{Assignment, Link, Machine};
use game_child::echo::Echo;
use game_child::{Match, Session};
use libfuzzer_sys::fuzz_target;
use netcode::ConnectToken;
use protocol::netcode::{Key, Netcode, PROTOCOL_ID, client_id, token_to_text};
use protocol::{Seat, Secret};

const KEY: Key = Key::from_bytes([9; 32]);
const GAME: ([u8; 4], u16) = ([10, 0, 0, 2], 20004);

fn address(of: usize) -> SocketAddr {
    ([10, 0, 0, 1], 5000 + of as u16).into()
}

fn session() -> Session<Echo> {
    let token = |slot: usize| Secret::from_bytes([slot as u8; 16]);
    let seat = |slot| Seat { slot, name: "x".into(), token: token(slot) };
    let setup = Match::new("17".into(), (0..2).map(seat).collect(), 10_000, 600_000).unwrap();
    let netcode =
        Netcode { protocol_id: PROTOCOL_ID, key: KEY, address: GAME.into(), expires_ms: 60_000 };
    let setup = setup.over_netcode(netcode).unwrap();
    let game = Echo::new(&setup);
    Session::new(setup, game, Duration::from_secs(10))
}

fn link(slot: usize) -> Link {
    let game = SocketAddr::from(GAME);
    let token = ConnectToken::build(game, PROTOCOL_ID, client_id(slot), KEY.bytes());
    let token = token.generate().unwrap().try_into_bytes().unwrap();
    Link::new(&Assignment {
        match_id: "17".into(),
        host: "10.0.0.2".into(),
        port: GAME.1,
        slot,
        players: 2,
        token: token_to_text(&token),
        transport: "netcode".into(),
    })
}

// Each step is an operation, the index of an address, and up to 255 bytes.
fuzz_target!(|input: &[u8]| {
    let mut session = session();
    let mut links = [link(0), link(1)];
    let mut genuine: Vec<Vec<u8>> = Vec::new();
    let mut now = Duration::from_millis(1);
    let mut rest = input;
    while let [operation, about, length, more @ ..] = rest {
        let (bytes, after) = more.split_at(more.len().min(usize::from(*length)));
        rest = after;
        let from = usize::from(about % 4);
        let slot = from % 2;
        let packet = match operation % 4 {
            // Arbitrary bytes.
            0 => bytes.to_vec(),
            // A packet of a player, perhaps from another address, with some bytes changed.
            1 if !genuine.is_empty() => {
                let mut packet = genuine[usize::from(*about) % genuine.len()].clone();
                for change in bytes.chunks_exact(3) {
                    let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
                    let length = packet.len();
                    packet[at % length] ^= change[2];
                }
                packet
            }
            // A player's next deadline.
            2 => {
                now += Duration::from_millis(101);
                links[slot].handle_timeout(now);
                let said = std::iter::from_fn(|| links[slot].poll_transmit()).last();
                let Some(packet) = said else { continue };
                genuine.push(packet.clone());
                packet
            }
            // A message of a player, or time.
            _ => {
                links[slot].say(now, String::from_utf8_lossy(bytes));
                session.handle_timeout(now);
                let Some(packet) = links[slot].poll_transmit() else { continue };
                packet
            }
        };
        session.handle_datagram(now, address(from), &packet);
        while let Some((to, answer)) = session.poll_transmit() {
            assert!(answer.len() <= 1200 && to.ip() == address(0).ip());
            if to == address(slot) {
                links[slot].handle_datagram(now, &answer);
            }
            // Answers to the player may be changed, too.
            let mut bent = answer;
            let at = usize::from(*about) % bent.len();
            bent[at] ^= operation;
            links[1 - slot].handle_datagram(now, &bent);
        }
        assert!(session.is_over() || session.next_deadline() >= now || {
            session.handle_timeout(now);
            session.is_over() || session.next_deadline() > now
        });
    }
});
