//! Tic-tac-toe as a real process, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // a test fails by panicking

mod support;

use std::time::Instant;

use client::GameSocket;
use client::tictactoe::{Bot, Event, FirstFree, Perfect, Player, Random, Strategy};
use game_child::tictactoe::{Mark, Standing, State};
use protocol::{FromGame, Seat, Secret, ToGame};
use support::{GameProcess, LIMIT, MATCH_ID, ask, hello, is_silent, muster_game, next_datagram};

fn sit_down(game: &GameProcess, slot: usize) -> GameSocket<Player> {
    let assignment = game.assignment(slot);
    GameSocket::open(&assignment, Player::new(&assignment)).unwrap()
}

/// Plays both sides until each has seen the end and gone; the ends that they saw.
fn play(mut games: [GameSocket<Player>; 2], mut bots: [Bot; 2]) -> [State; 2] {
    let deadline = Instant::now() + LIMIT;
    let mut ends = [None, None];
    while games.iter().any(|game| game.closed().is_none()) {
        assert!(Instant::now() < deadline, "the game does not end");
        for slot in 0..2 {
            let game = &mut games[slot];
            game.turn().unwrap();
            while let Some(event) = game.poll_event() {
                if let Event::State(state) = event {
                    ends[slot] = Some(state).filter(|state| state.standing.is_end());
                }
            }
            if game.machine().is_my_turn() {
                let cell = bots[slot].choose(&game.machine().state().unwrap().board).unwrap();
                game.with(|player, now| player.play(now, cell)).unwrap();
            }
        }
    }
    ends.map(|end| end.expect("each side sees the end"))
}

/// Waits for the state after which nothing follows.
fn end_of(game: &mut GameSocket<Player>) -> State {
    loop {
        if let Event::State(state) = game.next_event(LIMIT).unwrap()
            && state.standing.is_end()
        {
            return state;
        }
    }
}

#[test]
fn a_whole_match() {
    let mut game = GameProcess::started(&muster_game(&["tictactoe"]), 2);
    let bots = [Bot::FirstFree(FirstFree), Bot::FirstFree(FirstFree)];
    let ends = play([sit_down(&game, 0), sit_down(&game, 1)], bots);
    assert!(ends.iter().all(|end| end.standing == ends[0].standing && end.board == ends[0].board));
    let result = game.receive_result();
    assert_eq!(result["outcome"], "won");
    assert_eq!(result["winner"], 0);
    assert_eq!(result["winner_name"], "ada\u{1b}[31m\nmatch 99");
    assert_eq!(result["moves"], serde_json::json!([1, 2, 3, 4, 5, 6, 7]));
    assert!(result["duration_ms"].as_u64().unwrap() < 20_000);
    game.assert_exits_well();
}

#[test]
fn many_matches_with_many_moves() {
    for seed in 0..10 {
        let mut game = GameProcess::started(&muster_game(&["tictactoe"]), 2);
        let bots = [Bot::Random(Random::new(seed)), Bot::Perfect(Perfect)];
        let ends = play([sit_down(&game, 0), sit_down(&game, 1)], bots);
        assert_eq!(game.receive_result()["outcome"], ends[0].standing.end().unwrap());
        game.assert_exits_well();
    }
}

#[test]
fn who_says_bye_forfeits() {
    let mut game = GameProcess::started(&muster_game(&["tictactoe"]), 2);
    let (mut stays, mut goes) = (sit_down(&game, 0), game.enter(1));
    assert!(matches!(stays.next_event(LIMIT), Ok(Event::Welcome { .. })));
    goes.bye(LIMIT).unwrap();
    let end = end_of(&mut stays);
    assert!(matches!(end.standing, Standing::Forfeit(mark) if mark == end.you));
    let result = game.receive_result();
    assert_eq!((&result["outcome"], &result["winner"]), (&"forfeit".into(), &0.into()));
    game.assert_exits_well();
}

#[test]
fn who_falls_silent_forfeits() {
    let mut game = GameProcess::started(&muster_game(&["tictactoe", "--forfeit-after=1500ms"]), 2);
    let vanishes = game.stranger();
    ask(&vanishes, &hello(MATCH_ID, 0));
    let mut stays = sit_down(&game, 1);
    let end = end_of(&mut stays);
    assert!(matches!(end.standing, Standing::Forfeit(mark) if mark == end.you));
    let result = game.receive_result();
    assert_eq!((&result["outcome"], &result["winner"]), (&"forfeit".into(), &1.into()));
    game.assert_exits_well();
}

