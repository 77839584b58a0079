//! Admission over the transport `netcode`: each player once, and everything else is ignored. Players of another
//! implementation, the reference, are admitted, too.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod network;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use client::{Closed, Link, LinkEvent, Machine};
use game_child::echo::Echo;
use game_child::{Match, Session};
use protocol::netcode::{
    Key, Netcode, PAYLOAD_MAX, PROTOCOL_ID, SEQUENCE_MAX, client_id, token_from_text, user_data,
};
use protocol::{FromGame, Seat};

use network::{EXPIRES, Over, address, connect_token, token};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn seat(slot: usize) -> Seat {
    Seat { slot, name: format!("player-{slot}"), token: token(slot) }
}

fn setup(players: usize) -> Match {
    Match::new("17".into(), (0..players).map(seat).collect(), 60_000, 600_000).unwrap()
}

/// A game, and the time in it.
struct Table {
    now: Duration,
    session: Session<Echo>,
}

impl Table {
    fn of(players: usize) -> Self {
        let setup = Over::Netcode.of(setup(players));
        let game = Echo::new(&setup);
        Self { now: ms(1), session: Session::new(setup, game, Duration::from_secs(10)) }
    }

    /// Says one datagram; the answers, wherever they go.
    fn say(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        self.session.handle_datagram(self.now, from, datagram);
        std::iter::from_fn(|| self.session.poll_transmit()).collect()
    }

    /// Lets a player and the game speak until neither has anything to say at this moment.
    fn settle(&mut self, link: &mut Link, from: SocketAddr) {
        while let Some(datagram) = link.poll_transmit() {
            for (to, answer) in self.say(from, &datagram) {
                if to == from {
                    link.handle_datagram(self.now, &answer);
                }
            }
        }
    }

    /// Lets time pass, with one player in it.
    fn pass(&mut self, link: &mut Link, from: SocketAddr, time: Duration) {
        let until = self.now + time;
        loop {
            let next = link.next_deadline().filter(|at| *at <= until);
            self.now = next.map_or(until, |at| at.max(self.now));
            if next.is_none() {
                break;
            }
            link.handle_timeout(self.now);
            self.settle(link, from);
        }
        self.session.handle_timeout(self.now);
        while let Some((to, datagram)) = self.session.poll_transmit() {
            if to == from {
                link.handle_datagram(self.now, &datagram);
            }
        }
    }

    fn enter(&mut self, slot: usize, from: SocketAddr) -> Link {
        let mut link = Link::new(&Over::Netcode.assignment(slot, 2));
        self.pass(&mut link, from, ms(300));
        assert!(link.is_inside(), "{link:?}");
        link
    }

    /// Whether the game still answers a player.
    fn answers(&mut self, link: &mut Link, from: SocketAddr) -> bool {
        std::iter::from_fn(|| link.poll_event()).for_each(drop);
        link.ping(self.now, "there?");
        self.settle(link, from);
        link.poll_event() == Some(LinkEvent::Pong("there?".into()))
    }

    fn reports(&mut self) -> Vec<FromGame> {
        std::iter::from_fn(|| self.session.poll_message()).collect()
    }
}

/// The request with which a player begins.
fn request(slot: usize) -> Vec<u8> {
    let mut link = Link::new(&Over::Netcode.assignment(slot, 2));
    link.handle_timeout(Duration::ZERO);
    link.poll_transmit().unwrap()
}

