//! Players who lose their connection, and come back.

use std::time::Duration;

use brain::Mode;

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

const WINDOW_MS: u64 = 30_000;

fn with_rejoin(mode: Mode) -> Mode {
    Mode { rejoin: true, ..mode }
}

/// A match of two on connections 1 and 2 whose players were just told where to play: g1, m1.
fn assigned(mode: Mode) -> Story {
    let name = mode.name.clone();
    let mut story = Story::begin_warm(ports(1), vec![mode]);
    story.ready(1, &name);
    story.ready(2, &name);
    story.says_started(1);
    story
}

#[test]
fn who_is_away_keeps_its_place_and_is_passed_over() {
    let mut story = Story::begin(ports(1), vec![mode("party", 3, 0)]);
    story.ready(1, "party");
    story.ready(2, "party");
    assert_eq!(story.lost(1), NOTHING);
    assert_eq!(story.brain.mode_status(brain::ModeId(0)).waiting, 1);
    assert_eq!(story.brain.mode_status(brain::ModeId(0)).away, 1);
    // Nobody's place counts the player who is away.
    assert_eq!(story.ready(3, "party"), ["3: QUEUED 2/3"]);
    assert_eq!(story.resume(4, 1)[0], "4: QUEUED 1/3");
    story.launched(1);
    assert_eq!(story.says_ready(1), NOTHING);
    assert_eq!(story.says_started(1)[0], "4: ASSIGN m1 :20000 slot 0/3");
}

#[test]
fn a_match_is_formed_without_who_is_away() {
    let mut story = Story::begin(ports(2), vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    story.lost(1);
    story.ready(2, "duel");
    let wishes = story.ready(3, "duel");
    assert_eq!(for_players(&wishes)[0], "3: QUEUED 2/2");
    story.launched(1);
    story.says_ready(1);
    let assigned = story.says_started(1);
    assert_eq!(assigned, ["2: ASSIGN m1 :20000 slot 0/2", "3: ASSIGN m1 :20000 slot 1/2"]);
    // The first is the first again.
    assert_eq!(story.resume(4, 1), ["4: QUEUED 1/2"]);
}

#[test]
fn a_place_is_kept_for_its_window_and_no_longer() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    story.lost(1);
    assert_eq!(story.after_ms(WINDOW_MS - 1), NOTHING);
    assert_eq!(story.resume(2, 1), ["2: QUEUED 1/2"]);
    // Its time does not go on while it is here.
    story.after_ms(2 * WINDOW_MS);
    story.lost(2);
    story.after_ms(WINDOW_MS);
    assert_eq!(story.brain.totals().expired, 1);
    assert_eq!(story.resume(3, 1), ["3: ERR 505 BAD_RESUME"]);
    // As late, though the brain was not told that time has passed.
    story.ready(4, "duel");
    story.lost(4);
    story.after_ms_unnoticed(WINDOW_MS);
    assert_eq!(story.resume(5, 4), ["5: ERR 505 BAD_RESUME"]);
    assert_eq!(story.brain.totals().expired, 2);
    assert_eq!(story.brain.next_deadline(), None);
}

#[test]
fn without_a_window_a_loss_is_the_end() {
    let config = brain::Config { resume_window: Duration::ZERO, ..ports(1) };
    let mut story = Story::begin(config, vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    story.lost(1);
    assert_eq!(story.resume(2, 1), ["2: ERR 505 BAD_RESUME"]);
    assert_eq!(story.brain.totals().expired, 1);
}

#[test]
fn a_newer_connection_fences_the_older() {
    let mut story = Story::begin(ports(1), vec![mode("party", 3, 0)]);
    story.ready(1, "party");
    assert_eq!(story.resume(2, 1), ["1: replaced", "2: QUEUED 1/3"]);
    // What comes from the older one is about nobody.
    assert_eq!(story.lost(1), NOTHING);
    assert_eq!(story.leave(1), ["1: ERR 503 BAD_STATE"]);
    assert_eq!(story.quit(1), NOTHING);
    assert_eq!(story.resume(3, 1), ["2: replaced", "3: QUEUED 1/3"]);
    // On one's own connection there is nothing to take up.
    assert_eq!(story.resume(3, 1), ["3: ERR 503 BAD_STATE"]);
    assert_eq!(story.leave(3), ["3: LEFT"]);
    assert_eq!(story.resume(4, 1), ["4: ERR 505 BAD_RESUME"]);
}

#[test]
fn a_guess_and_a_key_of_a_session_that_is_over_are_refused() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    assert_eq!(story.resume_with_a_guess(2), ["2: ERR 505 BAD_RESUME"]);
    story.quit(1);
    assert_eq!(story.resume(2, 1), ["2: ERR 505 BAD_RESUME"]);
    assert_eq!(story.brain.totals().left, 1);
}