fn seat(slot: usize, token: u8) -> Seat {
    Seat { slot, name: format!("player-{slot}"), token: Secret::from_bytes([token; 16]) }
}

/// A player returns in time, with another token and from another address; the old ones are invalid. The game continues
/// where it was.
#[test]
fn a_lost_player_can_return_in_time() {
    let command = muster_game(&["tictactoe", "--forfeit-after=300ms", "--rejoin-wait=10m"]);
    let mut game = GameProcess::launch(&command);
    assert_eq!(game.receive(), Some(FromGame::Ready));
    game.start(2, 600_000, 600_000);
    assert_eq!(game.receive(), Some(FromGame::Started));
    let lost = game.stranger();
    ask(&lost, &hello(MATCH_ID, 0));
    let mut stays = sit_down(&game, 1);
    lost.send(b"MOVE 1 5").unwrap();
    while !next_datagram(&lost).starts_with("STATE 2 ") {}
    lost.send(b"ACK 2").unwrap();
    let hear = |game: &mut GameProcess, wanted: &FromGame| {
        while game.receive().expect("the game continues") != *wanted {}
    };
    hear(&mut game, &FromGame::Left { slot: 0 });
    game.send(&ToGame::Rejoin { player: seat(0, 9) });
    let back = game.stranger();
    // The game looks at what Muster says first.
    let welcome = ask(&back, format!("HELLO {MATCH_ID} {}", seat(0, 9).token).as_bytes());
    assert_eq!(welcome, "WELCOME 17 slot=0 players=2");
    assert!(next_datagram(&back).starts_with("STATE 2 ....X.... you=X turn=O "));
    hear(&mut game, &FromGame::Joined { slot: 0 });
    while !is_silent(&lost) {}
    for (socket, words) in [(&lost, &b"PING"[..]), (&game.stranger(), &hello(MATCH_ID, 0))] {
        socket.send(words).unwrap();
    }
    back.send(b"BYE").unwrap();
    assert!(matches!(end_of(&mut stays).standing, Standing::Forfeit(mark) if mark == Mark::O));
    assert!(is_silent(&lost));
    game.assert_exits_well();
}

/// A player who is absent for too long forfeits, and so does one who was expected to rejoin and did not.
#[test]
fn an_absent_player_forfeits_in_time() {
    for is_awaited in [false, true] {
        let command = muster_game(&["tictactoe", "--forfeit-after=1s", "--rejoin-wait=100ms"]);
        let mut game = GameProcess::launch(&command);
        assert_eq!(game.receive(), Some(FromGame::Ready));
        game.start(2, 2000, 60_000);
        assert_eq!(game.receive(), Some(FromGame::Started));
        let lost = game.stranger();
        ask(&lost, &hello(MATCH_ID, 0));
        let mut stays = sit_down(&game, 1);
        if is_awaited {
            game.send(&ToGame::Rejoin { player: seat(0, 9) });
        }
        let end = end_of(&mut stays);
        assert!(matches!(end.standing, Standing::Forfeit(mark) if mark == end.you));
        assert_eq!(game.receive_result()["outcome"], "forfeit");
        game.assert_exits_well();
    }
}

/// The token of another player, and a slot that does not exist: the match is unchanged.
#[test]
fn an_invalid_rejoin_changes_nothing() {
    let mut game = GameProcess::started(&muster_game(&["tictactoe"]), 2);
    for (slot, token) in [(0, 2), (2, 9), (usize::MAX, 9)] {
        game.send(&ToGame::Rejoin { player: seat(slot, token) });
    }
    let bots = [Bot::Perfect(Perfect), Bot::Perfect(Perfect)];
    play([sit_down(&game, 0), sit_down(&game, 1)], bots);
    game.assert_exits_well();
}

#[test]
fn a_missing_player_forfeits_and_without_players_the_match_is_abandoned() {
    for comes in [true, false] {
        let mut game = GameProcess::launch(&muster_game(&["tictactoe"]));
        assert_eq!(game.receive(), Some(FromGame::Ready));
        game.start(2, 300, 60_000);
        assert_eq!(game.receive(), Some(FromGame::Started));
        if comes {
            assert!(end_of(&mut sit_down(&game, 1)).standing.winner().is_some());
        }
        let outcome = if comes { "forfeit" } else { "abandoned" };
        assert_eq!(game.receive_result()["outcome"], outcome);
        game.assert_exits_well();
    }
}

