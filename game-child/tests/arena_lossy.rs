//! Whole games of arena over a network that loses, copies, delays and reorders datagrams. No socket, no clock: every
//! run follows from its seed, and a seed that fails fails again.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // a test fails by panicking

mod network;

use std::collections::BTreeMap;
use std::time::Duration;

use client::Machine;
use client::arena::{Event, Player, Seeker};
use game_child::arena::{Arena, Rate, Rules};
use game_child::arena::{Direction, PLAYERS_MAX, Snapshot};
use game_child::{Match, Session};
use protocol::{FromGame, Seat};
use serde_json::{Map, Value};

use network::{Network, Over, To, address, token};

const SEEDS: u64 = 16;

/// No game takes nearly as long, however bad the network.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A network with players and a game, and the time in it.
struct World {
    now: Duration,
    network: Network,
    /// The game's process stands still so long, now and then.
    pause_ms_max: u64,
    differences: u64,
    game: Session<Arena>,
    players: Vec<Seated>,
    /// Every world that the game has made, by its number.
    made: BTreeMap<u32, Snapshot>,
    told: Vec<FromGame>,
}

struct Seated {
    player: Player,
    bot: Seeker,
    seen: u64,
    end: Option<Snapshot>,
}

impl World {
    fn new(seed: u64, players: usize, rate: Rate) -> Self {
        Self::over(Over::Plain, seed, players, rate)
    }

    fn over(over: Over, seed: u64, players: usize, rate: Rate) -> Self {
        let name = |slot| format!("\n{slot}\u{1b}[31m and a name that goes on");
        let seat = |slot| Seat { slot, name: name(slot), token: token(slot) };
        let seats = (0..players).map(seat).collect();
        let setup = over.of(Match::new("17".into(), seats, 10_000, 600_000).unwrap());
        let game = Arena::new(&setup, Rules { rate, duration: Duration::from_secs(3) }).unwrap();
        let seated = |slot: usize| Seated {
            player: Player::new(&over.assignment(slot, players)),
            bot: Seeker::new(seed * 100 + slot as u64),
            seen: 0,
            end: None,
        };
        Self {
            now: Duration::ZERO,
            // With more, one player of some hundred is not welcomed before a game as short as this one is over.
            network: Network::new(seed, 35),
            pause_ms_max: seed * 37 % 200,
            differences: 0,
            game: Session::new(setup, game, Duration::from_secs(10)),
            players: (0..players).map(seated).collect(),
            made: BTreeMap::new(),
            told: Vec::new(),
        }
    }

    /// Everything that is to be done at this moment: decisions, events, datagrams sent.
    fn settle(&mut self) {
        if let Some(snapshot) = self.game.game().snapshot() {
            self.made.insert(snapshot.number, *snapshot);
        }
        for slot in 0..self.players.len() {
            let seated = &mut self.players[slot];
            while let Some(event) = seated.player.poll_event() {
                if let Event::Snapshot(snapshot) = event {
                    let made = self.made.get(&snapshot.number);
                    assert_eq!(Some(&snapshot), made, "what {slot} sees is what is");
                    seated.seen += 1;
                    seated.end = Some(snapshot).filter(|it| it.standing.is_end());
                    seated.player.steer(seated.bot.choose(&snapshot, slot));
                }
            }
            while let Some(datagram) = self.players[slot].player.poll_transmit() {
                self.network.send(self.now, To::Game { from: address(slot) }, &datagram);
            }
        }
        while let Some((to, datagram)) = self.game.poll_transmit() {
            let slot = (0..self.players.len()).find(|slot| address(*slot) == to);
            let words = std::str::from_utf8(&datagram).unwrap_or_default();
            let base = words.strip_prefix("SNAP ").and_then(|rest| rest.split(' ').nth(1));
            self.differences += u64::from(base.is_some_and(|base| base != "0"));
            self.network.send(self.now, To::Player(slot.expect("a player's address")), &datagram);
        }
        self.told.extend(std::iter::from_fn(|| self.game.poll_message()));
    }

