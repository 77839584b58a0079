//! When games are launched to be warm: not beside a match on its way to its players, and not too late.

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

#[test]
fn a_game_that_is_taken_is_replaced_once_its_players_are_in() {
    let mut story = Story::begin_warm(ports(2), vec![mode("solo", 1, 1)]);
    assert_eq!(for_games(&story.ready(1, "solo")), ["start g1 m1"]);
    assert_eq!(story.after_ms(4), NOTHING);
    // Now they are told where to play, and say hello.
    assert_eq!(story.says_started(1), ["1: ASSIGN m1 :20000 slot 0/1"]);
    story.says_joined(1, 0);
    assert_eq!(story.after_ms(4), NOTHING);
    assert_eq!(story.after_ms(1), ["launch g2 solo :20001"]);
}

#[test]
fn every_step_of_a_match_in_whatever_mode_is_waited_for() {
    let mut story = Story::begin_warm(ports(9), vec![mode("solo", 1, 1), mode("duel", 2, 0)]);
    assert_eq!(for_games(&story.ready(1, "solo")), ["start g1 m1"]);
    story.ready(2, "duel");
    story.after_ms(3);
    assert_eq!(
        for_games(&story.ready(3, "duel")),
        ["launch g2 duel :20001 for m2"],
        "who waits is first"
    );
    story.launched(2);
    assert_eq!(story.after_ms(4), NOTHING, "a match was formed, and its game ordered");
    assert_eq!(story.says_ready(2), NOTHING);
    assert_eq!(for_players(&story.says_started(2)).len(), 2);
    assert_eq!(story.after_ms(4), NOTHING, "it was assigned");
    assert_eq!(story.after_ms(1), ["launch g3 solo :20002"]);
}

#[test]
fn matches_that_never_pause_do_not_use_up_what_is_warm() {
    let mut story = Story::begin_warm(ports(50), vec![mode("solo", 1, 20)]);
    for player in 1..=12 {
        story.ready(player, "solo");
        assert_eq!(story.after_ms(4), NOTHING);
    }
    story.ready(13, "solo");
    // The first was taken 50 ms ago. Even now few are ordered at a time, until all are.
    assert_eq!(story.after_ms(2), ["launch g21 solo :20020", "launch g22 solo :20021"]);
    story.ready(14, "solo");
    for game in 21..=32 {
        let next = format!("launch g{} solo :{}", game + 2, 20_000 + game + 1);
        assert_eq!(story.launched(game), [next]);
    }
    assert_eq!(story.launched(33), NOTHING);
    assert_eq!(story.launched(34), NOTHING, "fourteen for fourteen");
    // From here on it begins anew.
    story.ready(15, "solo");
    assert_eq!(story.after_ms(4), NOTHING);
    assert_eq!(story.after_ms(1), ["launch g35 solo :20034"]);
}

#[test]
fn the_wait_for_a_port_is_not_counted() {
    let mut story = Story::begin_warm(ports(2), vec![mode("solo", 1, 2)]);
    story.ready(1, "solo");
    story.says_started(1);
    story.exits(1);
    assert_eq!(story.after_ms(4_998), NOTHING);
    assert_eq!(for_games(&story.ready(2, "solo")), ["start g2 m2"]);
    story.says_started(2);
    // A game has been missing for five seconds, but there was no port for it. Now there is, and a match, too.
    assert_eq!(story.after_ms(2), NOTHING);
    assert_eq!(story.after_ms(2), NOTHING);
    assert_eq!(story.after_ms(1), ["launch g3 solo :20000"]);
}

#[test]
fn a_warm_game_that_dies_in_a_quiet_time_is_replaced_at_once() {
    let mut story = Story::begin_warm(ports(2), vec![mode("solo", 1, 1)]);
    assert_eq!(story.exits(1), ["launch g2 solo :20001"]);
}
