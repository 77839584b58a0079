//! Going down: those who wait are sent off, those who play may play on for a while.

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

#[test]
fn an_idle_brain_is_drained_at_once_and_once() {
    let mut story = Story::begin(ports(1), vec![mode("solo", 1, 0)]);
    assert_eq!(story.drain(), ["drained"]);
    assert_eq!(story.drain(), NOTHING);
    assert_eq!(story.stop(), NOTHING);
    assert_eq!(story.ready(1, "solo"), ["1: ERR 421 DRAINING"]);
    assert_eq!(story.brain.next_deadline(), None);
}

#[test]
fn a_drain_in_the_middle_of_everything() {
    let mut config = ports(6);
    config.launching_max = 2;
    let mut story = Story::begin_warm(config, vec![mode("duel", 2, 3), mode("party", 3, 0)]);
    // g1 plays with 1 and 2, g2 starts for 3 and 4, g3 is warm; g4 exists and g5 does not yet.
    for connection in 1..=4 {
        story.ready(connection, "duel");
    }
    story.says_started(1);
    story.after_a_quiet_moment();
    story.launched(4);
    // 5 is queued; 6, 7 and 8 are a match that waits for a game.
    for connection in [6, 7, 8] {
        story.ready(connection, "party");
    }
    story.ready(5, "duel");
    let wishes = story.drain();
    assert_eq!(
        for_players(&wishes),
        [6, 7, 8, 5].map(|connection| format!("{connection}: ERR 421 DRAINING"))
    );
    assert_eq!(for_games(&wishes), ["stop g3", "stop g4"]);
    // Who is about to play still gets there.
    assert_eq!(for_players(&story.says_started(2)).len(), 2);
    assert_eq!(story.launched(5), ["SIGKILL g5"]);
    assert_eq!(story.says_ready(4), NOTHING);
    for game in [3, 4, 5, 1] {
        assert_eq!(story.exits(game), NOTHING);
    }
    assert_eq!(story.exits(2), ["drained"]);
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    let mut story = Story::begin_warm(ports(1), vec![mode("solo", 1, 1)]);
    story.ready(1, "solo");
    story.says_started(1);
    assert_eq!(story.drain(), NOTHING);
    assert_eq!(story.after_ms(29_999), NOTHING);
    assert_eq!(story.after_ms(1), ["stop g1"]);
    assert_eq!(story.after_ms(2000), ["SIGTERM g1"]);
    assert_eq!(story.after_ms(2000), ["SIGKILL g1"]);
    assert_eq!(story.exits(1), ["drained"]);
}

#[test]
fn who_was_about_to_play_is_sent_off_if_the_game_fails_during_the_drain() {
    let mut story = Story::begin_warm(ports(1), vec![mode("duel", 2, 1)]);
    story.ready(1, "duel");
    story.ready(2, "duel");
    assert_eq!(story.drain(), NOTHING);
    assert_eq!(story.exits(1), ["1: ERR 421 DRAINING", "2: ERR 421 DRAINING", "drained"]);
}

#[test]
fn who_is_about_to_play_and_says_ready_again_keeps_its_connection() {
    let mut story = Story::begin_warm(ports(1), vec![mode("solo", 1, 1)]);
    story.ready(1, "solo");
    story.drain();
    // DRAINING would close the connection, and with it lose the match.
    assert_eq!(story.ready(1, "solo"), ["1: ERR 503 BAD_STATE"]);
    assert_eq!(for_players(&story.says_started(1)).len(), 1);
}

#[test]
fn who_stays_when_another_leaves_during_the_drain_is_sent_off() {
    let mut story = Story::begin_warm(ports(1), vec![mode("duel", 2, 1)]);
    story.ready(1, "duel");
    story.ready(2, "duel");
    story.drain();
    assert_eq!(story.leave(1), ["1: LEFT", "SIGKILL g1", "2: ERR 421 DRAINING"]);
    assert_eq!(story.exits(1), ["drained"]);
}

#[test]
fn a_stop_kills_at_once_and_waits_for_the_dead() {
    let mut story = Story::begin_warm(ports(3), vec![mode("solo", 1, 1)]);
    story.ready(1, "solo");
    story.says_started(1);
    story.after_a_quiet_moment();
    story.launched(2);
    story.says_ready(2);
    story.ready(2, "solo");
    story.after_a_quiet_moment();
    // g1 plays, g2 starts, g3 does not exist yet.
    let wishes = story.stop();
    assert_eq!(for_players(&wishes), ["2: ERR 421 DRAINING"]);
    assert_eq!(for_games(&wishes), ["SIGKILL g1", "SIGKILL g2"]);
    assert_eq!(story.stop(), NOTHING);
    assert_eq!(story.exits(1), NOTHING);
    assert_eq!(story.exits(2), NOTHING);
    assert_eq!(story.launch_failed(3), ["drained"]);
}

#[test]
fn a_stop_cuts_a_drain_short() {
    let mut story = Story::begin_warm(ports(1), vec![mode("solo", 1, 1)]);
    story.ready(1, "solo");
    story.says_started(1);
    story.drain();
    story.after_ms_unnoticed(1000);
    assert_eq!(story.stop(), ["SIGKILL g1"]);
    assert_eq!(story.exits(1), ["drained"]);
    assert_eq!(story.after_ms(60_000), NOTHING);
}
