//! Games: warm and cold, good and bad, and how they are brought to their end.

use std::time::Duration;

use brain::{Event, GameFault};

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

#[test]
fn a_warm_game_is_taken_at_once_and_replaced() {
    let mut story = Story::begin(ports(3), vec![mode("duel", 2, 2)]);
    assert_eq!(story.after_ms(0), ["launch g1 duel :20000", "launch g2 duel :20001"]);
    for game in [1, 2] {
        assert_eq!(story.launched(game), NOTHING);
        assert_eq!(story.says_ready(game), NOTHING);
    }
    story.ready(1, "duel");
    // Nobody is told to wait: the game is there. Its successor comes a little later.
    assert_eq!(story.ready(2, "duel"), ["2: QUEUED 2/2", "start g1 m1"]);
    assert_eq!(story.after_a_quiet_moment(), ["launch g3 duel :20002"]);
}

#[test]
fn a_game_that_launches_for_warmth_serves_the_match_that_comes_first() {
    let mut story = Story::begin(ports(3), vec![mode("solo", 1, 1)]);
    assert_eq!(story.after_ms(0), ["launch g1 solo :20000"]);
    // The match takes the game that is on its way, and another one is launched to be warm.
    assert_eq!(story.ready(1, "solo"), ["1: QUEUED 1/1", "1: WAITING game-starting"]);
    assert_eq!(story.after_a_quiet_moment(), ["launch g2 solo :20001"]);
    story.launched(2);
    assert_eq!(story.says_ready(2), ["start g2 m1"]);
}

#[test]
fn the_first_failure_is_forgiven_and_the_next_ones_are_told() {
    let mut story = Story::begin(ports(1), vec![mode("solo", 1, 0)]);
    assert_eq!(for_games(&story.ready(1, "solo")), ["launch g1 solo :20000 for m1"]);
    assert_eq!(story.launch_failed(1), ["launch g2 solo :20000 for m1"]);
    assert_eq!(story.launch_failed(2), ["1: WAITING game-failing"]);
    assert_eq!(story.after_ms(249), NOTHING);
    // A try gives hope, which is told if it lasts.
    assert_eq!(story.after_ms(1), ["launch g3 solo :20000 for m1"]);
    assert_eq!(story.launch_failed(3), NOTHING);
    assert_eq!(story.after_ms(499), NOTHING);
    assert_eq!(story.after_ms(1), ["launch g4 solo :20000 for m1"]);
    assert_eq!(story.after_ms(249), NOTHING);
    assert_eq!(story.after_ms(1), ["1: WAITING game-starting"]);
    story.launched(4);
    story.says_ready(4);
    assert_eq!(story.says_started(4), ["1: ASSIGN m1 :20000 slot 0/1"]);
    // It works again: the next failure is a first one.
    story.exits(4);
    story.after_ms(5000);
    story.ready(2, "solo");
    assert_eq!(story.launch_failed(5), ["launch g6 solo :20000 for m2"]);
}

/// Matches that die at once, one after another, are failures of their mode, though each game started.
#[test]
fn matches_that_die_at_once_count_as_failures() {
    let mut story = Story::begin(ports(8), vec![mode("solo", 1, 0)]);
    let dies = |story: &mut Story, game: u64| {
        story.launched(game);
        story.says_ready(game);
        assert_eq!(story.says_started(game).len(), 1, "g{game} plays");
        story.after_ms(10);
        story.crashes(game);
    };
    let failures = |story: &Story| {
        let is_failure = |event: &&Event| {
            matches!(event, Event::GameFailed { fault: GameFault::EndedSoon { .. }, .. })
        };
        story.events.iter().filter(is_failure).count()
    };
    for game in 1..=3 {
        assert_eq!(
            for_games(&story.ready(game, "solo")),
            [format!("launch g{game} solo :{} for m{game}", 19_999 + game)]
        );
        dies(&mut story, game);
    }
    assert_eq!(failures(&story), 1);
    assert!(story.brain.mode_figures(brain::ModeId(0)).is_failing);
    // Who comes now waits for a pause to end.
    assert_eq!(story.ready(4, "solo"), ["4: QUEUED 1/1", "4: WAITING game-failing"]);
    assert_eq!(for_games(&story.after_ms(250)), ["launch g4 solo :20003 for m4"]);
    dies(&mut story, 4);
    assert_eq!(failures(&story), 2);
    story.ready(5, "solo");
    assert_eq!(for_games(&story.after_ms(499)), NOTHING);
    assert_eq!(for_games(&story.after_ms(1)), ["launch g5 solo :20004 for m5"]);
    // This one lasts: all is well again, while it is played.
    story.launched(5);
    story.says_ready(5);
    story.says_started(5);
    story.after_ms(999);
    assert!(story.brain.mode_figures(brain::ModeId(0)).is_failing);
    story.after_ms(1);
    assert!(!story.brain.mode_figures(brain::ModeId(0)).is_failing);
    story.crashes(5);
    assert_eq!(failures(&story), 2);
}