#[test]
fn a_player_comes_in_speaks_and_goes() {
    let mut table = Table::of(2);
    let mut ada = Link::new(&Over::Netcode.assignment(0, 2));
    table.pass(&mut ada, address(0), ms(300));
    assert_eq!(ada.poll_event(), Some(LinkEvent::Welcome { slot: 0, players: 2 }));
    assert_eq!(table.reports(), [FromGame::Joined { slot: 0 }]);
    for words in ["words", &"x".repeat(PAYLOAD_MAX)] {
        ada.say(table.now, words);
        table.settle(&mut ada, address(0));
        assert_eq!(ada.poll_event(), Some(LinkEvent::Words(words.into())));
    }
    ada.say(table.now, "x".repeat(PAYLOAD_MAX + 1));
    assert_eq!(ada.poll_transmit(), None, "longer than a packet");
    // The hello can be said again; another match's, or one with a token, is not answered.
    for hello in ["HELLO 17", "HELLO 18", &format!("HELLO 17 {}", token(0))] {
        ada.say(table.now, hello);
        let packet = ada.poll_transmit().unwrap();
        let answers = table.say(address(0), &packet).len();
        assert_eq!(answers, usize::from(hello == "HELLO 17"), "{hello}");
    }
    ada.leave(table.now);
    table.settle(&mut ada, address(0));
    assert_eq!(ada.closed(), Some(Closed::Left));
    assert_eq!(table.reports(), [FromGame::Left { slot: 0 }]);
}

/// Faults row 31: a request that was seen on its way, said again from other addresses, also after other tokens
/// were shown, and a request from an address that is another player's.
#[test]
fn a_token_is_good_for_the_address_that_shows_it_first() {
    let mut table = Table::of(2);
    let captured = [request(0), request(1)];
    assert_eq!(table.say(address(0), &captured[0]).len(), 1);
    assert_eq!(table.say(address(1), &captured[1]).len(), 1);
    for port in 0..600 {
        for request in &captured {
            assert!(table.say(([10, 9, 9, 9], 1024 + port).into(), request).is_empty());
        }
    }
    assert!(table.say(address(0), &captured[1]).is_empty());
    assert_eq!(table.say(address(0), &captured[0]).len(), 1, "the answer can be lost");
}

#[test]
fn a_token_lets_in_once() {
    let assignment = Over::Netcode.assignment(0, 2);
    for says_goodbye in [true, false] {
        let mut table = Table::of(2);
        let mut ada = Link::new(&assignment);
        table.pass(&mut ada, address(0), ms(300));
        let mut bob = table.enter(1, address(1));
        if says_goodbye {
            ada.leave(table.now);
            table.settle(&mut ada, address(0));
        }
        let mut again = Link::new(&assignment);
        for from in [address(0), address(5)] {
            again.handle_timeout(table.now);
            while let Some(request) = again.poll_transmit() {
                assert!(table.say(from, &request).is_empty());
            }
        }
        assert!(table.answers(&mut bob, address(1)));
    }
}

/// A returning player has another token; the old connection is ended, the old token is invalid, and the old address is
/// ignored.
#[test]
fn a_returning_player_is_admitted_with_another_token() {
    for from in [address(0), address(5)] {
        let mut table = Table::of(2);
        let old = Over::Netcode.assignment(0, 2);
        let mut lost = Link::new(&old);
        table.pass(&mut lost, address(0), ms(300));
        let mut bob = table.enter(1, address(1));
        table.reports();
        assert!(table.session.handle_rejoin(table.now, &seat(0)));
        assert_eq!(table.reports(), [FromGame::Left { slot: 0 }]);
        while let Some((to, goodbye)) = table.session.poll_transmit() {
            assert_eq!(to, address(0));
            lost.handle_datagram(table.now, &goodbye);
        }
        assert!(lost.closed().is_some());
        let mut again = Link::new(&old);
        again.handle_timeout(table.now);
        assert!(table.say(from, &again.poll_transmit().unwrap()).is_empty());
        let mut back = Link::new(&Over::Netcode.assignment(0, 2));
        table.pass(&mut back, from, ms(300));
        assert!(table.answers(&mut back, from) && table.answers(&mut bob, address(1)));
        assert_eq!(table.reports(), [FromGame::Joined { slot: 0 }]);
    }
}

/// Half-way in, from an address where the player is no more: the implementation knows its place by the id alone.
#[test]
fn a_player_who_was_joining_can_return_from_another_address() {
    let mut table = Table::of(2);
    assert_eq!(table.say(address(0), &request(0)).len(), 1, "challenged");
    assert!(table.session.handle_rejoin(table.now, &seat(0)));
    let mut back = Link::new(&Over::Netcode.assignment(0, 2));
    table.pass(&mut back, address(5), ms(1500));
    assert!(table.answers(&mut back, address(5)), "{back:?}");
}

