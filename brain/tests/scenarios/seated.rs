//! Games that are launched with their players, and launches that are lost on their way.

use brain::Event;

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

fn failures(story: &Story) -> usize {
    story.events.iter().filter(|event| matches!(event, Event::GameFailed { .. })).count()
}

#[test]
fn a_match_is_seated_at_launch_and_no_start_follows() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    assert_eq!(
        story.ready(2, "duel"),
        [
            "2: QUEUED 2/2",
            "launch g1 duel :20000 for m1",
            "1: WAITING game-starting",
            "2: WAITING game-starting"
        ]
    );
    assert_eq!(story.seated, ["player 1", "player 2"]);
    // What does not exist says nothing.
    assert_eq!(story.says_started(1), NOTHING);
    assert_eq!(story.launched(1), NOTHING);
    assert_eq!(
        story.says_started(1),
        ["1: ASSIGN m1 :20000 slot 0/2", "2: ASSIGN m1 :20000 slot 1/2"]
    );
    assert_eq!(story.exits(1), NOTHING);
}

#[test]
fn a_seated_game_has_its_time_to_be_ready_and_from_then_on_its_time_to_start() {
    let mut story = Story::begin(ports(2), vec![mode("solo", 1, 0)]);
    story.ready(1, "solo");
    story.launched(1);
    assert_eq!(story.after_ms(4_999), NOTHING);
    let wishes = story.after_ms(1);
    assert_eq!(for_games(&wishes), ["SIGKILL g1", "launch g2 solo :20001 for m1"]);
    assert_eq!(failures(&story), 1);
    story.exits(1);
    story.launched(2);
    story.after_ms(4_000);
    assert_eq!(story.says_ready(2), NOTHING);
    story.after_ms(1_000);
    // Only the first `ready` counts.
    assert_eq!(story.says_ready(2), NOTHING);
    assert_eq!(story.after_ms(999), NOTHING);
    assert_eq!(story.after_ms(1)[0], "SIGKILL g2");
}

#[test]
fn a_seated_game_that_fails_leaves_its_match_where_it_stood() {
    let mut story = Story::begin(ports(1), vec![mode("solo", 1, 0), mode("duel", 2, 0)]);
    story.ready(1, "solo");
    story.ready(2, "duel");
    story.ready(3, "duel");
    // The match of 1 comes before that of 2 and 3, however often its game fails.
    let again = |game| format!("launch g{game} solo :20000 for m1");
    assert_eq!(story.launch_failed(1), [again(2)]);
    story.launched(2);
    let wishes = story.exits(2);
    assert!(for_players(&wishes).contains(&"1: WAITING game-failing"), "{wishes:?}");
    assert_eq!(for_games(&wishes), ["launch g3 duel :20000 for m2"], "while solo pauses");
    assert_eq!(failures(&story), 2);
}

#[test]
fn who_leaves_before_the_game_exists_costs_the_game_as_soon_as_it_does() {
    let mut story = Story::begin(ports(2), vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    story.ready(2, "duel");
    assert_eq!(story.leave(1), ["1: LEFT", "2: REQUEUED 1"]);
    assert_eq!(for_games(&story.ready(3, "duel")), ["launch g2 duel :20001 for m2"]);
    assert_eq!(story.launched(1), ["SIGKILL g1"]);
    assert_eq!(story.says_started(1), NOTHING);
    assert_eq!(story.exits(1), NOTHING);
    assert_eq!(failures(&story), 0);
    story.launched(2);
    assert_eq!(story.lost(3), ["SIGKILL g2", "2: REQUEUED 1"]);
}

#[test]
fn whoever_came_first_is_seated_first() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    for connection in 1..=6 {
        story.ready(connection, "duel");
    }
    // 1 and 2 are seated; 3 and 4, 5 and 6 are in the line. 1 goes.
    story.leave(1);
    story.launched(1);
    let wishes = story.exits(1);
    assert_eq!(for_games(&wishes), ["launch g2 duel :20000 for m4"]);
    assert_eq!(for_players(&wishes)[0], "4: REQUEUED 1");
}

#[test]
fn seated_launches_count_as_launching_until_they_have_started() {
    let mut config = ports(4);
    config.launching_max = 2;
    let mut story = Story::begin(config, vec![mode("solo", 1, 0)]);
    for connection in 1..=3 {
        story.ready(connection, "solo");
    }
    assert_eq!(story.launched(1), NOTHING);
    assert_eq!(story.says_ready(1), NOTHING);
    let wishes = story.says_started(1);
    assert_eq!(for_games(&wishes), ["launch g3 solo :20002 for m3"]);
}

#[test]
fn a_game_that_is_launched_to_be_warm_takes_the_match_behind_the_seated_one() {
    let mut story = Story::begin(ports(2), vec![mode("solo", 1, 1)]);
    assert_eq!(story.after_ms(0), ["launch g1 solo :20000"]);
    assert_eq!(for_games(&story.ready(1, "solo")), NOTHING);
    assert_eq!(story.after_a_quiet_moment(), ["launch g2 solo :20001"]);
    story.ready(2, "solo");
    story.launched(1);
    // One game is launching for two matches, and a port comes back.
    assert_eq!(for_games(&story.interrupted(2)), ["launch g3 solo :20001 for m1"]);
    assert_eq!(story.says_ready(1), ["start g1 m2"]);
    assert_eq!(story.says_started(1), ["2: ASSIGN m2 :20000 slot 0/1"]);
}

#[test]
fn a_launch_that_was_interrupted_is_nobodys_fault() {
    let mut story = Story::begin(ports(1), vec![mode("solo", 1, 0), mode("duel", 2, 0)]);
    story.ready(1, "solo");
    for game in 1..=9 {
        // At once, on the same port.
        let wishes = story.interrupted(game);
        assert_eq!(for_games(&wishes), [format!("launch g{} solo :20000 for m1", game + 1)]);
        assert_eq!(for_players(&wishes), NOTHING, "nothing new to those who wait");
    }
    story.leave(1);
    story.launched(10);
    story.ready(2, "duel");
    story.ready(3, "duel");
    let again = |game| format!("launch g{game} duel :20000 for m2");
    assert_eq!(for_games(&story.exits(10)), [again(11)]);
    assert_eq!(for_games(&story.interrupted(11)), [again(12)]);
    assert_eq!(for_games(&story.interrupted(12)), [again(13)]);
    assert_eq!(failures(&story), 0);
}

#[test]
fn a_drain_lets_those_play_who_are_seated() {
    let mut story = Story::begin(ports(2), vec![mode("solo", 1, 0)]);
    story.ready(1, "solo");
    story.ready(2, "solo");
    assert_eq!(story.drain(), NOTHING);
    story.launched(1);
    assert_eq!(story.says_started(1), ["1: ASSIGN m1 :20000 slot 0/1"]);
    assert_eq!(story.interrupted(2), ["2: ERR 421 DRAINING"]);
    assert_eq!(story.exits(1), ["drained"]);
}