#[test]
fn a_stopped_match_is_abandoned_and_the_players_are_notified() {
    let mut game = GameProcess::started(&muster_game(&["tictactoe"]), 2);
    let mut player = sit_down(&game, 0);
    while player.machine().state().is_none() {
        player.next_event(LIMIT).unwrap();
    }
    game.send(&ToGame::Stop { grace_ms: 5000 });
    assert_eq!(end_of(&mut player).standing, Standing::Abandoned);
    let result = game.receive_result();
    assert_eq!((&result["outcome"], &result["winner"]), (&"abandoned".into(), &().into()));
    game.assert_exits_well();
}

#[test]
fn the_match_is_played_to_its_end_when_muster_is_gone() {
    let mut game = GameProcess::started(&muster_game(&["tictactoe"]), 2);
    game.close_channel();
    let bots = [Bot::Perfect(Perfect), Bot::Perfect(Perfect)];
    let ends = play([sit_down(&game, 0), sit_down(&game, 1)], bots);
    assert_eq!(ends[0].standing, Standing::Draw);
    game.assert_exits_well();
}

/// A person with netcat, who reads every message.
#[test]
fn the_messages_as_a_person_sees_them() {
    let game = GameProcess::started(&muster_game(&["tictactoe"]), 2);
    let (ada, bob) = (game.stranger(), game.stranger());
    assert_eq!(ask(&ada, &hello(MATCH_ID, 0)), "WELCOME 17 slot=0 players=2");
    let names = "x=ada%1B[31m%0Amatch%2099 o=player-1";
    assert_eq!(next_datagram(&ada), format!("STATE 1 ......... you=X turn=X {names}"));
    assert_eq!(ask(&bob, &hello(MATCH_ID, 1)), "WELCOME 17 slot=1 players=2");
    assert_eq!(next_datagram(&bob), format!("STATE 1 ......... you=O turn=X {names}"));
    ada.send(b"ACK 1\n").unwrap();
    bob.send(b"ACK 1\n").unwrap();
    for (player, words, answer) in [
        (&bob, "MOVE 1 5", "NO 1 5 not-your-turn"),
        (&ada, "MOVE 2 5", "NO 2 5 too-early"),
        (&ada, "MOVE 1 10", "NO 0 0 no-such-cell"),
        (&ada, "MOVE 0 1", "NO 0 1 too-late"),
        (&ada, "move 1 1", "NO 0 0 unknown-words"),
        (&ada, "PING", "PONG"),
    ] {
        assert_eq!(ask(player, words.as_bytes()), answer, "{words}");
    }
    assert_eq!(ask(&ada, b"MOVE 1 5"), format!("STATE 2 ....X.... you=X turn=O last=5 {names}"));
    ada.send(b"ACK 2").unwrap();
    assert_eq!(next_datagram(&bob), format!("STATE 2 ....X.... you=O turn=O last=5 {names}"));
    assert_eq!(ask(&bob, b"MOVE 2 5"), "NO 2 5 taken");
    // A copy of the first move changes nothing, and another one in its place is refused.
    ada.send(b"MOVE 1 5").unwrap();
    assert_eq!(ask(&ada, b"MOVE 1 1"), "NO 1 1 too-late");
    ada.send(b"ACK 9").unwrap();
    assert_eq!(ask(&bob, b"BYE"), "BYE");
    let end = format!("STATE 3 ....X.... you=X end=forfeit winner=X last=5 {names}");
    assert_eq!(next_datagram(&ada), end);
    assert_eq!(ask(&ada, b"MOVE 3 1"), "NO 3 1 over");
}

#[test]
fn an_unacknowledged_state_is_repeated_at_a_bounded_rate() {
    let game = GameProcess::started(&muster_game(&["tictactoe"]), 2);
    let (ada, bob) = (game.stranger(), game.stranger());
    ask(&ada, &hello(MATCH_ID, 0));
    ask(&bob, &hello(MATCH_ID, 1));
    assert!(next_datagram(&ada).starts_with("STATE 1"));
    ada.send(b"MOVE 1 5").unwrap();
    assert!(next_datagram(&ada).starts_with("STATE 2"));
    // The same move a hundred times is no reason for a hundred states.
    for _ in 0..100 {
        ada.send(b"MOVE 1 5").unwrap();
    }
    // The game answers in order: after the pong, everything before it has been served.
    ada.send(b"PING done").unwrap();
    let mut sent = 0;
    while next_datagram(&ada) != "PONG done" {
        sent += 1;
    }
    assert!(sent <= 3, "{sent} states");
}
