//! The contract `muster-game/1`, kept by real processes: the reference games, and the example in Python.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // a test fails by panicking

mod support;

use protocol::{FromGame, ToGame};
use support::{
    GameProcess, LIMIT, MATCH_ID, ask, hello, is_silent, muster_game, next_datagram, python_echo,
};

/// Every game that echoes, whatever it is written in.
fn echoes() -> [Vec<String>; 2] {
    [muster_game(&["echo"]), python_echo()]
}

#[test]
fn players_come_play_and_go() {
    for command in echoes() {
        let mut game = GameProcess::started(&command, 2);
        let mut players = [game.enter(0), game.enter(1)];
        assert_eq!(game.receive(), Some(FromGame::Joined { slot: 0 }));
        assert_eq!(game.receive(), Some(FromGame::Joined { slot: 1 }));
        for player in &mut players {
            player.ping("how far", LIMIT).unwrap();
            player.say("any words");
            assert_eq!(player.next_words(LIMIT).unwrap(), "any words");
        }
        let [mut first, mut second] = players;
        first.bye(LIMIT).unwrap();
        assert_eq!(game.receive(), Some(FromGame::Left { slot: 0 }));
        second.bye(LIMIT).unwrap();
        assert_eq!(game.receive(), Some(FromGame::Left { slot: 1 }));
        assert!(matches!(game.receive(), Some(FromGame::Result { .. })));
        assert_eq!(game.receive(), None);
        game.assert_exits_well();
    }
}

#[test]
fn a_wrong_token_match_or_address_gets_no_answer_at_all() {
    for command in echoes() {
        let game = GameProcess::started(&command, 2);
        let (player, stranger) = (game.stranger(), game.stranger());
        for datagram in [
            &hello(MATCH_ID, 7)[..],
            &hello("18", 0),
            b"HELLO",
            b"HELLO 17",
            b"HELLO 17 ",
            b"PING x",
            b"BYE",
            b"STATE",
            b"",
            b"\xff\x00",
        ] {
            stranger.send(datagram).unwrap();
        }
        let welcome = ask(&player, &hello(MATCH_ID, 0));
        assert_eq!(welcome, "WELCOME 17 slot=0 players=2");
        // A token that was used, from another address; and a second token from a used address.
        stranger.send(&hello(MATCH_ID, 0)).unwrap();
        player.send(&hello(MATCH_ID, 1)).unwrap();
        assert_eq!(ask(&player, &hello(MATCH_ID, 0)), welcome, "the same hello may be repeated");
        assert!(is_silent(&stranger) && is_silent(&player));
    }
}

#[test]
fn no_answer_is_longer_than_what_it_answers() {
    for command in echoes() {
        let game = GameProcess::started(&command, 2);
        let player = game.stranger();
        let long = "w".repeat(1200);
        for datagram in
            [&hello(MATCH_ID, 0)[..], b"PING", b"PING x", b"w", b"w\r\n", long.as_bytes(), b"BYE"]
        {
            let answer = ask(&player, datagram);
            assert!(answer.len() <= datagram.len(), "{} to {}", answer, datagram.escape_ascii());
        }
        assert!(is_silent(&player), "one answer for one question");
    }
}

#[test]
fn a_flood_before_the_start_neither_wakes_nor_stops_a_game() {
    for command in echoes() {
        let mut game = GameProcess::launch(&command);
        assert_eq!(game.receive(), Some(FromGame::Ready));
        let (flood, early) = (game.stranger(), game.stranger());
        let sleeps = game.sleeps();
        early.send(&hello(MATCH_ID, 1)).unwrap();
        for _ in 0..20_000 {
            flood.send(&hello("16", 0)).unwrap();
        }
        assert_eq!(game.sleeps(), sleeps, "a datagram woke a game that waits for its start");
        game.start(2, 10_000, 60_000);
        assert_eq!(game.receive(), Some(FromGame::Started));
        let player = game.stranger();
        assert_eq!(ask(&player, &hello(MATCH_ID, 0)), "WELCOME 17 slot=0 players=2");
        assert_eq!(game.receive(), Some(FromGame::Joined { slot: 0 }));
        assert!(is_silent(&flood) && is_silent(&early), "early datagrams are dropped");
    }
}

/// While a thread floods the game's port without pause.
#[test]
fn a_flood_during_the_start_and_the_match_stops_neither() {
    let mut game = GameProcess::launch(&muster_game(&["echo"]));
    let flood = game.stranger();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = flood.send(b"HELLO 17 00000000000000000000000000000000");
            }
        });
        assert_eq!(game.receive(), Some(FromGame::Ready));
        game.start(1, 10_000, 60_000);
        assert_eq!(game.receive(), Some(FromGame::Started));
        let player = game.enter(0);
        assert_eq!(game.receive(), Some(FromGame::Joined { slot: 0 }));
        game.send(&ToGame::Stop { grace_ms: 5000 });
        game.receive_result();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        drop(player);
    });
    game.assert_exits_well();
}

