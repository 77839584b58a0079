//! Ports: one game on each, rest after players, and a line when they are all taken.

use std::time::Duration;

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

/// Brings a match of one player onto its port.
fn play(story: &mut Story, connection: u64, queue: &str, game: u64) {
    story.ready(connection, queue);
    story.launched(game);
    story.says_ready(game);
    assert_eq!(for_players(&story.says_started(game)).len(), 1);
}

#[test]
fn matches_wait_for_the_one_port_in_their_order() {
    let mut story = Story::begin(ports(1), vec![mode("solo", 1, 0)]);
    play(&mut story, 1, "solo", 1);
    assert_eq!(story.ready(2, "solo"), ["2: QUEUED 1/1", "2: WAITING no-port"]);
    assert_eq!(story.ready(3, "solo"), ["3: QUEUED 1/1", "3: WAITING no-port behind 1"]);
    // The port rests, for late datagrams would reach the next game.
    assert_eq!(story.exits(1), NOTHING);
    assert_eq!(story.after_ms(4999), NOTHING);
    assert_eq!(story.after_ms(1), ["launch g2 solo :20000 for m2", "2: WAITING game-starting"]);
    story.launched(2);
    assert_eq!(story.says_ready(2), NOTHING);
    assert_eq!(story.says_started(2), ["2: ASSIGN m2 :20000 slot 0/1"]);
    story.exits(2);
    assert_eq!(story.after_ms(5000), ["launch g3 solo :20000 for m3", "3: WAITING game-starting"]);
}

#[test]
fn the_port_goes_to_whoever_came_first_in_whatever_mode() {
    let mut story = Story::begin(ports(1), vec![mode("solo", 1, 0), mode("duel", 2, 0)]);
    play(&mut story, 1, "solo", 1);
    story.ready(2, "duel");
    story.ready(3, "solo");
    story.ready(4, "duel");
    story.exits(1);
    // 2 came before 3, though its match was formed later.
    assert_eq!(for_games(&story.after_ms(5000)), ["launch g2 duel :20000 for m3"]);
}

#[test]
fn a_warm_game_gives_up_its_port_for_those_who_wait() {
    let mut story = Story::begin_warm(ports(1), vec![mode("duel", 2, 1), mode("solo", 1, 0)]);
    let wishes = story.ready(1, "solo");
    assert_eq!(for_players(&wishes), ["1: QUEUED 1/1", "1: WAITING no-port"]);
    assert_eq!(for_games(&wishes), ["stop g1"]);
    // Nobody was told of the port: it needs no rest.
    assert_eq!(story.exits(1), ["launch g2 solo :20000 for m1", "1: WAITING game-starting"]);
}

#[test]
fn a_warm_game_is_left_alone_while_a_port_is_on_its_way_back() {
    let mut story = Story::begin_warm(ports(2), vec![mode("duel", 2, 1), mode("solo", 1, 0)]);
    play(&mut story, 1, "solo", 2);
    story.exits(2);
    assert_eq!(story.ready(2, "solo"), ["2: QUEUED 1/1", "2: WAITING no-port"]);
    assert_eq!(for_games(&story.after_ms(5000)), ["launch g3 solo :20001 for m2"]);
}

#[test]
fn a_port_that_is_busy_is_skipped_and_tried_again() {
    let mut story = Story::begin(ports(2), vec![mode("solo", 1, 0)]);
    assert_eq!(for_games(&story.ready(1, "solo")), ["launch g1 solo :20000 for m1"]);
    assert_eq!(story.port_busy(1), ["launch g2 solo :20001 for m1"]);
    assert_eq!(story.port_busy(2), ["1: WAITING no-port"]);
    // It is no fault of the game: no pause, and no word of failing.
    assert_eq!(for_games(&story.after_ms(5000)), ["launch g3 solo :20000 for m1"]);
}

#[test]
fn a_busy_port_rests_even_where_ports_do_not() {
    let mut config = ports(1);
    config.quarantine = Duration::ZERO;
    let mut story = Story::begin(config, vec![mode("solo", 1, 0)]);
    story.ready(1, "solo");
    assert_eq!(story.port_busy(1), ["1: WAITING no-port"]);
    assert_eq!(story.after_ms(999), NOTHING);
    assert_eq!(for_games(&story.after_ms(1)), ["launch g2 solo :20000 for m1"]);
}

#[test]
fn a_busy_port_is_no_reason_to_keep_a_warm_game_from_those_who_wait() {
    let mut story = Story::begin_warm(ports(2), vec![mode("duel", 2, 1), mode("solo", 1, 0)]);
    assert_eq!(for_games(&story.ready(1, "solo")), ["launch g2 solo :20001 for m1"]);
    // Whoever holds 20001 may hold it for ever.
    assert_eq!(for_games(&story.port_busy(2)), ["stop g1"]);
    assert_eq!(for_games(&story.exits(1)), ["launch g3 solo :20000 for m1"]);
}

