//! Whole games of tic-tac-toe over a network that loses, copies, delays and reorders datagrams. No socket, no
//! clock: every run follows from its seed, and a seed that fails fails again.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // a test fails by panicking

mod network;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use client::tictactoe::{Event, Player, Random, Strategy};
use client::{Closed, Machine};
use game_child::tictactoe::TicTacToe;
use game_child::tictactoe::{Board, Cell, Mark, Standing, State};
use game_child::{Match, Session};
use protocol::{FromGame, Seat};
use serde_json::{Map, Value};

use network::{Network, Over, To, address, token};

const SEEDS: u64 = 600;

/// No game takes nearly as long, however bad the network.
const TIME_MAX: Duration = Duration::from_secs(120);

/// A network with two players and a game, and the time in it.
struct World {
    now: Duration,
    network: Network,
    game: Session<TicTacToe>,
    players: [Seated; 2],
    told: Vec<FromGame>,
}

struct Seated {
    player: Player,
    strategy: Random,
    moves: Vec<Cell>,
    end: Option<State>,
    /// When this player falls silent for good.
    vanishes_at: Option<Duration>,
    /// When it comes back, as a program that knows nothing of what was.
    returns_at: Option<Duration>,
    address: SocketAddr,
    /// Its own clock began then.
    born: Duration,
}

impl World {
    fn new(seed: u64) -> Self {
        Self::over(Over::Plain, seed)
    }

    fn over(over: Over, seed: u64) -> Self {
        let seats = ["ada", "bob"].into_iter().enumerate();
        let seats = seats.map(|(slot, name)| Seat { slot, name: name.into(), token: token(slot) });
        let setup = over.of(Match::new("17".into(), seats.collect(), 10_000, 600_000).unwrap());
        let game = TicTacToe::new(&setup).unwrap();
        Self {
            now: Duration::ZERO,
            network: Network::new(seed, 45),
            game: Session::new(setup, game, Duration::from_secs(10)),
            players: [0, 1].map(|slot| Seated {
                player: Player::new(&over.assignment(slot, 2)),
                strategy: Random::new(seed * 2 + slot as u64),
                moves: Vec::new(),
                end: None,
                vanishes_at: None,
                returns_at: None,
                address: address(slot),
                born: Duration::ZERO,
            }),
            told: Vec::new(),
        }
    }

    /// Everything that is to be done at this moment: moves, events, datagrams sent.
    fn settle(&mut self) {
        for slot in 0..2 {
            let seated = &mut self.players[slot];
            while let Some(event) = seated.player.poll_event() {
                match event {
                    Event::Moved { number, cell, .. } => {
                        seated.moves.push(cell);
                        let is_in_order = seated.moves.len() == number || !seated.born.is_zero();
                        assert!(is_in_order, "moves are told once and in order");
                    }
                    Event::State(state) if state.standing.is_end() => seated.end = Some(state),
                    Event::State(_) | Event::Welcome { .. } => {}
                    Event::Refused { cell, reason } => panic!("{cell} refused: {reason}"),
                }
            }
            if seated.player.is_my_turn() {
                let board = seated.player.state().unwrap().board;
                let cell = seated.strategy.choose(&board).unwrap();
                seated.player.play(self.now - seated.born, cell).unwrap();
            }
            while let Some(datagram) = seated.player.poll_transmit() {
                self.network.send(self.now, To::Game { from: seated.address }, &datagram);
            }
        }
        while let Some((to, datagram)) = self.game.poll_transmit() {
            // What goes to where a player was before, nobody gets.
            if let Some(slot) = self.players.iter().position(|seated| seated.address == to) {
                self.network.send(self.now, To::Player(slot), &datagram);
            }
        }
        self.told.extend(std::iter::from_fn(|| self.game.poll_message()));
    }

    fn has_vanished(&self, slot: usize) -> bool {
        self.players[slot].vanishes_at.is_some_and(|at| self.now >= at)
    }

    fn next_event_at(&self) -> Option<Duration> {
        let arrival = self.network.next_arrival();
        let game = (!self.game.is_over()).then(|| self.game.next_deadline());
        let players = (0..2).filter(|slot| !self.has_vanished(*slot));
        let players = players.filter_map(|slot| {
            let seated = &self.players[slot];
            Some(seated.player.next_deadline()? + seated.born)
        });
        let returns = self.players.iter().filter_map(|seated| seated.returns_at);
        arrival.into_iter().chain(game).chain(players).chain(returns).min()
    }

