//! Arena as a real process, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // a test fails by panicking

mod support;

use std::time::{Duration, Instant};

use client::GameSocket;
use client::arena::{Event, Player, Seeker};
use game_child::arena::{FromArena, Snapshot, Standing};
use protocol::{FromGame, Seat, Secret, ToGame};
use serde_json::{Map, Value};
use support::{GameProcess, LIMIT, MATCH_ID, ask, hello, muster_game, next_datagram};

fn sit_down(game: &GameProcess, slot: usize) -> GameSocket<Player> {
    let assignment = game.assignment(slot);
    GameSocket::open(&assignment, Player::new(&assignment)).unwrap()
}

/// Lets bots play until `is_enough`, or until each has seen the end and gone; the last that each one saw.
fn play(
    games: &mut [GameSocket<Player>],
    is_enough: impl Fn(&[Option<Snapshot>]) -> bool,
) -> Vec<Option<Snapshot>> {
    let deadline = Instant::now() + LIMIT;
    let mut bots: Vec<Seeker> = (0..games.len() as u64).map(Seeker::new).collect();
    let mut seen = vec![None; games.len()];
    while games.iter().any(|game| game.closed().is_none()) && !is_enough(&seen) {
        assert!(Instant::now() < deadline, "the game does not end");
        for (slot, game) in games.iter_mut().enumerate() {
            game.turn().unwrap();
            while let Some(event) = game.poll_event() {
                if let Event::Snapshot(snapshot) = event {
                    seen[slot] = Some(snapshot);
                    let direction = bots[slot].choose(&snapshot, slot);
                    game.with(|player, _| player.steer(direction));
                }
            }
        }
        // No need to be quick: a bot that looks every other millisecond sees every tick.
        std::thread::sleep(Duration::from_millis(2));
    }
    seen
}