#[test]
fn no_player_joins() {
    for command in echoes().into_iter().chain([muster_game(&["tictactoe"])]) {
        let mut game = GameProcess::launch(&command);
        assert_eq!(game.receive(), Some(FromGame::Ready));
        game.start(2, 50, 60_000);
        assert_eq!(game.receive(), Some(FromGame::Started));
        game.receive_result();
        game.assert_exits_well();
    }
}

#[test]
fn the_longest_duration_ends_a_match_that_is_played() {
    for command in echoes() {
        let mut game = GameProcess::launch(&command);
        assert_eq!(game.receive(), Some(FromGame::Ready));
        game.start(1, 10_000, 300);
        assert_eq!(game.receive(), Some(FromGame::Started));
        let _player = game.enter(0);
        assert_eq!(game.receive(), Some(FromGame::Joined { slot: 0 }));
        game.receive_result();
        game.assert_exits_well();
    }
}

#[test]
fn stop_and_sigterm_end_a_match_with_the_result_there_is() {
    for command in echoes() {
        for by_signal in [false, true] {
            let mut game = GameProcess::started(&command, 2);
            let _player = game.enter(0);
            assert_eq!(game.receive(), Some(FromGame::Joined { slot: 0 }));
            if by_signal {
                game.terminate();
            } else {
                game.send(&ToGame::Stop { grace_ms: 5000 });
            }
            game.receive_result();
            game.assert_exits_well();
        }
    }
}

#[test]
fn a_warm_game_exits_quietly_on_stop_or_without_muster() {
    for command in echoes() {
        for way in ["stop", "signal", "end"] {
            let mut game = GameProcess::launch(&command);
            assert_eq!(game.receive(), Some(FromGame::Ready));
            match way {
                "stop" => game.send(&ToGame::Stop { grace_ms: 5000 }),
                "signal" => game.terminate(),
                _ => game.close_channel(),
            }
            assert_eq!(game.receive_all(), [], "{way}");
            game.assert_exits_well();
        }
    }
}

#[test]
fn the_match_is_played_on_when_muster_is_gone() {
    for command in echoes() {
        let mut game = GameProcess::started(&command, 2);
        let mut players = [game.enter(0), game.enter(1)];
        // With messages unread: the game's next read is an error, and not only an end.
        game.close_channel();
        for player in &mut players {
            player.ping("still there?", LIMIT).unwrap();
            player.bye(LIMIT).unwrap();
        }
        game.assert_exits_well();
    }
}

/// A present, silent player costs nothing.
#[test]
fn nothing_is_done_while_nothing_is_due() {
    let mut game = GameProcess::started(&muster_game(&["echo", "--silence", "1m"]), 1);
    let player = game.stranger();
    ask(&player, &hello(MATCH_ID, 0));
    assert_eq!(game.receive(), Some(FromGame::Joined { slot: 0 }));
    let sleeps = game.sleeps();
    player.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
    assert!(player.recv(&mut [0; 8]).is_err(), "nothing comes within this socket's own time limit");
    assert_eq!(game.sleeps(), sleeps);
}

#[test]
fn a_silent_player_has_left() {
    let mut game = GameProcess::started(&muster_game(&["echo", "--silence", "100ms"]), 1);
    let player = game.stranger();
    ask(&player, &hello(MATCH_ID, 0));
    assert_eq!(game.receive(), Some(FromGame::Joined { slot: 0 }));
    assert_eq!(game.receive(), Some(FromGame::Left { slot: 0 }));
    game.receive_result();
    game.assert_exits_well();
}

#[test]
fn garbage_on_the_control_channel_is_ignored_and_a_line_without_end_ends_it() {
    let mut game = GameProcess::launch(&muster_game(&["echo"]));
    assert_eq!(game.receive(), Some(FromGame::Ready));
    game.send_bytes(b"\n{}\n[]\nstart\n{\"type\":\"backfill\"}\n\xff\xfe\n{\"type\":\"start\"}\n");
    game.start(1, 10_000, 60_000);
    assert_eq!(game.receive(), Some(FromGame::Started));
    game.start(1, 10_000, 60_000);
    let mut player = game.enter(0);
    assert_eq!(game.receive(), Some(FromGame::Joined { slot: 0 }));
    game.send_bytes(&vec![b'x'; 70_000]);
    player.ping("unharmed", LIMIT).unwrap();
    player.bye(LIMIT).unwrap();
    game.receive_result();
    game.assert_exits_well();
}

