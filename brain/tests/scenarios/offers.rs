//! The ready check.

use std::time::Duration;

use brain::Mode;

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

fn with_check(mode: Mode) -> Mode {
    Mode { accept_timeout: Some(Duration::from_secs(10)), ..mode }
}

/// A match of three, found and offered: m1. A fourth player waits.
fn offered() -> Story {
    let mut story = Story::begin_warm(ports(1), vec![with_check(mode("party", 3, 1))]);
    for connection in 1..=4 {
        story.ready(connection, "party");
    }
    story
}

#[test]
fn a_match_is_one_when_all_have_accepted() {
    let mut story = Story::begin_warm(ports(1), vec![with_check(mode("duel", 2, 1))]);
    story.ready(1, "duel");
    let wishes = story.ready(2, "duel");
    assert_eq!(wishes, ["2: QUEUED 2/2", "1: FOUND m1 10s", "2: FOUND m1 10s"]);
    assert_eq!(story.accept(1), ["1: ACCEPTED 1/2", "2: ACCEPTED 1/2"]);
    // Twice is once.
    assert_eq!(story.accept(1), ["1: ACCEPTED 1/2", "2: ACCEPTED 1/2"]);
    assert_eq!(story.accept(2), ["1: ACCEPTED 2/2", "2: ACCEPTED 2/2", "start g1 m1"]);
    // It is too late to decline.
    assert_eq!(story.decline(2), ["2: ERR 503 BAD_STATE"]);
    assert_eq!(for_games(&story.says_started(1)), NOTHING);
    assert_eq!(story.brain.totals().assigned, 2);
}

#[test]
fn who_declines_is_out_and_the_others_go_back_at_once() {
    let mut story = offered();
    story.accept(1);
    let wishes = story.decline(2);
    // The fourth takes the place of who went, and all three are asked.
    assert_eq!(wishes[..3], ["2: EVICTED declined", "1: REQUEUED 1", "3: REQUEUED 2"]);
    assert_eq!(wishes[3..], ["1: FOUND m2 10s", "3: FOUND m2 10s", "4: FOUND m2 10s"]);
    assert_eq!(story.decline(2), ["2: ERR 503 BAD_STATE"]);
    assert_eq!(for_players(&story.ready(2, "party")), ["2: QUEUED 1/3"]);
    assert_eq!(story.brain.totals().evicted, 1);
}

#[test]
fn who_says_nothing_is_out_when_the_time_is_over() {
    let mut story = offered();
    story.accept(2);
    assert_eq!(story.after_ms(9_999), NOTHING);
    let wishes = story.after_ms(1);
    assert_eq!(wishes, ["1: EVICTED timeout", "3: EVICTED timeout", "2: REQUEUED 1"]);
    assert_eq!(story.brain.totals().evicted, 2);
}

#[test]
fn an_answer_that_comes_too_late_is_none() {
    let mut story = offered();
    story.accept(1);
    story.accept(2);
    story.after_ms_unnoticed(10_000);
    let wishes = story.accept(3);
    assert_eq!(wishes[..3], ["3: EVICTED timeout", "1: REQUEUED 1", "2: REQUEUED 2"]);
    assert!(wishes.contains(&"3: ERR 503 BAD_STATE".to_owned()), "{wishes:?}");
}

#[test]
fn who_is_lost_meanwhile_keeps_its_place_and_the_others_theirs() {
    let mut story = offered();
    story.accept(1);
    let wishes = story.lost(1);
    assert_eq!(wishes[..2], ["2: REQUEUED 1", "3: REQUEUED 2"]);
    assert_eq!(wishes[2..], ["2: FOUND m2 10s", "3: FOUND m2 10s", "4: FOUND m2 10s"]);
    assert_eq!(story.resume(5, 1), ["5: QUEUED 1/3"]);
    assert_eq!(story.brain.totals().evicted, 0);
}

#[test]
fn who_takes_its_session_over_is_asked_again() {
    let mut story = offered();
    story.accept(1);
    story.after_ms(4_000);
    assert_eq!(
        story.resume(5, 1),
        ["1: replaced", "5: QUEUED 1/3", "5: FOUND m1 6s", "5: ACCEPTED 1/3"]
    );
    assert_eq!(story.resume(6, 2)[1..], ["6: QUEUED 1/3", "6: FOUND m1 6s"]);
    story.accept(6);
    assert_eq!(for_games(&story.accept(3)), ["start g1 m1"]);
}

#[test]
fn who_leaves_takes_the_match_along() {
    let mut story = offered();
    let wishes = story.leave(1);
    assert_eq!(wishes[..3], ["1: LEFT", "2: REQUEUED 1", "3: REQUEUED 2"]);
}

#[test]
fn who_comes_back_does_not_take_an_accepted_match_apart() {
    let mut story = Story::begin(ports(1), vec![with_check(mode("duel", 2, 0))]);
    story.ready(1, "duel");
    story.lost(1);
    story.ready(2, "duel");
    story.ready(3, "duel");
    story.accept(2);
    story.accept(3);
    story.resume(4, 1);
    story.launched(1);
    assert_eq!(for_players(&story.says_started(1)).len(), 2);
}

#[test]
fn an_offer_ends_when_muster_goes_down() {
    let mut story = offered();
    let wishes = story.drain();
    let refused = (1..=4).map(|connection| format!("{connection}: ERR 421 DRAINING"));
    assert_eq!(for_players(&wishes), refused.collect::<Vec<_>>());
    story.exits(1);
    assert_eq!(story.brain.next_deadline(), None);
}
