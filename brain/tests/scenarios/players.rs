//! Players: how they are put together, and what becomes of the others when one goes.

use std::time::Duration;

use brain::{Event, MatchEnd};

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

#[test]
fn a_match_of_two_from_the_first_word_to_the_last() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    assert_eq!(story.ready(1, "duel"), ["1: QUEUED 1/2"]);
    assert_eq!(
        story.ready(2, "duel"),
        [
            "2: QUEUED 2/2",
            "launch g1 duel :20000 for m1",
            "1: WAITING game-starting",
            "2: WAITING game-starting"
        ]
    );
    assert_eq!(story.launched(1), NOTHING);
    assert_eq!(story.says_ready(1), NOTHING);
    // Nobody is told of a port that may not answer yet.
    assert_eq!(
        story.says_started(1),
        ["1: ASSIGN m1 :20000 slot 0/2", "2: ASSIGN m1 :20000 slot 1/2"]
    );
    // Their connections are closed now; that is no loss.
    assert_eq!(story.lost(1), NOTHING);
    assert_eq!(story.says_joined(1, 0), NOTHING);
    story.says_result(1);
    assert_eq!(story.exits(1), NOTHING);
    let ended = story
        .events
        .iter()
        .any(|event| matches!(event, Event::MatchEnded { end: MatchEnd::Finished(_), .. }));
    assert!(ended, "{:?}", story.events);
    assert_eq!(story.brain.totals().assigned, 2);
}

#[test]
fn who_leaves_the_queue_makes_room() {
    let mut story = Story::begin(ports(1), vec![mode("party", 3, 0)]);
    story.ready(1, "party");
    story.ready(2, "party");
    assert_eq!(story.leave(1), ["1: LEFT"]);
    assert_eq!(story.leave(1), ["1: ERR 503 BAD_STATE"]);
    // READY again is a new place, at the end.
    assert_eq!(story.ready(1, "party"), ["1: QUEUED 2/3"]);
    assert_eq!(story.lost(2), NOTHING);
    assert_eq!(story.ready(3, "party"), ["3: QUEUED 2/3"]);
}

#[test]
fn who_leaves_a_match_that_waits_sends_the_others_back_to_their_places() {
    let mut story = Story::begin(ports(1), vec![mode("party", 3, 0)]);
    for connection in 1..=5 {
        story.ready(connection, "party");
    }
    // 1, 2 and 3 are a match; 4 and 5 wait. 2 goes, and 4 takes the place after 1 and 3.
    let wishes = story.leave(2);
    assert_eq!(wishes[..3], ["2: LEFT", "1: REQUEUED 1", "3: REQUEUED 2"].map(String::from));
    let formed: Vec<_> = story
        .events
        .iter()
        .filter_map(|event| match event {
            Event::MatchFormed { players, .. } => {
                Some(players.iter().map(|player| player.0).collect::<Vec<_>>())
            }
            _ => None,
        })
        .collect();
    assert_eq!(formed, [[1, 2, 3], [1, 3, 4]]);
}

#[test]
fn who_goes_back_is_not_overtaken_by_those_who_stand_in_line() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    story.ready(2, "duel");
    story.launched(1);
    story.says_ready(1);
    story.says_started(1);
    // Two matches wait for the one port: 3 and 4, then 5 and 6. 3 goes, and 7 comes.
    for connection in 3..=6 {
        story.ready(connection, "duel");
    }
    assert_eq!(story.leave(3), ["3: LEFT", "4: REQUEUED 1"]);
    story.ready(7, "duel");
    story.exits(1);
    // 4 plays with 5, who came next; 6 is to play with 7. Nobody is left who could play.
    assert_eq!(for_games(&story.after_ms(5000)), ["launch g2 duel :20000 for m5"]);
    story.launched(2);
    let assigned = story.says_started(2);
    assert_eq!(assigned, ["4: ASSIGN m5 :20000 slot 0/2", "5: ASSIGN m5 :20000 slot 1/2"]);
    story.exits(2);
    story.after_ms(5000);
    story.launched(3);
    story.says_ready(3);
    let assigned = story.says_started(3);
    assert_eq!(assigned, ["6: ASSIGN m6 :20000 slot 0/2", "7: ASSIGN m6 :20000 slot 1/2"]);
}