fn until_the_end(_: &[Option<Snapshot>]) -> bool {
    false
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Handled and missed ticks together are the time that passed, however busy the machine is.
fn assert_ticks_fit(result: &Map<String, Value>, hz: u64) {
    let ticks = number(&result["ticks"]) + number(&result["ticks_missed"]);
    let due = number(&result["duration_ms"]) * hz / 1000;
    assert!(ticks.abs_diff(due) <= 2, "{ticks} ticks, not {due}: {result:?}");
    let lateness = &result["lateness_us"];
    let [p50, p99, max] = ["p50", "p99", "max"].map(|key| number(&lateness[key]));
    assert!(p50 <= p99 && p99 <= max && max > 0, "{lateness}");
}

#[test]
fn a_whole_match_of_four_bots() {
    for hz in ["30", "60"] {
        let command = muster_game(&["arena", "--duration", "1500ms", "--hz", hz]);
        let mut game = GameProcess::started(&command, 4);
        let mut games: Vec<_> = (0..4).map(|slot| sit_down(&game, slot)).collect();
        let ends = play(&mut games, until_the_end);
        let result = game.receive_result();
        assert_eq!(result["outcome"], "finished");
        let winner = result["winner"].as_u64().map(|slot| usize::try_from(slot).unwrap());
        let scores: Vec<u64> = result["scores"].as_array().unwrap().iter().map(number).collect();
        assert_eq!(scores.len(), 4);
        for end in ends {
            let end = end.expect("each player sees the end");
            assert_eq!((end.standing, end.left), (Standing::Finished { winner }, 0));
            let shown = end.runners.iter().flatten().map(|runner| u64::from(runner.score));
            // A player who has the end may leave before another one has it.
            assert!(shown.into_iter().all(|score| scores.contains(&score)));
        }
        assert!(number(&result["duration_ms"]) >= 1450, "{result:?}");
        assert_ticks_fit(&result, hz.parse().unwrap());
        game.assert_exits_well();
    }
}

#[test]
fn sixteen_players_are_one_match_and_seventeen_or_one_are_none() {
    let mut game = GameProcess::started(&muster_game(&["arena", "--duration=500ms"]), 16);
    let mut games: Vec<_> = (0..16).map(|slot| sit_down(&game, slot)).collect();
    play(&mut games, until_the_end);
    assert_eq!(game.receive_result()["scores"].as_array().unwrap().len(), 16);
    game.assert_exits_well();
    for players in [1, 17] {
        let mut game = GameProcess::launch(&muster_game(&["arena"]));
        assert_eq!(game.receive(), Some(FromGame::Ready));
        game.start(players, 10_000, 60_000);
        assert_eq!(game.receive(), None);
        assert_eq!(game.wait().code(), Some(1));
        assert!(game.printed().contains("this game is for 2 to 16"));
    }
}

#[test]
fn a_stopped_match_notifies_all_players() {
    let mut game = GameProcess::started(&muster_game(&["arena"]), 2);
    let mut games = [sit_down(&game, 0), sit_down(&game, 1)];
    let is_played =
        |seen: &Option<Snapshot>| seen.is_some_and(|it| it.standing == Standing::Playing);
    play(&mut games, |seen| seen.iter().all(is_played));
    game.send(&ToGame::Stop { grace_ms: 5000 });
    let ends = play(&mut games, until_the_end);
    assert!(ends.iter().all(|end| end.is_some_and(|end| end.standing == Standing::Stopped)));
    let result = game.receive_result();
    assert_eq!((&result["outcome"], &result["winner"]), (&"stopped".into(), &Value::Null));
    assert_ticks_fit(&result, 30);
    game.assert_exits_well();
}

#[test]
fn a_match_without_players_is_abandoned() {
    let mut game = GameProcess::started(&muster_game(&["arena"]), 2);
    let mut games = [game.enter(0), game.enter(1)];
    for game in &mut games {
        game.bye(LIMIT).unwrap();
    }
    assert_eq!(game.receive_result()["outcome"], "abandoned");
    game.assert_exits_well();

    let mut game = GameProcess::launch(&muster_game(&["arena"]));
    assert_eq!(game.receive(), Some(FromGame::Ready));
    game.start(2, 50, 60_000);
    assert_eq!(game.receive(), Some(FromGame::Started));
    let result = game.receive_result();
    assert_eq!((&result["outcome"], &result["ticks"]), (&"abandoned".into(), &0.into()));
    game.assert_exits_well();
}

#[test]
fn who_never_comes_is_not_waited_for_longer_than_agreed() {
    let mut game = GameProcess::launch(&muster_game(&["arena", "--duration", "300ms"]));
    assert_eq!(game.receive(), Some(FromGame::Ready));
    game.start(2, 300, 60_000);
    assert_eq!(game.receive(), Some(FromGame::Started));
    let mut games = [sit_down(&game, 0)];
    let ends = play(&mut games, until_the_end);
    let standing = ends[0].unwrap().standing;
    assert_eq!(standing, Standing::Finished { winner: Some(0) });
    assert_eq!(game.receive_result()["outcome"], "finished");
    game.assert_exits_well();
}

#[test]
fn a_warm_arena_sleeps_and_one_that_waits_for_its_players_too() {
    let mut game = GameProcess::launch(&muster_game(&["arena", "--hz", "60"]));
    assert_eq!(game.receive(), Some(FromGame::Ready));
    let assert_sleeps = |game: &mut GameProcess| {
        let sleeps = game.sleeps();
        // Nothing to wait for: that nothing happens shows only after a while. Twelve ticks would be in it.
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(game.sleeps(), sleeps, "woken for nothing");
    };
    assert_sleeps(&mut game);
    game.start(2, 10_000, 60_000);
    assert_eq!(game.receive(), Some(FromGame::Started));
    assert_sleeps(&mut game);
}

/// A person who watches with netcat, and sends no moves.
#[test]
fn a_player_without_moves_receives_fewer_snapshots() {
    let game = GameProcess::started(&muster_game(&["arena", "--hz", "60"]), 2);
    let watcher = game.stranger();
    assert_eq!(ask(&watcher, &hello(MATCH_ID, 0)), "WELCOME 17 slot=0 players=2");
    let setup = next_datagram(&watcher);
    assert!(setup.starts_with("ARENA hz=60 points=30 you=0 n0=ada%1B[31m%0Amatch%20"), "{setup}");
    let mut numbers = Vec::new();
    while numbers.last().is_none_or(|last| *last < 90) {
        if let Some(FromArena::Update(update)) = FromArena::parse(&next_datagram(&watcher)) {
            assert_eq!(update.base, None, "it never acknowledged one");
            numbers.push(update.number);
        }
    }
    // Every sixth tick at most, whatever the machine missed.
    assert!(numbers.windows(2).all(|pair| pair[1] - pair[0] >= 5), "{numbers:?}");
}

/// Back with another token: a whole snapshot, and the points from before.
#[test]
fn a_returning_player_receives_a_whole_snapshot() {
    let mut game = GameProcess::started(&muster_game(&["arena"]), 2);
    let mut games = [sit_down(&game, 0), sit_down(&game, 1)];
    let has_points = |seen: &[Option<Snapshot>]| {
        seen[0].is_some_and(|seen| seen.runners[0].is_some_and(|runner| runner.score > 0))
    };
    let seen = play(&mut games, has_points);
    let score = seen[0].and_then(|seen| seen.runners[0]).unwrap().score;
    let player = Seat { slot: 0, name: "ada".into(), token: Secret::from_bytes([9; 16]) };
    let hello = format!("HELLO {MATCH_ID} {}", player.token);
    game.send(&ToGame::Rejoin { player });
    let back = game.stranger();
    // The game looks at what Muster says first.
    assert_eq!(ask(&back, hello.as_bytes()), "WELCOME 17 slot=0 players=2");
    let snapshot = loop {
        let words = next_datagram(&back);
        if words.starts_with("SNAP") {
            break words;
        }
    };
    assert_eq!(snapshot.split(' ').nth(2), Some("0"), "whole: {snapshot}");
    let place = snapshot.split(' ').find_map(|field| field.strip_prefix("p0=")).unwrap();
    let shown: u16 = place.split(',').nth(2).unwrap().parse().unwrap();
    assert!(shown >= score, "{shown} of {score} points");
}