#[test]
fn a_pause_is_kept_by_a_loop_that_wakes_late() {
    let mut story = Story::begin_warm(ports(2), vec![mode("solo", 1, 1)]);
    story.ready(1, "solo");
    story.after_a_quiet_moment();
    // g1 has two seconds to start; the games that are to follow it fail, the fifth of them at 1,755 ms.
    story.launch_failed(2);
    story.launch_failed(3);
    for (pause_ms, game) in [(250, 4), (500, 5), (1000, 6)] {
        assert_eq!(for_games(&story.after_ms(pause_ms)), [format!("launch g{game} solo :20001")]);
        story.launch_failed(game);
    }
    // A pause of two seconds began. By the time the loop wakes both it and the time of g1 are over: the failure
    // of g1 starts a pause of its own, which must not end with the one before.
    assert_eq!(for_games(&story.after_ms(8_250)), ["SIGKILL g1"]);
    story.exits(1);
    assert_eq!(for_games(&story.after_ms(3_999)), NOTHING);
    assert_eq!(for_games(&story.after_ms(1)), ["launch g7 solo :20001 for m1"]);
}

#[test]
fn a_game_that_is_never_ready_is_killed_and_what_it_says_then_is_ignored() {
    let mut story = Story::begin(ports(2), vec![mode("solo", 1, 0)]);
    story.ready(1, "solo");
    story.launched(1);
    assert_eq!(story.after_ms(4999), NOTHING);
    assert_eq!(story.after_ms(1), ["SIGKILL g1", "launch g2 solo :20001 for m1"]);
    assert_eq!(story.says_ready(1), NOTHING);
    assert_eq!(story.says_started(1), NOTHING);
    assert_eq!(story.exits(1), NOTHING);
    assert_eq!(story.says_ready(1), NOTHING);
    let fault = story.events.iter().find_map(|event| match event {
        Event::GameFailed { fault, .. } => Some(fault.clone()),
        _ => None,
    });
    assert_eq!(fault, Some(GameFault::NotReady));
}

#[test]
fn a_game_that_is_told_to_end_before_it_exists_is_killed_as_soon_as_it_does() {
    let mut story = Story::begin(ports(1), vec![mode("solo", 1, 1)]);
    assert_eq!(story.after_ms(0), ["launch g1 solo :20000"]);
    // The launch takes longer than the game may take to be ready. Its port stays taken.
    assert_eq!(story.after_ms(5000), NOTHING);
    assert_eq!(story.launched(1), ["SIGKILL g1"]);
    assert_eq!(story.launched(1), NOTHING);
    assert_eq!(story.exits(1), ["launch g2 solo :20000"]);
}

#[test]
fn a_game_that_never_starts_gives_its_players_back() {
    let mut story = Story::begin_warm(ports(3), vec![mode("duel", 2, 1)]);
    for connection in 1..=4 {
        story.ready(connection, "duel");
    }
    story.launched(2);
    assert_eq!(story.says_ready(2), NOTHING);
    assert_eq!(story.after_a_quiet_moment(), ["launch g3 duel :20002"]);
    // The first match was started first, fails first, and comes before all others again.
    let wishes = story.after_ms(1995);
    assert_eq!(for_games(&wishes), ["SIGKILL g1", "SIGKILL g2"]);
    story.launched(3);
    assert_eq!(story.says_ready(3), ["start g3 m1"]);
}

#[test]
fn a_game_that_ends_before_it_started_costs_its_players_nothing() {
    let mut story = Story::begin_warm(ports(2), vec![mode("solo", 1, 1)]);
    assert_eq!(for_games(&story.ready(1, "solo")), ["start g1 m1"]);
    assert_eq!(story.after_a_quiet_moment(), ["launch g2 solo :20001"]);
    assert_eq!(for_players(&story.exits(1)), ["1: WAITING game-starting"]);
    story.launched(2);
    assert_eq!(story.says_ready(2), ["start g2 m1"]);
    assert_eq!(story.says_started(2), ["1: ASSIGN m1 :20001 slot 0/1"]);
}