    fn next_event_at(&self) -> Option<Duration> {
        let arrival = self.network.next_arrival();
        let game = (!self.game.is_over()).then(|| self.game.next_deadline());
        let players = self.players.iter().filter_map(|seated| seated.player.next_deadline());
        arrival.into_iter().chain(game).chain(players).min()
    }

    fn deliver(&mut self) {
        while let Some(arrival) = self.network.receive(self.now) {
            match arrival {
                (To::Game { from }, datagram) => {
                    self.game.handle_datagram(self.now, from, &datagram);
                }
                (To::Player(slot), datagram) => {
                    self.players[slot].player.handle_datagram(self.now, &datagram);
                }
            }
            self.settle();
        }
    }

    /// Lets time pass until nothing more will happen.
    fn run(&mut self) {
        self.settle();
        while let Some(at) = self.next_event_at() {
            self.now = self.now.max(at);
            assert!(self.now < TIME_MAX, "the game does not end");
            self.deliver();
            if !self.game.is_over() && self.game.next_deadline() <= self.now {
                if self.network.dice.next() % 30 == 0 {
                    self.now +=
                        Duration::from_millis(self.network.dice.next() % (self.pause_ms_max + 1));
                }
                self.game.handle_timeout(self.now);
            }
            for seated in &mut self.players {
                if seated.player.next_deadline().is_some_and(|at| at <= self.now) {
                    seated.player.handle_timeout(self.now);
                }
            }
            self.settle();
        }
        assert!(self.game.is_over());
    }

    fn result(&self) -> &Map<String, Value> {
        let mut results = self.told.iter().filter_map(|message| match message {
            FromGame::Result { fields } => Some(fields),
            _ => None,
        });
        let result = results.next().expect("a result");
        assert!(results.next().is_none(), "told once");
        result
    }
}

fn played(seed: u64) -> World {
    let players = 2 + usize::try_from(seed).unwrap() * 5 % (PLAYERS_MAX - 1);
    let rate = if seed.is_multiple_of(2) { Rate::Hz30 } else { Rate::Hz60 };
    let mut world = World::new(seed, players, rate);
    world.run();
    world
}

#[test]
fn every_player_sees_the_world_that_is_and_the_same_end() {
    for seed in 0..SEEDS {
        let world = played(seed);
        let result = world.result();
        assert_eq!(result["outcome"], "finished", "seed {seed}");
        let (_, end) = world.made.last_key_value().unwrap();
        for (slot, seated) in world.players.iter().enumerate() {
            let seen = seated.end.unwrap_or_else(|| panic!("seed {seed}: {slot} saw no end"));
            assert_eq!((seen.standing, seen.left), (end.standing, 0), "seed {seed}");
            for (runner, score) in seen.runners.iter().zip(result["scores"].as_array().unwrap()) {
                let shown = runner.map(|runner| u64::from(runner.score));
                assert!(shown.is_none() || shown == score.as_u64(), "seed {seed}");
            }
            let setup = seated.player.setup().unwrap();
            assert_eq!((setup.you, setup.names.len()), (slot, world.players.len()));
        }
        let ticks = result["ticks"].as_u64().unwrap() + result["ticks_missed"].as_u64().unwrap();
        let hz = if seed.is_multiple_of(2) { 30 } else { 60 };
        let elapsed = result["duration_ms"].as_u64().unwrap() * hz / 1000;
        assert!(ticks.abs_diff(elapsed) <= 2, "seed {seed}: {ticks} ticks, not {elapsed}");
    }
}

