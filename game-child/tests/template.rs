//! Templates: the reference games, forked from a process that was there before.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // a test fails by panicking

mod support;
mod templates;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use protocol::{FromGame, FromTemplate, ToGame};
use rustix::process::Signal;
use support::{LIMIT, muster_game};
use templates::{Fork, Template};

fn root() -> &'static Path {
    Path::new("/")
}

/// Two players come into each game and speak, all games side by side; then all leave.
fn play_echo(games: &mut [Fork]) {
    for game in games.iter_mut() {
        game.start();
    }
    let mut players: Vec<_> =
        games.iter().flat_map(|game| [game.enter(0), game.enter(1)]).collect();
    for (number, player) in players.iter_mut().enumerate() {
        player.say(&format!("words of {number}"));
    }
    for (number, player) in players.iter_mut().enumerate() {
        assert_eq!(player.next_words(LIMIT).unwrap(), format!("words of {number}"));
    }
    for mut player in players {
        player.bye(LIMIT).unwrap();
    }
    for game in games {
        let said: Vec<FromGame> = std::iter::from_fn(|| game.receive()).collect();
        assert!(matches!(said.last(), Some(FromGame::Result { .. })), "{said:?}");
        game.assert_exits_well();
        assert!(game.printed().contains("match 17 started: player-0, player-1"));
    }
}

#[test]
fn games_of_one_template_play_at_once() {
    let mut template = Template::loaded(&muster_game(&["echo"]));
    let mut games: Vec<Fork> = (0..5).map(|_| template.fork(root())).collect();
    play_echo(&mut games);
    play_echo(&mut [template.fork(root())]);
    assert_eq!(template.printed(), "", "a template says nothing of its games");
}

#[test]
fn every_reference_game_can_be_a_template() {
    for name in ["echo", "tictactoe", "arena"] {
        let mut template = Template::loaded(&muster_game(&[name]));
        let mut game = template.fork(root());
        game.start();
        let players = [game.enter(0), game.enter(1)];
        for slot in 0..2 {
            assert_eq!(game.receive(), Some(FromGame::Joined { slot }), "{name}");
        }
        game.send(&ToGame::Stop { grace_ms: 5000 });
        for mut player in players {
            player.bye(LIMIT).unwrap();
        }
        let said: Vec<FromGame> = std::iter::from_fn(|| game.receive()).collect();
        assert!(said.iter().any(|said| matches!(said, FromGame::Result { .. })), "{said:?}");
        game.assert_exits_well();
        assert!(template.is_alive());
    }
}

#[test]
fn the_death_of_a_game_does_not_affect_others() {
    let mut template = Template::loaded(&muster_game(&["echo"]));
    let (mut first, second) = (template.fork(root()), template.fork(root()));
    assert_eq!(first.receive(), Some(FromGame::Ready));
    first.kill();
    assert_eq!(first.wait().terminating_signal(), Some(Signal::KILL.as_raw()));
    let third = template.fork(root());
    play_echo(&mut [second, third]);
    assert!(template.is_alive());
}

#[test]
fn a_template_ends_with_its_channel_and_its_games_play_on() {
    let mut template = Template::loaded(&muster_game(&["echo"]));
    let game = template.fork(root());
    template.close_channel();
    assert!(template.wait().success());
    play_echo(&mut [game]);

    let mut template = Template::loaded(&muster_game(&["echo"]));
    let game = template.fork(root());
    template.terminate();
    assert_eq!(template.wait().signal(), Some(Signal::TERM.as_raw()));
    play_echo(&mut [game]);
}

#[test]
fn a_request_that_cannot_be_met_fails_alone() {
    let mut template = Template::loaded(&muster_game(&["echo"]));
    for packet in [&b"{\"type\":\"later\"}"[..], b"no message", b"[]"] {
        template.send_bytes(packet);
    }
    for (swapped, why) in [(false, "2 descriptors came"), (true, "is not the game's UDP socket")] {
        match template.ask_badly(swapped) {
            Some(FromTemplate::Failed { game, reason }) => {
                assert!(game == "bad" && reason.contains(why), "{game}: {reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    let mut lost = template.fork(Path::new("/no/such/directory"));
    assert_eq!(lost.receive(), None);
    assert_eq!(lost.wait().exit_status(), Some(1));
    assert!(lost.printed().contains("cannot enter the game's directory"));
    play_echo(&mut [template.fork(root())]);
    let printed = template.printed();
    assert_eq!(printed.matches("ignoring an invalid packet").count(), 2, "{printed}");
}

#[test]
fn what_is_no_template_channel_is_refused() {
    let mut shell = support::shell("4<&1 0</dev/null 1>&2", &muster_game(&["echo"]));
    shell.env("MUSTER_TEMPLATE", "1").stdout(std::process::Stdio::piped());
    let output = shell.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.contains("descriptor 4 is not the template channel"), "{printed}");
}