#[test]
fn a_game_that_breaks_the_contract_is_killed() {
    let mut story = Story::begin_warm(ports(2), vec![mode("solo", 1, 1)]);
    assert_eq!(for_games(&story.breaks_contract(1)), ["SIGKILL g1", "launch g2 solo :20001"]);
    assert_eq!(story.breaks_contract(1), NOTHING);
    assert_eq!(story.breaks_contract(7), NOTHING);
}

#[test]
fn a_game_whose_time_is_over_is_asked_then_told_then_killed() {
    let mut story = Story::begin_warm(ports(1), vec![mode("solo", 1, 1)]);
    story.ready(1, "solo");
    story.says_started(1);
    assert_eq!(story.after_ms(600_000), ["stop g1"]);
    assert_eq!(story.after_ms(2000), ["SIGTERM g1"]);
    // Its result counts until the end, once.
    story.says_result(1);
    story.says_result(1);
    assert_eq!(story.after_ms(2000), ["SIGKILL g1"]);
    // Whatever keeps it, it gets no peace.
    assert_eq!(story.after_ms(2000), ["SIGKILL g1"]);
    story.exits(1);
    let results = |event: &&Event| matches!(event, Event::MatchResult { .. });
    assert_eq!(story.events.iter().filter(results).count(), 1);
}

#[test]
fn a_heartbeat_that_is_missed_ends_the_game() {
    let mut heart = mode("solo", 1, 1);
    heart.alive_timeout = Some(Duration::from_secs(3));
    let mut story = Story::begin_warm(ports(1), vec![heart]);
    story.ready(1, "solo");
    story.says_started(1);
    for _ in 0..5 {
        assert_eq!(story.after_ms(2999), NOTHING);
        story.says_alive(1);
    }
    assert_eq!(story.after_ms(2999), NOTHING);
    assert_eq!(story.after_ms(1), ["SIGKILL g1"]);
}

#[test]
fn hostile_slots_are_not_reported() {
    let mut story = Story::begin_warm(ports(1), vec![mode("solo", 1, 1)]);
    story.ready(1, "solo");
    story.says_joined(1, 0);
    story.says_started(1);
    for slot in [1, 7, usize::MAX, 0] {
        story.says_joined(1, slot);
    }
    let joined = story.events.iter().filter(|event| matches!(event, Event::PlayerJoined { .. }));
    assert_eq!(joined.count(), 1, "slot 0, once its players were told");
}

#[test]
fn the_end_of_every_game_is_reported_once_with_who_came() {
    let mut story = Story::begin_warm(ports(4), vec![mode("party", 3, 1)]);
    for connection in 1..=3 {
        story.ready(connection, "party");
    }
    story.says_joined(1, 1);
    story.says_started(1);
    for slot in [2, 0, 2, 3] {
        story.says_joined(1, slot);
    }
    story.after_a_quiet_moment();
    story.after_ms(1500);
    story.exits(1);
    story.exits(1);
    // One that was never ready, and one that never existed.
    story.launched(2);
    story.breaks_contract(2);
    story.exits(2);
    story.launch_failed(3);
    let ended = story.events.iter().filter_map(|event| match event {
        Event::GameEnded { game, match_id, lived, joined, .. } => {
            Some((game.0, match_id.map(|id| id.0), lived.as_millis(), joined.clone()))
        }
        _ => None,
    });
    let expected = [(1, Some(1), 1505, vec![0, 2]), (2, None, 1500, vec![])];
    assert_eq!(ended.collect::<Vec<_>>(), expected);
}

#[test]
fn a_game_that_hears_no_stop_gets_its_signal_at_once_and_its_whole_grace() {
    let mut plain = mode("solo", 1, 1);
    plain.has_control = false;
    let mut story = Story::begin_warm(ports(1), vec![plain]);
    story.ready(1, "solo");
    story.says_started(1);
    assert_eq!(story.end_game(1, false), ["SIGTERM g1"]);
    // It is asked once, whatever else wants it to end.
    assert_eq!(story.end_game(1, false), NOTHING);
    assert_eq!(story.drain(), NOTHING);
    assert!(story.brain.may_end_in_peace(brain::GameId(1)));
    assert_eq!(story.after_ms(3999), NOTHING);
    assert_eq!(story.after_ms(1), ["SIGKILL g1"]);
    assert!(!story.brain.may_end_in_peace(brain::GameId(1)));
}