#[test]
fn a_match_that_cannot_be_played_is_refused_before_it_starts() {
    for (players, said) in [(3, "3 players; this game is for 2"), (0, "0 players")] {
        let mut game = GameProcess::launch(&muster_game(&["tictactoe"]));
        assert_eq!(game.receive(), Some(FromGame::Ready));
        game.start(players, 10_000, 60_000);
        assert_eq!(game.receive(), None);
        assert_eq!(game.wait().code(), Some(1));
        let printed = game.printed();
        assert!(printed.contains(said), "{printed}");
    }
}

#[test]
fn what_is_printed_is_one_visible_line_for_each_event() {
    let mut game = GameProcess::started(&muster_game(&["tictactoe"]), 2);
    let mut player = game.enter(0);
    assert_eq!(game.receive(), Some(FromGame::Joined { slot: 0 }));
    player.bye(LIMIT).unwrap();
    game.send(&ToGame::Stop { grace_ms: 5000 });
    game.assert_exits_well();
    let printed = game.printed();
    assert!(
        printed.starts_with("match 17 started: ada\\u{1b}[31m\\nmatch 99, player-1\n"),
        "{printed}"
    );
    assert!(printed.lines().all(|line| line.starts_with("match 17")), "{printed}");
    assert!(!printed.contains('\u{1b}'), "{printed}");
}

/// A game that has sent more than its channel holds, and receives `stop`.
fn stopped_with_a_full_channel() -> GameProcess {
    const PLAYERS: usize = 100;
    let mut game = GameProcess::launch_with(&muster_game(&["echo"]), Some(1));
    assert_eq!(game.receive(), Some(FromGame::Ready));
    game.start(PLAYERS, 10_000, 60_000);
    assert_eq!(game.receive(), Some(FromGame::Started));
    // All at the same time, or the kernel could give one player's address to the next one.
    let players: Vec<_> = (0..PLAYERS).map(|_| game.stranger()).collect();
    for (slot, player) in players.iter().enumerate() {
        ask(player, &hello(MATCH_ID, slot));
    }
    game.send(&ToGame::Stop { grace_ms: 5000 });
    game
}

#[test]
fn a_full_channel_loses_nothing_if_muster_reads_late() {
    let mut game = stopped_with_a_full_channel();
    let said = game.receive_all();
    assert_eq!(said.len(), 101, "{said:?}");
    assert!(matches!(said.last(), Some(FromGame::Result { .. })));
    game.assert_exits_well();
}

#[test]
fn a_channel_that_is_not_read_does_not_block_a_game() {
    let mut game = stopped_with_a_full_channel();
    assert_eq!(game.wait().code(), Some(1));
    let printed = game.printed();
    assert!(printed.contains("cannot send the result to Muster"), "{printed}");
}

#[test]
fn the_last_message_is_whole_before_the_process_ends() {
    for _ in 0..20 {
        let mut game = GameProcess::started(&muster_game(&["tictactoe"]), 2);
        game.send(&ToGame::Stop { grace_ms: 5000 });
        game.assert_exits_well();
        assert_eq!(game.receive_result()["outcome"], "abandoned");
    }
}

#[test]
fn without_muster_it_says_what_is_missing_and_what_to_do() {
    use std::process::Stdio;
    let game = muster_game(&["tictactoe"]);
    for (redirections, said) in [
        ("3<&-", "descriptor 3, the game's UDP socket, is not open"),
        ("3<&0 4<&-", "descriptor 4, the control channel, a Unix stream socket, is not open"),
        ("3</dev/null 4<&0", "descriptor 3 is not the game's UDP socket"),
    ] {
        let mut shell = support::shell(redirections, &game);
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{printed}");
        assert!(printed.contains(said), "{printed}");
    }
    for (key, value, said) in [
        ("MUSTER_CONTROL_FD", None, "MUSTER_CONTROL_FD is not set"),
        ("MUSTER_CONTROL_FD", Some("-4"), "is not the number of a descriptor"),
        ("MUSTER_PROTOCOL", Some("muster-game/2"), "implements muster-game/1"),
    ] {
        let mut shell = support::shell("", &game);
        match value {
            Some(value) => shell.env(key, value),
            None => shell.env_remove(key),
        };
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{printed}");
        assert!(printed.contains(said), "{printed}");
    }
}

#[test]
fn messages_are_returned_to_their_sender_only() {
    let game = GameProcess::started(&muster_game(&["echo"]), 2);
    let (first, second) = (game.stranger(), game.stranger());
    ask(&first, &hello(MATCH_ID, 0));
    ask(&second, &hello(MATCH_ID, 1));
    first.send(b"mine").unwrap();
    assert_eq!(ask(&second, b"PING x"), "PONG x");
    assert_eq!(next_datagram(&first), "mine");
    assert!(is_silent(&second));
}
