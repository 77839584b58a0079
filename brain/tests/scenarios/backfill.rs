//! A running game asks for players, in place of those who went.

use brain::Mode;

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

/// A match of three, told where to play: g1, m1. All three are in.
fn playing(mode: Mode) -> Story {
    let name = mode.name.clone();
    let mut story = Story::begin_warm(ports(1), vec![mode]);
    for connection in 1..=3 {
        story.ready(connection, &name);
    }
    story.says_started(1);
    for slot in 0..3 {
        story.says_joined(1, slot);
    }
    story
}

#[test]
fn the_next_who_waits_gets_the_place_of_one_who_went() {
    let mut story = playing(mode("party", 3, 1));
    story.says_left(1, 1);
    story.ready(4, "party");
    assert_eq!(story.asks_for_players(1, &[1]), ["fill g1 [1]", "4: ASSIGN m1 :20000 slot 1/3"]);
    assert_eq!(story.brain.totals().assigned, 4);
    // Whose place it was has none any more, and who got it may ask for it again.
    assert_eq!(story.resume(8, 2), ["8: ERR 505 BAD_RESUME"]);
    assert_eq!(story.resume(9, 4), ["9: ASSIGN m1 :20000 slot 1/3"]);
    story.exits(1);
    assert_eq!(story.resume(10, 4), ["10: ERR 505 BAD_RESUME"]);
}

#[test]
fn a_game_is_served_before_a_new_match_and_gets_who_comes_later_too() {
    let mut story = playing(mode("party", 3, 1));
    story.says_left(1, 0);
    story.says_left(1, 2);
    assert_eq!(story.asks_for_players(1, &[0, 2]), NOTHING);
    assert_eq!(for_games(&story.ready(4, "party")), ["fill g1 [0]"]);
    assert_eq!(for_games(&story.ready(5, "party")), ["fill g1 [2]"]);
    assert_eq!(story.ready(6, "party"), ["6: QUEUED 1/3"]);
}

#[test]
fn a_slot_whose_player_is_there_is_not_open() {
    let mut story = playing(mode("party", 3, 1));
    story.ready(4, "party");
    assert_eq!(story.asks_for_players(1, &[0, 1, 2, 3, usize::MAX]), NOTHING);
    story.says_left(1, 2);
    assert_eq!(for_players(&story.asks_for_players(1, &[2])).len(), 1);
}

#[test]
fn a_game_may_take_its_wish_back_and_one_that_ends_has_none() {
    let mut story = playing(mode("party", 3, 1));
    story.says_left(1, 0);
    story.asks_for_players(1, &[0]);
    story.asks_for_players(1, &[]);
    assert_eq!(story.ready(4, "party"), ["4: QUEUED 1/3"]);
    story.leave(4);
    story.asks_for_players(1, &[0]);
    story.after_ms(600_000);
    assert_eq!(story.ready(5, "party"), ["5: QUEUED 1/3"]);
    assert_eq!(story.asks_for_players(1, &[0]), NOTHING);
}

#[test]
fn a_party_comes_into_one_squad() {
    let teams = Mode { teams: vec![vec![2], vec![2]], party_max: 2, ..mode("teams", 4, 1) };
    let mut story = Story::begin_warm(ports(1), vec![teams]);
    for connection in 1..=4 {
        story.ready(connection, "teams");
    }
    story.says_started(1);
    // Nobody comes in time.
    story.after_ms(10_000);
    story.gather("K", &[5, 6]);
    story.ready_party(5, "teams");
    // One place in each team is none for a party, and two in one are.
    assert_eq!(story.asks_for_players(1, &[1, 2]), NOTHING);
    assert_eq!(
        story.asks_for_players(1, &[1, 2, 3]),
        ["fill g1 [2, 3]", "5: ASSIGN m1 :20000 slot 2/4", "6: ASSIGN m1 :20000 slot 3/4"]
    );
}

#[test]
fn a_slot_that_was_just_given_away_is_not_given_again() {
    let mut story = playing(mode("party", 3, 1));
    story.says_left(1, 1);
    story.ready(4, "party");
    assert_eq!(for_games(&story.asks_for_players(1, &[1])), ["fill g1 [1]"]);
    // The game had not read of it when it asked again.
    story.says_left(1, 2);
    story.ready(5, "party");
    story.ready(6, "party");
    assert_eq!(for_games(&story.asks_for_players(1, &[1, 2])), ["fill g1 [2]"]);
    // Who does not come in time has no claim.
    story.after_ms(10_000);
    assert_eq!(for_games(&story.asks_for_players(1, &[1])), ["fill g1 [1]"]);
}

#[test]
fn who_comes_back_finds_its_slot_closed_to_others() {
    let mut story = playing(Mode { rejoin: true, ..mode("party", 3, 1) });
    story.says_left(1, 1);
    story.asks_for_players(1, &[1]);
    assert_eq!(for_games(&story.resume(8, 2)), ["rejoin g1 slot 1"]);
    assert_eq!(story.ready(4, "party"), ["4: QUEUED 1/3"]);
    // Until it comes, it is told the same again, and its game nothing.
    assert_eq!(story.resume(9, 2), ["9: ASSIGN m1 :20000 slot 1/3"]);
    story.says_joined(1, 1);
    assert_eq!(for_games(&story.resume(10, 2)), ["rejoin g1 slot 1"]);
}