/// A returning player has as much time as at the beginning.
#[test]
fn a_returning_player_is_admitted_for_a_while() {
    let mut table = Table::of(2);
    table.now = EXPIRES + ms(1);
    assert!(table.say(address(0), &request(0)).is_empty());
    assert!(table.session.handle_rejoin(table.now, &seat(0)));
    table.now += EXPIRES - ms(1);
    assert_eq!(table.say(address(0), &request(0)).len(), 1);
    table.now += ms(1);
    assert!(table.say(address(5), &request(0)).is_empty());
}

/// A token with another match's key, and one that is shown for the first time when its time has passed on the game's
/// own clock: the wall clock has hours to go.
#[test]
fn tokens_of_another_match_and_late_ones_are_not_answered() {
    let mut table = Table::of(2);
    let mut other = Over::Netcode.assignment(0, 2);
    other.token = connect_token(0, Key::from_bytes([8; 32]));
    let mut stranger = Link::new(&other);
    stranger.handle_timeout(table.now);
    assert!(table.say(address(0), &stranger.poll_transmit().unwrap()).is_empty());
    table.now = EXPIRES;
    assert!(table.say(address(0), &request(0)).is_empty());
    table.now = EXPIRES - ms(1);
    let in_time = request(0);
    assert_eq!(table.say(address(0), &in_time).len(), 1);
    table.now = EXPIRES + ms(1);
    assert_eq!(table.say(address(0), &in_time).len(), 1, "the answer can be lost");
}

/// Sequence numbers near the end of their range, numbers that are too long, kinds that only a game sends, requests in
/// encrypted envelopes: from a player's own address, where they would reach the implementation's arithmetic.
#[test]
fn packets_that_no_player_sends_change_nothing() {
    let mut table = Table::of(2);
    let mut ada = table.enter(0, address(0));
    // Half-way in: the challenge is out.
    let mut bob = Link::new(&Over::Netcode.assignment(1, 2));
    bob.handle_timeout(table.now);
    table.settle(&mut bob, address(1));
    let deadline = table.session.next_deadline();
    for from in [address(0), address(1), address(9)] {
        for sequence in [SEQUENCE_MAX + 1, u64::MAX - 256, u64::MAX - 255, u64::MAX - 1, u64::MAX] {
            for kind in 0..16 {
                for (sequence_bytes, content) in
                    [(8, 0), (8, 8), (8, 308), (8, 100), (9, 8), (15, 20)]
                {
                    let mut packet = vec![sequence_bytes << 4 | kind];
                    packet.extend_from_slice(&sequence.to_le_bytes());
                    packet.resize(packet.len() + content + 16, 0xff);
                    assert!(table.say(from, &packet).is_empty());
                }
            }
        }
        for first in 0..=255 {
            for length in [1, 2, 17, 18, 25, 26, 34, 326, 1077, 1079, 1095, 1200, 1201] {
                let mut packet = vec![0x55; length];
                packet[0] = first;
                assert!(table.say(from, &packet).is_empty());
            }
        }
    }
    assert_eq!((table.session.next_deadline(), table.reports().len()), (deadline, 1));
    assert!(table.answers(&mut ada, address(0)));
    table.pass(&mut bob, address(1), ms(300));
    assert!(bob.is_inside());
}

/// Every packet of a match with one bit turned over, and every one a second time.
#[test]
fn forged_and_repeated_packets_change_nothing() {
    let mut table = Table::of(1);
    let mut ada = Link::new(&Over::Netcode.assignment(0, 1));
    let mut received = 0;
    while received < 40 {
        let at = ada.next_deadline().unwrap();
        table.now = table.now.max(at);
        ada.handle_timeout(table.now);
        ada.say(table.now, format!("words {received}"));
        while let Some(packet) = ada.poll_transmit() {
            for at in [0, 1, 2, packet.len() / 2, packet.len() - 1] {
                let mut forged = packet.clone();
                forged[at] ^= 1 << (received % 8);
                assert!(table.say(address(0), &forged).is_empty());
            }
            let answers = table.say(address(0), &packet);
            let is_open = ada.is_inside();
            for (_, answer) in answers {
                assert!(is_open || answer.len() <= packet.len(), "before it is known who asks");
                ada.handle_datagram(table.now, &answer);
            }
            assert!(!is_open || table.say(address(0), &packet).is_empty(), "a copy");
        }
        received += 1;
    }
    let words = std::iter::from_fn(|| ada.poll_event());
    let count = words.filter(|received| matches!(received, LinkEvent::Words(_))).count();
    assert!(count > 30, "{count} of 40 words");
}

