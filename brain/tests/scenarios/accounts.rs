//! Accounts: their charges, and the pauses that follow.

use std::time::Duration;

use brain::{Account, Config, Event, Mode, ModeId, limits};

use crate::story::{NOTHING, Story, for_players, mode, ports};

const ADA: Account = Account(1);
const BOB: Account = Account(2);
const MALLORY: Account = Account(66);

fn bounded(ports: Config) -> Config {
    Config { seats_per_account: 16, ..ports }
}

fn away(story: &Story) -> usize {
    story.brain.mode_status(ModeId(0)).away
}

/// A brain with a ring of 40 ports, and connections 100 to 100 + `players` of Mallory who want to play in pairs.
fn crowd(players: u64, duel: Mode) -> Story {
    let mut story = Story::begin(bounded(ports(40)), vec![duel]);
    story.account = MALLORY;
    for connection in 100..100 + players {
        story.ready(connection, "duel");
    }
    story
}

/// Games 1 to `games` are launched and have started.
fn start_games(story: &mut Story, games: u64) -> usize {
    let mut assigned = 0;
    for game in 1..=games {
        story.launched(game);
        story.says_ready(game);
        let wishes = story.says_started(game);
        assigned += wishes.iter().filter(|wish| wish.contains("ASSIGN")).count();
    }
    assigned
}

#[test]
fn away_places_of_an_account_are_bounded_and_the_oldest_goes() {
    let config = Config { away_per_account: 2, ..ports(1) };
    let mut story = Story::begin(config, vec![mode("five", 5, 0)]);
    story.account = ADA;
    for connection in 1..=4 {
        story.ready(connection, "five");
        story.lost(connection);
        story.after_ms(10);
    }
    assert_eq!(away(&story), 2);
    assert_eq!(story.resume(11, 1), ["11: ERR 505 BAD_RESUME"]);
    assert_eq!(story.resume(13, 3)[0], "13: QUEUED 1/5");
    // Another's do not count.
    story.account = BOB;
    story.ready(20, "five");
    story.lost(20);
    assert_eq!(away(&story), 2);
}

#[test]
fn a_full_queue_takes_the_place_of_who_is_away_of_the_account_with_most() {
    let config = Config { queue_max: 6, ..ports(1) };
    let mut story = Story::begin(config, vec![mode("seven", 7, 0)]);
    for (connection, account) in [(1, ADA), (2, MALLORY), (3, MALLORY), (4, MALLORY), (5, BOB)] {
        story.account = account;
        story.ready(connection, "seven");
        if account != BOB {
            story.lost(connection);
        }
        story.after_ms(10);
    }
    story.account = BOB;
    // Mallory's two oldest give way to the second and the third; then hers and Ada's are as many, and Ada's is older.
    let positions = [6, 7, 8, 9].map(|connection| story.ready(connection, "seven"));
    assert_eq!(positions[0], ["6: QUEUED 2/7"]);
    assert_eq!(positions[3], ["9: QUEUED 5/7"]);
    assert_eq!(away(&story), 1);
    assert_eq!(story.resume(14, 4)[0], "14: QUEUED 1/7");
    // Whoever is here does not give way.
    assert_eq!(story.ready(10, "seven"), ["10: ERR 452 QUEUE_FULL"]);
    assert_eq!(story.resume(11, 1), ["11: ERR 505 BAD_RESUME"]);
}

#[test]
fn seats_that_nobody_has_come_into_are_bounded_and_others_go_first() {
    let mut story = crowd(61, mode("duel", 2, 0));
    // 16 seats, and no match more; whoever is passed over is not counted before others.
    assert_eq!(start_games(&mut story, 8), 16);
    story.account = ADA;
    assert_eq!(for_players(&story.ready(1, "duel")), ["1: QUEUED 1/2"]);
    story.account = BOB;
    let wishes = story.ready(2, "duel");
    assert_eq!(for_players(&wishes)[..2], ["2: QUEUED 2/2", "1: WAITING game-starting"]);
    story.launched(9);
    story.says_ready(9);
    let assigned = story.says_started(9);
    assert_eq!(assigned.len(), 2, "{assigned:?}");
    assert!(assigned[0].starts_with("1: ASSIGN ") && assigned[1].starts_with("2: ASSIGN "));
    // A player who comes in makes room for others of its address.
    let wishes = story.says_joined(1, 0);
    assert_eq!(for_players(&wishes), ["116: WAITING game-starting", "117: WAITING game-starting"]);
}

#[test]
fn an_account_whose_seats_are_not_taken_pauses_longer_each_time() {
    let mut story = crowd(16, mode("duel", 2, 0));
    assert_eq!(start_games(&mut story, 8), 16);
    story.after_ms(10_000 + 500);
    let pauses: Vec<Duration> = story
        .events
        .iter()
        .filter_map(|event| match event {
            Event::AccountPaused { account, pause } if *account == MALLORY => Some(*pause),
            _ => None,
        })
        .collect();
    // Four are free.
    assert_eq!(pauses.len(), 12);
    assert_eq!(pauses[..3], [1, 2, 4].map(Duration::from_secs));
    assert_eq!(pauses.last(), Some(&limits::PAUSE_MAX));
    assert_eq!(story.ready(200, "duel"), ["200: ERR 429 TOO_MANY"]);
    // Nobody else is concerned.
    story.account = ADA;
    assert_eq!(story.ready(1, "duel"), ["1: QUEUED 1/2"]);
    // When it is over, one match at a time.
    story.account = MALLORY;
    story.after_ms(300_000);
    for connection in 201..=206 {
        story.ready(connection, "duel");
    }
    let figures = story.brain.accounts_held();
    assert_eq!(figures, 1, "it holds a seat");
}