    /// Lets those come back whose time it is: Muster tells the game of it, and the player has another token.
    fn bring_back(&mut self, over: Over) {
        for slot in 0..2 {
            let seated = &mut self.players[slot];
            if seated.returns_at.take_if(|at| *at <= self.now).is_none() {
                continue;
            }
            let mut assignment = over.assignment(slot, 2);
            if over == Over::Plain {
                assignment.token = token(slot + 2).to_string();
            }
            seated.player = Player::new(&assignment);
            (seated.vanishes_at, seated.born) = (None, self.now);
            seated.address = address(slot + 2);
            let player = Seat { slot, name: "back".into(), token: token(slot + 2) };
            assert!(self.game.handle_rejoin(self.now, &player));
        }
    }

    fn deliver(&mut self) {
        while let Some(arrival) = self.network.receive(self.now) {
            match arrival {
                (To::Game { .. }, _) if self.game.is_over() => {}
                (To::Game { from }, datagram) => {
                    self.game.handle_datagram(self.now, from, &datagram);
                }
                (To::Player(slot), _) if self.has_vanished(slot) => {}
                (To::Player(slot), datagram) => {
                    let seated = &mut self.players[slot];
                    seated.player.handle_datagram(self.now - seated.born, &datagram);
                }
            }
            self.settle();
        }
    }

    /// Lets time pass until nothing more will happen.
    fn run(&mut self) {
        self.run_over(Over::Plain);
    }

