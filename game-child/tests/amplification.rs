//! The traffic to an address that may be spoofed: a player with a valid token uses another source address. No socket,
//! no clock.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::net::SocketAddr;
use std::time::Duration;

use game_child::arena::{Arena, Rate, Rules};
use game_child::echo::Echo;
use game_child::tictactoe::TicTacToe;
use game_child::{Game, Match, Session};
use protocol::datagram::Welcome;
use protocol::{Seat, Secret};

/// IPv4 and UDP headers.
const HEADERS: usize = 28;

fn token(slot: usize) -> Secret {
    Secret::from_bytes([u8::try_from(slot).unwrap() + 1; 16])
}

fn setup(players: usize) -> Match {
    let seat = |slot| Seat { slot, name: "ÿ".repeat(20), token: token(slot) };
    Match::new("17".into(), (0..players).map(seat).collect(), 10_000, 600_000).unwrap()
}

/// A match in which the others play from this machine, and one address that they do not know.
struct Table<G> {
    session: Session<G>,
    now: Duration,
    victim: SocketAddr,
    /// Datagrams and bytes that came from the address, and that went there.
    received: (usize, usize),
    sent: (usize, usize),
    last: Vec<String>,
}

impl<G: Game> Table<G> {
    fn new(game: impl FnOnce(&Match) -> G, players: usize, victim: &str) -> Self {
        let setup = setup(players);
        let game = game(&setup);
        let session = Session::new(setup, game, Duration::from_secs(60));
        let (now, victim) = (Duration::ZERO, victim.parse().unwrap());
        let mut table =
            Self { session, now, victim, received: (0, 0), sent: (0, 0), last: Vec::new() };
        for slot in 1..players {
            let from = ([127, 0, 0, 1], 4000 + u16::try_from(slot).unwrap()).into();
            let hello = format!("HELLO 17 {}", token(slot));
            table.session.handle_datagram(table.now, from, hello.as_bytes());
            table.take();
        }
        table
    }

    /// Takes the datagrams to the address, and checks that there are no others.
    fn take(&mut self) {
        while let Some((to, datagram)) = self.session.poll_transmit() {
            if to == self.victim {
                self.sent = (self.sent.0 + 1, self.sent.1 + datagram.len());
                self.last.push(String::from_utf8(datagram).unwrap());
            }
        }
        while self.session.poll_message().is_some() {}
    }

    fn say(&mut self, words: &str) {
        self.received = (self.received.0 + 1, self.received.1 + words.len());
        self.session.handle_datagram(self.now, self.victim, words.as_bytes());
        self.take();
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while !self.session.is_over() && self.session.next_deadline() <= until {
            self.now = self.session.next_deadline();
            self.session.handle_timeout(self.now);
            self.take();
        }
        self.now = until;
    }

    fn assert_no_amplification(&self, what: &str) {
        let wire = |(datagrams, bytes): (usize, usize)| bytes + datagrams * HEADERS;
        let (received, sent) = (self.received, self.sent);
        assert!(sent.1 <= received.1, "{what}: {} bytes for {}", sent.1, received.1);
        assert!(wire(sent) <= wire(received), "{what}: {sent:?} for {received:?}");
    }
}

/// A spoofed address is sent no more than arrived from it. An attacker does not receive the challenge, and cannot guess
/// it.
fn spoofed<G: Game>(name: &str, game: impl Fn(&Match) -> G, players: usize) {
    for victim in ["192.0.2.1:9", "[2001:db8::1]:9", "[::ffff:192.0.2.1]:9"] {
        let mut table = Table::new(&game, players, victim);
        let hello = format!("HELLO 17 {}", token(0));
        table.say(&hello);
        table.wait(Duration::from_secs(10));
        table.assert_no_amplification(name);
        assert_eq!(table.sent.0, 1, "{name}: the welcome alone");
        for round in 0..200 {
            let guess = format!("PING AAAA{:02}", round % 100);
            let words = ["ACK 1", "MOVE 1 5", "INPUT 1 0 1", "PING", &guess, &hello, "x", "\u{7}"];
            table.say(words[round % words.len()]);
            table.wait(Duration::from_millis(40));
            table.assert_no_amplification(name);
        }
        // Much at once buys as much and no more.
        table.say(&format!("{hello}{}", " ".repeat(1100)));
        table.wait(Duration::from_secs(10));
        table.assert_no_amplification(name);
    }
}

/// A player who returns the challenge receives everything from then on, at once.
fn honest<G: Game>(name: &str, game: impl Fn(&Match) -> G, players: usize, first: Option<&str>) {
    let mut table = Table::new(&game, players, "192.0.2.1:9");
    table.say(&format!("HELLO 17 {}", token(0)));
    let welcome = table.last.pop().unwrap();
    let challenge = Welcome::parse(welcome.as_bytes()).unwrap().challenge.unwrap().to_owned();
    table.last.clear();
    table.say(&format!("PING {challenge}"));
    assert!(table.last.contains(&format!("PONG {challenge}")), "{name}: {:?}", table.last);
    table.wait(Duration::from_millis(200));
    if let Some(first) = first {
        let was_sent = table.last.iter().any(|words| words.starts_with(first));
        assert!(was_sent && table.sent.1 > table.received.1, "{name}: {:?}", table.last);
    }
    // Another player at the same address later has to prove it again.
    assert_eq!(Welcome::parse(b"WELCOME 17 slot=0 players=2").unwrap().challenge, None);
}

/// On this machine nothing has to be proven: a person with netcat sees a welcome as ever.
fn on_loopback<G: Game>(game: impl Fn(&Match) -> G, players: usize) {
    for address in ["127.0.0.1:9", "127.9.9.9:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
        let mut table = Table::new(&game, players, address);
        table.say(&format!("HELLO 17 {}\n", token(0)));
        assert_eq!(table.last[0], format!("WELCOME 17 slot=0 players={players}\n"), "{address}");
    }
}

fn arena(hz: Rate) -> impl Fn(&Match) -> Arena {
    move |setup| Arena::new(setup, Rules { rate: hz, ..Rules::default() }).unwrap()
}

#[test]
fn a_spoofed_address_is_sent_no_more_than_came_from_it() {
    spoofed("tictactoe", |setup| TicTacToe::new(setup).unwrap(), 2);
    spoofed("arena of 2", arena(Rate::Hz30), 2);
    spoofed("arena of 16", arena(Rate::Hz60), 16);
    spoofed("echo", Echo::new, 2);
}

#[test]
fn a_verified_address_receives_everything() {
    honest("tictactoe", |setup| TicTacToe::new(setup).unwrap(), 2, Some("STATE 1 "));
    honest("arena", arena(Rate::Hz60), 16, Some("ARENA"));
    honest("echo", Echo::new, 2, None);
}

#[test]
fn on_this_machine_nothing_is_to_be_proven() {
    on_loopback(|setup| TicTacToe::new(setup).unwrap(), 2);
    on_loopback(Echo::new, 2);
}