#[test]
fn the_last_in_line_waits_when_one_is_missing() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    for connection in 1..=4 {
        story.ready(connection, "duel");
    }
    story.lost(1);
    assert_eq!(story.launched(1), ["SIGKILL g1"]);
    let wishes = story.exits(1);
    assert_eq!(for_players(&wishes)[0], "4: REQUEUED 1");
    story.launched(2);
    assert_eq!(
        story.says_started(2),
        ["2: ASSIGN m3 :20000 slot 0/2", "3: ASSIGN m3 :20000 slot 1/2"]
    );
}

#[test]
fn who_leaves_while_the_game_starts_costs_the_game_and_not_the_others_places() {
    let mut story = Story::begin_warm(ports(2), vec![mode("duel", 2, 1)]);
    story.ready(1, "duel");
    let wishes = story.ready(2, "duel");
    assert_eq!(for_games(&wishes), ["start g1 m1"]);
    assert_eq!(story.after_a_quiet_moment(), ["launch g2 duel :20001"]);
    assert_eq!(story.lost(1), ["SIGKILL g1", "2: REQUEUED 1"]);
    // The game was sent two players and may say so late. Nobody is told.
    assert_eq!(story.says_started(1), NOTHING);
    let wishes = story.ready(3, "duel");
    assert_eq!(for_players(&wishes)[0], "3: QUEUED 2/2");
    assert_eq!(story.launched(2), NOTHING);
    assert_eq!(story.says_ready(2), ["start g2 m2"]);
}

#[test]
fn ready_twice_is_refused_and_costs_nothing() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0), mode("arena", 2, 0)]);
    story.ready(1, "duel");
    assert_eq!(story.ready(1, "duel"), ["1: ERR 503 BAD_STATE"]);
    assert_eq!(story.ready(1, "arena"), ["1: ERR 503 BAD_STATE"]);
    assert_eq!(story.ready(2, "chess"), ["2: ERR 504 NO_SUCH_QUEUE"]);
    assert_eq!(story.brain.totals().joined, 1);
}

#[test]
fn a_full_queue_refuses_until_there_is_room() {
    let mut config = ports(1);
    config.queue_max = 2;
    let mut story = Story::begin(config, vec![mode("duel", 2, 0), mode("arena", 2, 0)]);
    story.ready(1, "duel");
    story.ready(2, "duel");
    // Those whose match waits for a game count: they wait as well. Those who are away do until their place is needed.
    assert_eq!(story.ready(3, "duel"), ["3: ERR 452 QUEUE_FULL"]);
    assert_eq!(story.ready(3, "arena"), ["3: QUEUED 1/2"]);
    story.lost(2);
    assert_eq!(for_players(&story.ready(4, "duel"))[0], "4: QUEUED 2/2");
    assert_eq!(story.resume(5, 2), ["5: ERR 505 BAD_RESUME"]);
    story.leave(1);
    assert_eq!(for_players(&story.ready(6, "duel"))[0], "6: QUEUED 2/2");
}

#[test]
fn a_player_alone_is_a_match_where_the_mode_says_so() {
    let mut story = Story::begin_warm(ports(1), vec![mode("solo", 1, 1)]);
    assert_eq!(story.ready(1, "solo"), ["1: QUEUED 1/1", "start g1 m1"]);
    assert_eq!(story.says_started(1), ["1: ASSIGN m1 :20000 slot 0/1"]);
}

#[test]
fn spans_as_long_as_for_ever_are_no_trouble() {
    let for_ever = |mut mode: brain::Mode| {
        mode.ready_timeout = Duration::MAX;
        mode.start_timeout = Duration::MAX;
        mode.max_duration = Duration::MAX;
        mode.stop_grace = Duration::MAX;
        mode.alive_timeout = Some(Duration::MAX);
        mode
    };
    let mut config = ports(1);
    config.quarantine = Duration::MAX;
    config.drain_timeout = Duration::MAX;
    let mut story = Story::begin(config, vec![for_ever(mode("solo", 1, 1))]);
    story.after_ms(1);
    story.launched(1);
    story.says_ready(1);
    story.ready(1, "solo");
    assert_eq!(story.says_started(1), ["1: ASSIGN m1 :20000 slot 0/1"]);
    story.says_alive(1);
    story.drain();
    assert_eq!(story.exits(1), ["drained"]);
}