#[test]
fn who_is_lost_in_a_match_that_waits_goes_back_to_its_place_and_so_do_the_others() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    story.ready(2, "duel");
    assert_eq!(story.lost(1), ["2: REQUEUED 1"]);
    let wishes = story.resume(3, 1);
    assert_eq!(for_players(&wishes)[0], "3: QUEUED 1/2");
    assert_eq!(story.launched(1), ["SIGKILL g1"]);
    assert_eq!(for_games(&story.exits(1)), ["launch g2 duel :20000 for m2"]);
    story.launched(2);
    let assigned = story.says_started(2);
    assert_eq!(assigned, ["3: ASSIGN m2 :20000 slot 0/2", "2: ASSIGN m2 :20000 slot 1/2"]);
}

#[test]
fn who_is_replaced_in_a_match_that_waits_stays_in_it_and_hears_what_it_waits_for() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    story.ready(2, "duel");
    assert_eq!(story.resume(3, 1), ["1: replaced", "3: QUEUED 1/2", "3: WAITING game-starting"]);
    story.launched(1);
    story.says_ready(1);
    assert_eq!(story.says_started(1)[0], "3: ASSIGN m1 :20000 slot 0/2");
}

#[test]
fn an_assignment_that_was_missed_is_told_again_while_the_game_waits() {
    let mut story = assigned(mode("duel", 2, 1));
    assert_eq!(story.resume(3, 1), ["3: ASSIGN m1 :20000 slot 0/2"]);
    assert_eq!(story.resume(4, 1), ["4: ASSIGN m1 :20000 slot 0/2"]);
    assert_eq!(story.brain.totals().assigned, 2);
    // Who came into the game has no need of it, and who did not come in time finds it closed.
    story.says_joined(1, 0);
    assert_eq!(story.resume(5, 1), ["5: ERR 505 BAD_RESUME"]);
    story.after_ms(9_999);
    assert_eq!(story.resume(6, 2), ["6: ASSIGN m1 :20000 slot 1/2"]);
    story.after_ms(1);
    assert_eq!(story.resume(7, 2), ["7: ERR 505 BAD_RESUME"]);
}

#[test]
fn who_plays_may_come_back_where_the_mode_lets_it() {
    let mut story = assigned(with_rejoin(mode("duel", 2, 1)));
    story.says_joined(1, 1);
    story.after_ms(60_000);
    assert_eq!(story.resume(3, 2), ["rejoin g1 slot 1", "3: ASSIGN m1 :20000 slot 1/2"]);
    story.exits(1);
    assert_eq!(story.resume(4, 2), ["4: ERR 505 BAD_RESUME"]);
}

#[test]
fn nobody_comes_back_into_a_game_that_is_on_its_way_to_its_end() {
    let mut story = assigned(with_rejoin(mode("duel", 2, 1)));
    story.after_ms(600_000);
    assert_eq!(story.resume(3, 2), ["3: ERR 505 BAD_RESUME"]);
}

#[test]
fn who_is_away_is_not_waited_for_when_muster_goes_down() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    story.lost(1);
    assert_eq!(story.drain(), ["drained"]);
    assert_eq!(story.brain.totals().refused, 1);
    assert_eq!(story.resume(2, 1), ["2: ERR 505 BAD_RESUME"]);
}
