//! Whole games of arena over a network that loses, copies, delays and reorders datagrams.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // a test fails by panicking

mod network;

use std::collections::BTreeMap;
use std::time::Duration;

use client::arena::{Event, Player, Seeker};
use client::{Assignment, Machine};
use game_child::arena::{Arena, Direction, PLAYERS_MAX, Rate, Rules, Snapshot};
use game_child::{Match, Session};
use protocol::Seat;

use network::world::{Play, World, match_of};
use network::{Network, Over, address, token};

const SEEDS: u64 = 16;

/// All players seek coins.
#[derive(Default)]
struct Seekers {
    /// Every world that the game has made, by its number.
    made: BTreeMap<u32, Snapshot>,
    /// Updates that are differences.
    differences: u64,
}

struct Bot {
    seeker: Seeker,
    seen: u64,
    end: Option<Snapshot>,
}

impl Play for Seekers {
    type Game = Arena;
    type Machine = Player;
    type Bot = Bot;

    fn machine(assignment: &Assignment) -> Player {
        Player::new(assignment)
    }

    fn act(&mut self, _now: Duration, slot: usize, player: &mut Player, bot: &mut Bot) {
        while let Some(event) = player.poll_event() {
            if let Event::Snapshot(snapshot) = event {
                let made = self.made.get(&snapshot.number);
                assert_eq!(Some(&snapshot), made, "{slot} sees the real world");
                bot.seen += 1;
                bot.end = Some(snapshot).filter(|it| it.standing.is_end());
                player.steer(bot.seeker.choose(&snapshot, slot));
            }
        }
    }

    fn observe(&mut self, game: &Arena) {
        if let Some(snapshot) = game.snapshot() {
            self.made.insert(snapshot.number, *snapshot);
        }
    }

    fn observe_datagram(&mut self, datagram: &[u8]) {
        let words = std::str::from_utf8(datagram).unwrap_or_default();
        let base = words.strip_prefix("SNAP ").and_then(|rest| rest.split(' ').nth(1));
        self.differences += u64::from(base.is_some_and(|base| base != "0"));
    }
}

fn world(over: Over, seed: u64, players: usize, rate: Rate) -> World<Seekers> {
    let name = |slot| format!("\n{slot}\u{1b}[31m and a long name");
    let setup = match_of(over, (0..players).map(name));
    let game = Arena::new(&setup, Rules { rate, duration: Duration::from_secs(3) }).unwrap();
    let game = Session::new(setup, game, Duration::from_secs(10));
    let bot = |slot| Bot { seeker: Seeker::new(seed * 100 + slot as u64), seen: 0, end: None };
    // With more losses, one of some hundred players is not welcomed before such a short game is over.
    let mut world = World::new(over, Network::new(seed, 35), game, Seekers::default(), bot);
    world.pause_ms_max = Some(seed * 37 % 200);
    world
}

fn played(seed: u64) -> World<Seekers> {
    let players = 2 + usize::try_from(seed).unwrap() * 5 % (PLAYERS_MAX - 1);
    let rate = if seed.is_multiple_of(2) { Rate::Hz30 } else { Rate::Hz60 };
    let mut world = world(Over::Plain, seed, players, rate);
    world.run();
    world
}

#[test]
fn every_player_sees_the_real_world_and_the_same_end() {
    for seed in 0..SEEDS {
        let world = played(seed);
        let result = world.result();
        assert_eq!(result["outcome"], "finished", "seed {seed}");
        let (_, end) = world.play.made.last_key_value().unwrap();
        for (slot, seated) in world.players.iter().enumerate() {
            let seen = seated.bot.end.unwrap_or_else(|| panic!("seed {seed}: {slot} saw no end"));
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

/// Over netcode, with the most players: the encrypted messages must fit, too.
#[test]
fn a_full_arena_plays_to_the_end_over_netcode() {
    for seed in 0..2 {
        let mut world = world(Over::Netcode, seed, PLAYERS_MAX, Rate::Hz30);
        world.run();
        assert_eq!(world.result()["outcome"], "finished", "seed {seed}");
        assert!(world.players.iter().all(|seated| seated.bot.end.is_some()), "seed {seed}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..2 {
        let [one, other] = [0, 1].map(|_| played(seed));
        let is_same = one.play.made == other.play.made && one.network.sent == other.network.sent;
        assert!(is_same, "seed {seed}");
        assert_eq!(one.result(), other.result(), "seed {seed}");
    }
}

#[test]
fn on_a_good_network_nearly_every_update_is_a_difference() {
    let mut world = world(Over::Plain, 1, 4, Rate::Hz60);
    (world.network.loss_percent, world.network.copy_percent, world.network.delay_ms_max) =
        (0, 0, 5);
    world.pause_ms_max = None;
    world.run();
    let seen: u64 = world.players.iter().map(|seated| seated.bot.seen).sum();
    assert!(seen > 4 * 160, "{seen} snapshots");
    let differences = world.play.differences;
    assert!(differences * 10 > seen * 9, "{differences} of {seen}");
    assert_eq!(world.result()["lateness_us"]["max"], 0);
    assert_eq!(world.result()["ticks_missed"], 0);
}

/// If every other datagram of a player's moves is lost, the game makes all moves all the same, a tick later.
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
        let mut world = world(Over::Plain, seed, 3, Rate::Hz30);
        world.add_garbage(400, &WORDS);
        world.run();
        assert_eq!(world.result()["outcome"], "finished", "seed {seed}");
        // No garbage comes from the last player, or reaches them.
        assert!(world.players[2].bot.end.is_some(), "seed {seed}");
    }
}