/// Over netcode, as many as an arena takes: the encrypted words have to fit, too.
#[test]
fn a_full_arena_plays_to_the_end_over_netcode() {
    for seed in 0..2 {
        let mut world = World::over(Over::Netcode, seed, PLAYERS_MAX, Rate::Hz30);
        world.run();
        assert_eq!(world.result()["outcome"], "finished", "seed {seed}");
        assert!(world.players.iter().all(|seated| seated.end.is_some()), "seed {seed}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..2 {
        let [one, other] = [0, 1].map(|_| played(seed));
        assert!(one.made == other.made && one.network.sent == other.network.sent, "seed {seed}");
        assert_eq!(one.result(), other.result(), "seed {seed}");
    }
}

#[test]
fn on_a_good_network_nearly_every_word_is_a_difference() {
    let mut world = World::new(1, 4, Rate::Hz60);
    (
        world.network.loss_percent,
        world.network.copy_percent,
        world.network.delay_ms_max,
        world.pause_ms_max,
    ) = (0, 0, 5, 0);
    world.run();
    let seen: u64 = world.players.iter().map(|seated| seated.seen).sum();
    assert!(seen > 4 * 160, "{seen} snapshots");
    assert!(world.differences * 10 > seen * 9, "{} of {seen}", world.differences);
    assert_eq!(world.result()["lateness_us"]["max"], 0);
    assert_eq!(world.result()["ticks_missed"], 0);
}

/// What the game makes of a player's moves of which every other datagram is lost: all of them, a tick later.
#[test]
fn a_lost_input_costs_nothing() {
    let place_after = |loses: bool| {
        let seats = (0..2).map(|slot| Seat { slot, name: "x".into(), token: token(slot) });
        let setup = Match::new("17".into(), seats.collect(), 10_000, 600_000).unwrap();
        let game = Arena::new(&setup, Rules::default()).unwrap();
        let mut session = Session::new(setup, game, Duration::from_secs(10));
        for slot in 0..2 {
            let hello = format!("HELLO 17 {}", token(slot));
            session.handle_datagram(Duration::ZERO, address(slot), hello.as_bytes());
        }
        let moves = [Direction::Right, Direction::Down, Direction::DownRight, Direction::Stand];
        let digit = |number: u32| moves[number as usize / 2 % 4].digit();
        for number in 1..=17 {
            if !loses || number % 2 == 1 {
                let said: String = (number.max(3) - 2..=number).map(digit).collect();
                let input = format!("INPUT {number} 0 {said}");
                session.handle_datagram(session.next_deadline(), address(0), input.as_bytes());
            }
            session.handle_timeout(session.next_deadline());
        }
        // A tick more, for a move that had to wait for one.
        (0..2).for_each(|_| session.handle_timeout(session.next_deadline()));
        session.game().snapshot().unwrap().runners[0].unwrap().at
    };
    assert_eq!(place_after(true), place_after(false));
}

/// Anything from strangers, and nonsense from the players' own addresses and the game's: while the match goes on.
#[test]
fn garbage_harms_no_match() {
    const WORDS: [&str; 14] = [
        "INPUT ",
        "SNAP ",
        "ARENA ",
        "HELLO 17 ",
        "4294967295 ",
        "1 ",
        "0 ",
        "66666666 ",
        "p0=",
        "c0=",
        ",",
        "hz=60 ",
        "\u{1b}",
        "\0",
    ];
    for seed in 0..8 {
        let mut world = World::new(seed, 3, Rate::Hz30);
        world.settle();
        for _ in 0..400 {
            let count = world.network.dice.next() % 8;
            let mut garbage: Vec<u8> = (0..count)
                .flat_map(|_| {
                    WORDS[usize::try_from(world.network.dice.next() % 14).unwrap()].bytes()
                })
                .collect();
            garbage.extend(
                (0..world.network.dice.next() % 9)
                    .map(|_| (world.network.dice.next() & 0xff) as u8),
            );
            // The last player says nothing but sense, and hears it.
            let to = match world.network.dice.next() % 4 {
                0 => To::Game {
                    from: address(usize::try_from(world.network.dice.next() % 2).unwrap()),
                },
                1 => To::Player(usize::try_from(world.network.dice.next() % 2).unwrap()),
                _ => To::Game { from: address(7) },
            };
            let at = Duration::from_millis(world.network.dice.next() % 3000);
            world.network.deliver(at, to, garbage);
        }
        world.run();
        assert_eq!(world.result()["outcome"], "finished", "seed {seed}");
        assert!(world.players[2].end.is_some(), "seed {seed}");
    }
}