#[test]
fn whoever_waits_when_its_account_pauses_keeps_its_place_and_is_passed_over() {
    let mut story = crowd(18, mode("duel", 2, 0));
    start_games(&mut story, 8);
    story.after_ms(10_500);
    // 116 and 117 were not matched; they wait for the end of the pause.
    story.account = ADA;
    assert_eq!(story.ready(1, "duel"), ["1: QUEUED 1/2"]);
    story.after_ms(299_000);
    assert_eq!(story.brain.mode_status(ModeId(0)).waiting, 3);
    let wishes = story.after_ms(1_500);
    assert!(wishes.iter().any(|it| it.starts_with("launch ")), "{wishes:?}");
    assert!(wishes.iter().any(|it| it.starts_with("116: WAITING")), "{wishes:?}");
}

#[test]
fn players_who_come_in_pay_for_those_who_do_not() {
    let mut story = crowd(0, mode("duel", 2, 0));
    // Many of one address, of whom one in ten never comes.
    for game in 1..=40_u64 {
        let connections = [2 * game, 2 * game + 1];
        for connection in connections {
            story.ready(connection, "duel");
        }
        story.launched(game);
        story.says_ready(game);
        story.says_started(game);
        story.says_joined(game, 0);
        if game % 5 != 0 {
            story.says_joined(game, 1);
        }
        story.after_ms(10_500);
        story.exits(game);
        story.after_ms(5_000);
    }
    assert!(!story.events.iter().any(|event| matches!(event, Event::AccountPaused { .. })));
}

#[test]
fn a_game_that_fails_is_held_against_nobody() {
    let mut story = crowd(16, mode("duel", 2, 0));
    start_games(&mut story, 8);
    story.after_ms(100);
    for game in 1..=8 {
        story.exits(game);
    }
    story.after_ms(20_000);
    assert_eq!(story.ready(200, "duel")[0], "200: QUEUED 1/2");
}

#[test]
fn nothing_is_held_against_players_of_games_that_do_not_say_who_came() {
    let mut story = crowd(60, Mode { has_control: false, ..mode("duel", 2, 0) });
    assert_eq!(start_games(&mut story, 30), 60);
    story.after_ms(20_000);
    assert_eq!(story.ready(200, "duel"), ["200: QUEUED 1/2"]);
}

#[test]
fn declining_costs_more_each_time_and_accepting_pays_back() {
    let duel = Mode { accept_timeout: Some(Duration::from_secs(10)), ..mode("duel", 2, 0) };
    let mut story = Story::begin(bounded(ports(4)), vec![duel]);
    story.account = ADA;
    story.ready(1, "duel");
    let mut refused = 0;
    for connection in 100..110 {
        story.account = MALLORY;
        let wishes = story.ready(connection, "duel");
        if wishes == [format!("{connection}: ERR 429 TOO_MANY")] {
            refused += 1;
            continue;
        }
        story.decline(connection);
    }
    assert_eq!(refused, 5, "four are free, and the fifth is followed by a pause");
    assert_eq!(story.after_ms(1_000), NOTHING);
    assert_eq!(story.ready(200, "duel")[0], "200: QUEUED 2/2");
    // Going away is no way around it.
    story.lost(200);
    assert_eq!(story.ready(201, "duel"), ["201: ERR 429 TOO_MANY"]);
}

#[test]
fn codes_that_are_none_are_bounded_for_an_account() {
    let party = Mode { party_max: 2, ..mode("four", 4, 0) };
    let mut story = Story::begin(Config { parties_per_account: 2, ..ports(1) }, vec![party]);
    story.account = ADA;
    story.gather("AAAA", &[1]);
    story.account = MALLORY;
    let wrong = |story: &mut Story, connection| story.join_party(connection, "NONE");
    for connection in 100..100 + u64::from(limits::GUESSES_MAX) {
        assert_eq!(wrong(&mut story, connection), [format!("{connection}: ERR 506 BAD_PARTY")]);
    }
    assert_eq!(wrong(&mut story, 200), ["200: ERR 429 TOO_MANY"]);
    assert_eq!(story.join_party(201, "AAAA"), ["201: ERR 429 TOO_MANY"], "not even the right one");
    story.account = BOB;
    assert_eq!(story.join_party(2, "AAAA").len(), 2);
    story.account = MALLORY;
    story.after_ms(6_000);
    assert_eq!(wrong(&mut story, 202), ["202: ERR 506 BAD_PARTY"]);
    assert_eq!(wrong(&mut story, 203), ["203: ERR 429 TOO_MANY"]);
    // Nor has it more parties than it may, until one of them ends.
    story.gather("BBBB", &[300]);
    story.gather("CCCC", &[301]);
    assert_eq!(story.gather("DDDD", &[302]), ["302: ERR 429 TOO_MANY"]);
    story.quit(300);
    assert!(story.gather("DDDD", &[302])[0].contains("DDDD"));
}

#[test]
fn there_are_no_parties_where_no_queue_takes_them() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    assert_eq!(story.gather("AAAA", &[1]), ["1: ERR 506 BAD_PARTY"]);
}