    fn run_over(&mut self, over: Over) {
        self.settle();
        while let Some(at) = self.next_event_at() {
            self.now = self.now.max(at);
            assert!(self.now < TIME_MAX, "the game does not end");
            self.bring_back(over);
            self.deliver();
            if !self.game.is_over() && self.game.next_deadline() <= self.now {
                self.game.handle_timeout(self.now);
            }
            for slot in 0..2 {
                let now = self.now - self.players[slot].born;
                if !self.has_vanished(slot)
                    && self.players[slot].player.next_deadline().is_some_and(|at| at <= now)
                {
                    self.players[slot].player.handle_timeout(now);
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

    fn told_count(&self, message: &FromGame) -> usize {
        self.told.iter().filter(|told| *told == message).count()
    }
}

fn cells(result: &Map<String, Value>) -> Vec<u64> {
    result["moves"].as_array().unwrap().iter().map(|cell| cell.as_u64().unwrap()).collect()
}

fn replay(cells: &[u64]) -> Board {
    let mut board = Board::default();
    for cell in cells {
        board.play(cell.to_string().parse().unwrap()).unwrap();
    }
    board
}

/// What happened, for comparing runs.
type Trace = (Duration, u64, Vec<u64>, String);

fn play_to_the_end(over: Over, seed: u64) -> Trace {
    let mut world = World::over(over, seed);
    world.run();
    let result = world.result().clone();
    let cells = cells(&result);
    let board = replay(&cells);
    let standing = world.game.game().standing();
    assert!(matches!(standing, Standing::Won(_) | Standing::Draw), "seed {seed}: {standing:?}");
    assert!(board.is_over() && *world.game.game().board() == board, "seed {seed}");
    assert_eq!(result["outcome"], standing.end().unwrap());
    assert_eq!(result["winner"].as_u64(), board.winner().map(|mark| mark.slot() as u64));
    for (slot, seated) in world.players.iter().enumerate() {
        let end = seated.end.as_ref().unwrap_or_else(|| panic!("seed {seed}: {slot} saw no end"));
        assert_eq!((end.board, end.standing), (board, standing), "seed {seed}");
        let seen: Vec<u64> = seated.moves.iter().map(|cell| cell.number().into()).collect();
        assert_eq!(seen.len(), cells.len(), "seed {seed}");
        assert!(seen == cells, "seed {seed}: {seen:?} {cells:?}");
        assert_eq!(seated.player.closed(), Some(Closed::Left), "seed {seed}");
        assert_eq!(world.told_count(&FromGame::Joined { slot }), 1);
        assert!(world.told_count(&FromGame::Left { slot }) <= 1);
    }
    (world.now, world.network.sent, cells, board.to_string())
}

#[test]
fn two_players_always_finish_with_the_same_board_and_result() {
    let games: BTreeSet<Vec<u64>> =
        (0..SEEDS).map(|seed| play_to_the_end(Over::Plain, seed).2).collect();
    assert!(games.len() > 300, "only {} different games", games.len());
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        assert_eq!(play_to_the_end(Over::Plain, seed), play_to_the_end(Over::Plain, seed));
    }
}

#[test]
fn two_players_always_finish_over_netcode() {
    for seed in 0..SEEDS / 6 {
        play_to_the_end(Over::Netcode, seed);
    }
}

#[test]
fn who_vanishes_forfeits_and_who_stays_is_told() {
    for seed in 0..SEEDS {
        vanish(Over::Plain, seed);
    }
    for seed in 0..SEEDS / 6 {
        vanish(Over::Netcode, seed);
    }
}

fn vanish(over: Over, seed: u64) {
    let mut world = World::over(over, seed);
    let slot = usize::from(seed.is_multiple_of(2));
    // In the middle of a game that takes until then, or before it has begun.
    let vanishes_at =
        Duration::from_millis(1 + world.network.dice.next() % (2 * world.network.delay_ms_max));
    world.players[slot].vanishes_at = Some(vanishes_at);
    world.run();
    let result = world.result().clone();
    let other = &world.players[1 - slot];
    let has_joined = world.told_count(&FromGame::Joined { slot: 1 - slot }) == 1;
    assert!(has_joined, "seed {seed}");
    if result["outcome"] == "forfeit" {
        assert_eq!(result["winner"].as_u64(), Some(1 - slot as u64), "seed {seed}");
        let end = other.end.as_ref().expect("the player who stayed is told");
        assert_eq!(end.standing, Standing::Forfeit(Mark::BOTH[1 - slot]), "seed {seed}");
    } else {
        assert!(replay(&cells(&result)).is_over(), "seed {seed}: {result:?}");
    }
}

#[test]
fn a_late_copy_of_a_move_is_no_second_move() {
    let mut world = World::new(1);
    (world.network.loss_percent, world.network.copy_percent, world.network.delay_ms_max) =
        (0, 100, 2000);
    world.run();
    assert!(world.game.game().board().is_over());
}

/// Anything from strangers, and nonsense from the players' own addresses and the game's: while the match goes on.
#[test]
fn garbage_harms_no_match() {
    const WORDS: [&str; 12] = [
        "HELLO 17 ",
        "HELLO ",
        "MOVE ",
        "STATE ",
        "NO ",
        "WELCOME ",
        "PING ",
        "1 ",
        "\u{1b}",
        "=",
        "\0",
        "X.O",
    ];
    for seed in 0..SEEDS {
        let mut world =
            World::over(if seed.is_multiple_of(6) { Over::Netcode } else { Over::Plain }, seed);
        world.settle();
        for _ in 0..200 {
            let count = world.network.dice.next() % 6;
            let mut garbage: Vec<u8> = (0..count)
                .flat_map(|_| {
                    WORDS[usize::try_from(world.network.dice.next() % 12).unwrap()].bytes()
                })
                .collect();
            garbage.extend(
                (0..world.network.dice.next() % 9)
                    .map(|_| (world.network.dice.next() & 0xff) as u8),
            );
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
        assert!(world.game.game().board().is_over(), "seed {seed}");
        assert!(world.players.iter().all(|seated| seated.end.is_some()), "seed {seed}");
    }
}

/// Over both transports, one player vanishes and comes back with another token and from another address, while what it
/// sent before is still on its way. The game bears with both, and is played to its end.
#[test]
fn who_vanishes_and_comes_back_plays_to_the_end() {
    for over in [Over::Plain, Over::Netcode] {
        let (mut returns, mut missed) = (0, 0);
        for seed in 0..SEEDS / 4 {
            let mut world = World::over(over, seed);
            let setup = world.game.setup().clone();
            let game = TicTacToe::new(&setup).unwrap();
            world.game = Session::new(setup, game, Duration::from_secs(2))
                .with_rejoin_wait(Duration::from_secs(30));
            let vanishes = 500 + world.network.dice.next() % 1500;
            let returns_at = vanishes + world.network.dice.next() % 5000;
            world.players[0].vanishes_at = Some(Duration::from_millis(vanishes));
            world.players[0].returns_at = Some(Duration::from_millis(returns_at));
            world.run_over(over);
            let outcome = &world.result()["outcome"];
            assert!(outcome == "won" || outcome == "draw", "{over:?}, seed {seed}: {outcome}");
            returns += usize::from(world.told_count(&FromGame::Joined { slot: 0 }) > 1);
            missed += usize::from(world.told_count(&FromGame::Left { slot: 0 }) > 1);
        }
        assert!(returns > 20, "{over:?}: {returns} came back, {missed} more than once");
    }
}