/// A player without messages has left, although the connection is alive: keep-alives are messages.
#[test]
fn a_silent_player_has_left() {
    let mut table = Table::of(2);
    let _ada = table.enter(0, address(0));
    let mut bob = table.enter(1, address(1));
    table.reports();
    table.pass(&mut bob, address(1), Duration::from_secs(11));
    assert_eq!(table.reports(), [FromGame::Left { slot: 0 }]);
    assert!(table.answers(&mut bob, address(1)));
}

/// An idle game wakes up for its signs of life, and for nothing else.
#[test]
fn an_idle_connection_costs_two_turns_a_second() {
    let mut table = Table::of(2);
    table.enter(0, address(0));
    let (mut turns, until) = (0, table.now + Duration::from_secs(5));
    while table.session.next_deadline() < until {
        table.now = table.session.next_deadline();
        table.session.handle_timeout(table.now);
        turns += 1;
        assert!(table.session.next_deadline() > table.now);
        assert_eq!(std::iter::from_fn(|| table.session.poll_transmit()).count(), 1);
    }
    assert!((9..=11).contains(&turns), "{turns} turns");
}

/// The client by the standard's authors, over real sockets, with a token of theirs and with one as Muster makes it.
#[test]
fn another_implementation_plays() {
    for with_their_token in [true, false] {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(ms(2))).unwrap();
        let address = socket.local_addr().unwrap();
        let key = Key::from_bytes([3; 32]);
        let netcode = Netcode { protocol_id: PROTOCOL_ID, key, address, expires_ms: 60_000 };
        let setup = setup(1).over_netcode(netcode).unwrap();
        let game = Echo::new(&setup);
        let mut session = Session::new(setup, game, Duration::from_secs(10));
        let data = user_data("17", 0, &token(0));
        let token = if with_their_token {
            let (id, key) = (client_id(0), key.bytes());
            official::generate_connect_token(
                &[address],
                &[address],
                30,
                5,
                id,
                PROTOCOL_ID,
                &key,
                &data,
            )
            .unwrap()
        } else {
            *token_from_text(&network::connect_token_at(address, 0, key)).unwrap()
        };
        let began = Instant::now();
        let mut player = official::Client::new((Ipv4Addr::LOCALHOST, 0).into(), 0.0).unwrap();
        player.connect(&token).unwrap();
        let mut received: Vec<String> = Vec::new();
        let mut bytes = [0; 1201];
        while !session.is_over() {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?} {received:?}", player.state());
            player.update(began.elapsed().as_secs_f64());
            while let Some((words, _)) = player.receive_packet() {
                received.push(String::from_utf8(words).unwrap());
                match received.len() {
                    1 => player.send_packet(b"PING from afar").unwrap(),
                    2 => player.send_packet(b"some words").unwrap(),
                    // The standard's own disconnect packets, without a message.
                    _ => player.disconnect(),
                }
            }
            if let Ok((length, from)) = socket.recv_from(&mut bytes) {
                session.handle_datagram(began.elapsed(), from, &bytes[..length]);
            }
            if session.next_deadline() <= began.elapsed() {
                session.handle_timeout(began.elapsed());
            }
            while let Some((to, datagram)) = session.poll_transmit() {
                socket.send_to(&datagram, to).unwrap();
            }
        }
        assert_eq!(received, ["WELCOME 17 slot=0 players=1", "PONG from afar", "some words"]);
        let reports: Vec<FromGame> = std::iter::from_fn(|| session.poll_message()).collect();
        assert_eq!(reports[..2], [FromGame::Joined { slot: 0 }, FromGame::Left { slot: 0 }]);
    }
}