#[test]
fn waiting_for_a_port_draws_no_ids() {
    let mut story = Story::begin(ports(1), vec![mode("solo", 1, 0)]);
    play(&mut story, 1, "solo", 1);
    for connection in 2..20 {
        story.ready(connection, "solo");
    }
    story.exits(1);
    assert_eq!(for_games(&story.after_ms(5000)), ["launch g2 solo :20000 for m2"]);
}

#[test]
fn games_launch_a_few_at_a_time() {
    let mut config = ports(8);
    config.launching_max = 2;
    let mut story = Story::begin(config, vec![mode("solo", 1, 4)]);
    assert_eq!(story.after_ms(0), ["launch g1 solo :20000", "launch g2 solo :20001"]);
    assert_eq!(story.launched(1), NOTHING);
    assert_eq!(story.says_ready(1), ["launch g3 solo :20002"]);
}

/// A program that holds one port of the ring makes no mode fail: the port rests, longer each time, and others are taken.
#[test]
fn a_port_on_which_games_fail_rests_and_the_mode_is_well() {
    let mut story = Story::begin(ports(3), vec![mode("solo", 1, 0)]);
    let is_failing = |story: &Story| story.brain.mode_figures(brain::ModeId(0)).is_failing;
    assert_eq!(for_games(&story.ready(1, "solo")), ["launch g1 solo :20000 for m1"]);
    story.launched(1);
    // It ends before it is ready. The next try is elsewhere, at once.
    assert_eq!(for_games(&story.crashes(1)), ["launch g2 solo :20001 for m1"]);
    story.launched(2);
    story.says_ready(2);
    story.says_started(2);
    play(&mut story, 2, "solo", 3);
    // The bad one alone is left. It fails again, which is no news of the mode.
    assert_eq!(story.ready(3, "solo"), ["3: QUEUED 1/1", "3: WAITING no-port"]);
    let mut game = 3;
    for rest in [1000, 2000, 4000, 8000] {
        assert_eq!(for_games(&story.after_ms(rest - 1)), NOTHING);
        game += 1;
        assert_eq!(for_games(&story.after_ms(1)), [format!("launch g{game} solo :20000 for m3")]);
        story.launched(game);
        story.crashes(game);
        assert!(!is_failing(&story));
    }
    // A good one comes back, and is taken at once.
    story.exits(2);
    assert_eq!(for_games(&story.after_ms(5000)), ["launch g8 solo :20001 for m3"]);
}

#[test]
fn a_port_that_something_else_holds_at_the_end_of_a_launch_is_to_blame() {
    let mut story = Story::begin(ports(1), vec![mode("solo", 1, 0)]);
    story.ready(1, "solo");
    for (game, rest) in [(1, 1000), (2, 2000), (3, 4000)] {
        story.launched(game);
        story.port_taken(game);
        assert_eq!(for_games(&story.crashes(game)), NOTHING);
        assert_eq!(for_games(&story.after_ms(rest - 1)), NOTHING);
        let next = format!("launch g{} solo :20000 for m1", game + 1);
        assert_eq!(for_games(&story.after_ms(1)), [next]);
    }
    assert!(!story.brain.mode_figures(brain::ModeId(0)).is_failing);
}

#[test]
fn a_busy_port_is_told_of_once_in_a_while() {
    let mut config = ports(1);
    config.quarantine = Duration::ZERO;
    let mut story = Story::begin(config, vec![mode("solo", 1, 0)]);
    let wishes: usize = story.ready(1, "solo").len();
    let mut told = wishes;
    for game in 1..=61 {
        told += for_players(&story.port_busy(game)).len();
        told += for_players(&story.after_ms(1000)).len();
    }
    let news =
        |event: &&brain::Event| matches!(event, brain::Event::PortBusy { is_news: true, .. });
    assert_eq!(story.events.iter().filter(news).count(), 2, "in a minute");
    assert!(told < 12, "{told} lines for a player in a minute");
}

#[test]
fn who_waits_for_a_port_hears_that_there_are_fewer_ahead() {
    let mut config = ports(1);
    config.quarantine = Duration::ZERO;
    let mut story = Story::begin(config, vec![mode("solo", 1, 0), mode("duel", 2, 0)]);
    play(&mut story, 1, "solo", 1);
    for connection in 2..=9 {
        story.ready(connection, if connection == 3 || connection == 4 { "duel" } else { "solo" });
    }
    let last = story.ready(10, "solo");
    assert_eq!(last, ["10: QUEUED 1/1", "10: WAITING no-port behind 7"]);
    let mut heard = Vec::new();
    for game in 1..=7 {
        heard.extend(story.exits(game));
        heard.extend(story.launched(game + 1));
        heard.extend(story.says_ready(game + 1));
        heard.extend(story.says_started(game + 1));
        heard.extend(story.after_ms(2000));
    }
    heard.retain(|wish| wish.starts_with("10: "));
    let ahead = [5, 3, 2, 1].map(|ahead| format!("10: WAITING no-port behind {ahead}"));
    assert_eq!(heard[..4], ahead, "{heard:?}");
    assert!(heard.len() <= 6, "{heard:?}");
}
