//! Warm games: as many as matches come, never before those who wait, and no more than are wanted.

use brain::Mode;

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

/// A mode for one player whose number of warm games follows the arrival of matches.
fn adaptive(warm_min: usize, warm_max: usize) -> Mode {
    Mode { warm_max, ..mode("solo", 1, warm_min) }
}

/// The game's process exists, and the game is ready at once.
fn gets_ready(story: &mut Story, game: u64) -> Vec<String> {
    let mut wishes = story.launched(game);
    wishes.extend(story.says_ready(game));
    wishes
}

#[test]
fn few_warm_games_are_ordered_at_a_time() {
    let mut story = Story::begin(ports(9), vec![mode("duel", 2, 5), mode("solo", 1, 0)]);
    assert_eq!(story.after_ms(0), ["launch g1 duel :20000", "launch g2 duel :20001"]);
    // Whoever waits stands behind no more than these.
    assert_eq!(for_games(&story.ready(1, "solo")), ["launch g3 solo :20002 for m1"]);
    assert_eq!(story.launched(3), NOTHING);
    assert_eq!(story.after_a_quiet_moment(), NOTHING);
    // The next is ordered when a process exists, or will not: no game has to be ready for that.
    assert_eq!(story.launched(1), ["launch g4 duel :20003"]);
    assert_eq!(story.launch_failed(2), ["launch g5 duel :20004"]);
    assert_eq!(story.launched(4), ["launch g6 duel :20005"]);
}

#[test]
fn warm_games_come_after_all_who_wait() {
    let mut config = ports(3);
    config.launching_max = 1;
    let mut story = Story::begin(config, vec![mode("duel", 2, 2), mode("solo", 1, 0)]);
    assert_eq!(story.after_ms(0), ["launch g1 duel :20000"]);
    story.ready(1, "solo");
    story.ready(2, "solo");
    assert_eq!(gets_ready(&mut story, 1), ["launch g2 solo :20001 for m1"]);
    story.launched(2);
    assert_eq!(for_games(&story.says_ready(2)), NOTHING);
    assert_eq!(for_games(&story.says_started(2)), ["launch g3 solo :20002 for m2"]);
}

#[test]
fn as_many_are_warm_as_matches_came_while_one_was_launched() {
    let mut story = Story::begin(ports(20), vec![adaptive(0, 3)]);
    assert_eq!(story.after_ms(0), NOTHING);
    // One for the match, and one for the next.
    assert_eq!(for_games(&story.ready(1, "solo")), ["launch g1 solo :20000 for m1"]);
    assert_eq!(story.after_a_quiet_moment(), ["launch g2 solo :20001"]);
    assert_eq!(gets_ready(&mut story, 1), NOTHING);
    assert_eq!(gets_ready(&mut story, 2), NOTHING);
    // Two in one second: one takes the warm game, and two are to be warm.
    assert_eq!(for_games(&story.ready(2, "solo")), ["start g2 m2"]);
    assert_eq!(story.after_a_quiet_moment(), ["launch g3 solo :20002", "launch g4 solo :20003"]);
    for game in [1, 2] {
        story.says_started(game);
    }
    story.after_ms(2_000);
    // No second was busier than that one, but a launch takes two now, and then two it is.
    assert_eq!(gets_ready(&mut story, 3), NOTHING);
    assert_eq!(gets_ready(&mut story, 4), NOTHING);
    assert_eq!(for_games(&story.ready(3, "solo")), ["start g3 m3"]);
    assert_eq!(story.after_a_quiet_moment(), ["launch g5 solo :20004"]);
    // Now a launch takes longer still, and three came within three seconds.
    story.says_started(3);
    story.after_ms(500);
    story.launched(5);
    story.after_ms(2_000);
    assert_eq!(for_games(&story.says_ready(5)), ["launch g6 solo :20005"]);
}

#[test]
fn there_are_never_more_than_the_mode_may_have() {
    let mut story = Story::begin(ports(20), vec![adaptive(1, 2)]);
    let launches =
        |wishes: &[String]| wishes.iter().filter(|wish| wish.starts_with("launch")).count() as u64;
    let mut ordered = launches(&story.after_ms(0));
    for connection in 1..=6 {
        ordered += launches(&story.ready(connection, "solo"));
    }
    let mut game = 0;
    while game < ordered {
        game += 1;
        ordered += launches(&gets_ready(&mut story, game));
        ordered += launches(&story.after_a_quiet_moment());
    }
    assert_eq!(ordered, 8, "six for those who came, and two");
}

#[test]
fn it_gets_colder_one_by_one_when_nobody_comes() {
    let mut story = Story::begin(ports(20), vec![adaptive(1, 4)]);
    for connection in 1..=3 {
        story.ready(connection, "solo");
    }
    for game in 1..=3 {
        gets_ready(&mut story, game);
        story.says_started(game);
    }
    story.after_a_quiet_moment();
    for game in 4..=6 {
        gets_ready(&mut story, game);
    }
    assert_eq!(story.after_ms(59_994), NOTHING);
    assert_eq!(story.after_ms(1), NOTHING, "who went back to the queue may want one soon");
    assert_eq!(story.after_ms(999), NOTHING);
    assert_eq!(story.after_ms(1), ["stop g4"]);
    assert_eq!(story.exits(4), NOTHING);
    assert_eq!(story.after_ms(999), NOTHING);
    assert_eq!(story.after_ms(1), ["stop g5"]);
    story.exits(5);
    for game in 1..=3 {
        story.exits(game);
    }
    assert_eq!(story.after_ms(10_000), NOTHING, "one is always kept");
    assert_eq!(story.brain.next_deadline(), None, "and nothing is left to look at");
}

#[test]
fn a_warm_game_that_is_one_too_many_is_kept_for_a_moment() {
    for is_taken in [true, false] {
        let mut story = Story::begin_warm(ports(1), vec![mode("duel", 2, 1)]);
        let mut config = story.brain.config().clone();
        (config.modes[0].warm_min, config.modes[0].warm_max) = (0, 0);
        assert_eq!(story.reconfigure(config), NOTHING);
        story.ready(1, "duel");
        assert_eq!(story.after_ms(999), NOTHING);
        if is_taken {
            assert_eq!(for_games(&story.ready(2, "duel")), ["start g1 m1"]);
            assert_eq!(story.after_ms(1), NOTHING);
            assert_eq!(for_players(&story.says_started(1)).len(), 2);
        } else {
            assert_eq!(story.after_ms(1), ["stop g1"]);
        }
    }
}

#[test]
fn a_drain_looks_at_no_surplus() {
    let mut story = Story::begin(ports(2), vec![adaptive(0, 1)]);
    story.ready(1, "solo");
    story.after_a_quiet_moment();
    gets_ready(&mut story, 2);
    story.leave(1);
    story.launch_failed(1);
    assert!(story.brain.next_deadline().is_some(), "the warm game is one too many before long");
    assert_eq!(story.drain(), ["stop g2"]);
    assert_eq!(story.exits(2), ["drained"]);
    assert_eq!(story.brain.next_deadline(), None);
}
