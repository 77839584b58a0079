//! Whole games of tic-tac-toe over a network that loses, copies, delays and reorders datagrams.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // a test fails by panicking

mod network;

use std::collections::BTreeSet;
use std::time::Duration;

use client::tictactoe::{Event, Player, Random, Strategy};
use client::{Assignment, Closed, Machine};
use game_child::Session;
use game_child::tictactoe::{Board, Cell, Mark, Standing, State, TicTacToe};
use protocol::FromGame;
use serde_json::{Map, Value};

use network::world::{Play, World, match_of};
use network::{Network, Over};

const SEEDS: u64 = 600;

/// Both players move at random.
struct AtRandom;

struct Bot {
    strategy: Random,
    moves: Vec<Cell>,
    end: Option<State>,
    /// How often the player joined, which is twice for one who returned and has not seen all.
    welcomes: usize,
}

impl Play for AtRandom {
    type Game = TicTacToe;
    type Machine = Player;
    type Bot = Bot;

    fn machine(assignment: &Assignment) -> Player {
        Player::new(assignment)
    }

    fn act(&mut self, now: Duration, _slot: usize, player: &mut Player, bot: &mut Bot) {
        while let Some(event) = player.poll_event() {
            match event {
                Event::Moved { number, cell, .. } => {
                    bot.moves.push(cell);
                    let is_in_order = bot.moves.len() == number || bot.welcomes > 1;
                    assert!(is_in_order, "each move is an event once, in order");
                }
                Event::State(state) if state.standing.is_end() => bot.end = Some(state),
                Event::State(_) => {}
                Event::Welcome { .. } => bot.welcomes += 1,
                Event::Refused { cell, reason } => panic!("{cell} refused: {reason}"),
            }
        }
        if player.is_my_turn() {
            let board = player.state().unwrap().board;
            player.play(now, bot.strategy.choose(&board).unwrap()).unwrap();
        }
    }
}

fn world(over: Over, seed: u64) -> World<AtRandom> {
    let setup = match_of(over, ["ada", "bob"].map(str::to_owned));
    let game = TicTacToe::new(&setup).unwrap();
    let game = Session::new(setup, game, Duration::from_secs(10));
    let bot = |slot| Bot {
        strategy: Random::new(seed * 2 + slot as u64),
        moves: Vec::new(),
        end: None,
        welcomes: 0,
    };
    World::new(over, Network::new(seed, 45), game, AtRandom, bot)
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

/// A run, for comparisons.
type Trace = (Duration, u64, Vec<u64>, String);

fn play_to_the_end(over: Over, seed: u64) -> Trace {
    let mut world = world(over, seed);
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
        let bot = &seated.bot;
        let end = bot.end.as_ref().unwrap_or_else(|| panic!("seed {seed}: {slot} saw no end"));
        assert_eq!((end.board, end.standing), (board, standing), "seed {seed}");
        let seen: Vec<u64> = bot.moves.iter().map(|cell| cell.number().into()).collect();
        assert!(seen == cells, "seed {seed}: {seen:?} {cells:?}");
        assert_eq!(seated.player.closed(), Some(Closed::Left), "seed {seed}");
        assert_eq!(world.count(&FromGame::Joined { slot }), 1);
        assert!(world.count(&FromGame::Left { slot }) <= 1);
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
fn a_player_who_vanishes_forfeits_and_the_other_is_notified() {
    for seed in 0..SEEDS {
        vanish(Over::Plain, seed);
    }
    for seed in 0..SEEDS / 6 {
        vanish(Over::Netcode, seed);
    }
}

fn vanish(over: Over, seed: u64) {
    let mut world = world(over, seed);
    let slot = usize::from(seed.is_multiple_of(2));
    // During a game that takes until then, or before it has started.
    let vanishes_at =
        Duration::from_millis(1 + world.network.dice.next() % (2 * world.network.delay_ms_max));
    world.players[slot].vanishes_at = Some(vanishes_at);
    world.run();
    let result = world.result().clone();
    let other = &world.players[1 - slot].bot;
    let has_joined = world.count(&FromGame::Joined { slot: 1 - slot }) == 1;
    assert!(has_joined, "seed {seed}");
    if result["outcome"] == "forfeit" {
        assert_eq!(result["winner"].as_u64(), Some(1 - slot as u64), "seed {seed}");
        let end = other.end.as_ref().expect("the player who stayed is notified");
        assert_eq!(end.standing, Standing::Forfeit(Mark::BOTH[1 - slot]), "seed {seed}");
    } else {
        assert!(replay(&cells(&result)).is_over(), "seed {seed}: {result:?}");
    }
}

#[test]
fn a_late_copy_of_a_move_is_no_second_move() {
    let mut world = world(Over::Plain, 1);
    (world.network.loss_percent, world.network.copy_percent, world.network.delay_ms_max) =
        (0, 100, 2000);
    world.run();
    assert!(world.game.game().board().is_over());
}

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
        let over = if seed.is_multiple_of(6) { Over::Netcode } else { Over::Plain };
        let mut world = world(over, seed);
        world.add_garbage(200, &WORDS);
        world.run();
        assert!(world.game.game().board().is_over(), "seed {seed}");
        assert!(world.players.iter().all(|seated| seated.bot.end.is_some()), "seed {seed}");
    }
}

/// Over both transports, one player vanishes and returns with another token and from another address, while earlier
/// datagrams are still on the way. The game copes with both, and is played to its end.
#[test]
fn a_player_who_vanishes_and_returns_plays_to_the_end() {
    for over in [Over::Plain, Over::Netcode] {
        let (mut returns, mut missed) = (0, 0);
        for seed in 0..SEEDS / 4 {
            let mut world = world(over, seed);
            let setup = world.game.setup().clone();
            let game = TicTacToe::new(&setup).unwrap();
            world.game = Session::new(setup, game, Duration::from_secs(2))
                .with_rejoin_wait(Duration::from_secs(30));
            let vanishes = 500 + world.network.dice.next() % 1500;
            let returns_at = vanishes + world.network.dice.next() % 5000;
            world.players[0].vanishes_at = Some(Duration::from_millis(vanishes));
            world.players[0].returns_at = Some(Duration::from_millis(returns_at));
            world.run();
            let outcome = &world.result()["outcome"];
            assert!(outcome == "won" || outcome == "draw", "{over:?}, seed {seed}: {outcome}");
            returns += usize::from(world.count(&FromGame::Joined { slot: 0 }) > 1);
            missed += usize::from(world.count(&FromGame::Left { slot: 0 }) > 1);
        }
        assert!(returns > 20, "{over:?}: {returns} returned, {missed} more than once");
    }
}
