//! Operators' commands while players wait and play.

use std::time::Duration;

use brain::{Config, Mode, ModeId};

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

fn changed(story: &Story, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = story.brain.config().clone();
    change(&mut config);
    config
}

#[test]
fn a_kicked_player_is_out_and_the_others_stand_where_they_stood() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    story.ready(1, "duel");
    assert_eq!(story.kick(1), ["1: EVICTED kicked"]);
    assert_eq!(story.kick(1), NOTHING);
    story.ready(2, "duel");
    story.ready(3, "duel");
    // The two are in a match that waits for a game.
    assert_eq!(for_players(&story.kick(2)), ["2: EVICTED kicked", "3: REQUEUED 1"]);
}

#[test]
fn a_game_is_ended_with_its_grace_or_at_once() {
    let mut story = Story::begin_warm(ports(2), vec![mode("solo", 1, 2)]);
    story.ready(1, "solo");
    story.says_started(1);
    assert_eq!(story.end_game(1, false), ["stop g1"]);
    assert_eq!(story.end_game(1, true), ["SIGKILL g1"]);
    assert_eq!(story.end_game(99, true), NOTHING);
    // Who was about to play there gets another game.
    story.ready(2, "solo");
    assert_eq!(for_games(&story.end_game(2, true))[0], "SIGKILL g2");
    assert!(story.brain.is_waiting(brain::ConnectionId::local(2)));
}

#[test]
fn a_drain_is_taken_back() {
    let mut story = Story::begin_warm(ports(2), vec![mode("solo", 1, 1)]);
    story.ready(1, "solo");
    story.says_started(1);
    story.drain();
    assert_eq!(story.ready(2, "solo"), ["2: ERR 421 DRAINING"]);
    story.undrain();
    assert!(story.brain.is_serving());
    assert_eq!(for_players(&story.ready(2, "solo"))[0], "2: QUEUED 1/1");
    assert_eq!(for_games(&story.after_ms(30_000)), NOTHING, "the drain's end is forgotten");
}

#[test]
fn a_drain_that_is_over_is_not_taken_back() {
    let mut story = Story::begin(ports(1), vec![mode("solo", 1, 0)]);
    assert_eq!(story.drain(), ["drained"]);
    story.undrain();
    assert_eq!(story.ready(1, "solo"), ["1: ERR 421 DRAINING"]);
}

#[test]
fn who_waits_in_a_mode_that_is_removed_is_told_and_who_plays_plays_on() {
    let modes = vec![mode("duel", 2, 2), mode("solo", 1, 0)];
    let mut story = Story::begin_warm(ports(4), modes);
    for connection in [1, 2, 3] {
        story.ready(connection, "duel");
    }
    story.says_started(1);
    let config = changed(&story, |config| {
        config.modes[0].is_closed = true;
        (config.modes[0].warm_min, config.modes[0].warm_max) = (0, 0);
        config.default_mode = ModeId(1);
    });
    let wishes = story.reconfigure(config);
    assert_eq!(for_players(&wishes), ["3: EVICTED mode-removed"]);
    assert_eq!(for_games(&wishes), ["stop g2"]);
    assert_eq!(story.ready(4, "duel"), ["4: ERR 504 NO_SUCH_QUEUE"]);
    assert_eq!(for_players(&story.ready(4, "solo"))[0], "4: QUEUED 1/1");
    // It may be opened again, under the same number.
    let config = changed(&story, |config| config.modes[0].is_closed = false);
    story.reconfigure(config);
    assert_eq!(story.ready(5, "duel"), ["5: QUEUED 1/2"]);
}

#[test]
fn a_match_that_starts_while_its_mode_is_removed_is_played_or_told() {
    for fails in [false, true] {
        let modes = vec![mode("duel", 2, 1), mode("solo", 1, 0)];
        let mut story = Story::begin_warm(ports(2), modes);
        story.ready(1, "duel");
        story.ready(2, "duel");
        let config = changed(&story, |config| {
            config.modes[0].is_closed = true;
            (config.modes[0].warm_min, config.modes[0].warm_max) = (0, 0);
            config.default_mode = ModeId(1);
        });
        assert_eq!(for_players(&story.reconfigure(config)), NOTHING);
        let told = if fails { story.exits(1) } else { story.says_started(1) };
        let expected = if fails { "1: EVICTED mode-removed" } else { "1: ASSIGN" };
        assert!(for_players(&told)[0].starts_with(expected), "{told:?}");
    }
}

#[test]
fn another_program_rolls_the_games_that_nobody_plays() {
    let mut story = Story::begin_warm(ports(4), vec![mode("solo", 1, 2)]);
    story.ready(1, "solo");
    story.says_started(1);
    story.after_a_quiet_moment();
    let config = changed(&story, |config| config.modes[0].program = 1);
    let wishes = story.reconfigure(config);
    assert_eq!(for_players(&wishes), NOTHING);
    assert!(for_games(&wishes).contains(&"stop g2"), "{wishes:?}");
    assert!(!for_games(&wishes).contains(&"stop g1"), "{wishes:?}");
}

#[test]
fn matches_of_another_size_are_formed_anew_in_the_old_order() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0), mode("solo", 1, 0)]);
    // The only port is taken.
    story.ready(9, "solo");
    for connection in [1, 2, 3] {
        story.ready(connection, "duel");
    }
    let config = changed(&story, |config| config.modes[0].players = 3);
    let wishes = story.reconfigure(config);
    let told =
        ["1: REQUEUED 1", "2: REQUEUED 2", "1: QUEUED 1/3", "2: QUEUED 2/3", "3: QUEUED 3/3"];
    assert_eq!(for_players(&wishes)[..5], told);
    assert!(for_players(&wishes).contains(&"3: WAITING no-port"), "{wishes:?}");
}

#[test]
fn a_wait_that_has_another_length_begins_anew_and_any_other_runs_on() {
    let waits = Mode { max_wait: Some(Duration::from_secs(60)), ..mode("duel", 2, 0) };
    let mut story = Story::begin(ports(1), vec![waits]);
    story.ready(1, "duel");
    assert_eq!(story.after_ms(30_000), NOTHING);
    let split = changed(&story, |config| config.modes[0].teams = vec![vec![1], vec![1]]);
    assert_eq!(story.reconfigure(split), NOTHING);
    assert_eq!(story.after_ms(30_000), ["1: EXPIRED 60s 1/1"]);
    story.ready(2, "duel");
    let longer = changed(&story, |config| config.modes[0].max_wait = Some(Duration::from_secs(90)));
    story.reconfigure(longer);
    assert_eq!(story.after_ms(60_000), NOTHING);
    let endless = changed(&story, |config| config.modes[0].max_wait = None);
    story.reconfigure(endless);
    assert_eq!(story.after_ms(60_000), NOTHING);
}

#[test]
fn a_party_that_is_too_large_by_now_is_out_and_others_stay() {
    let pairs = Mode { party_max: 2, ..mode("pairs", 4, 0) };
    let mut story = Story::begin(ports(1), vec![pairs]);
    story.gather("K", &[1, 2]);
    story.ready_party(1, "pairs");
    story.ready(3, "pairs");
    let alone = changed(&story, |config| config.modes[0].party_max = 1);
    assert_eq!(story.reconfigure(alone), ["1: EVICTED party", "2: EVICTED party"]);
    let joined = story.ready(4, "pairs");
    assert_eq!(joined, ["4: QUEUED 2/4"]);
}

/// A match that has a game is left as it is; what becomes of it after that follows the rules of now.
#[test]
fn a_match_of_old_that_comes_to_nothing_is_lined_up_by_the_rules_of_now() {
    for teams in [vec![], vec![vec![2], vec![2]]] {
        let four = Mode { party_max: 3, ..mode("four", 4, 1) };
        let mut story = Story::begin_warm(ports(1), vec![four]);
        story.gather("K", &[1, 2, 3]);
        story.ready_party(1, "four");
        story.ready(4, "four");
        let smaller = changed(&story, |config| {
            config.modes[0].teams = teams.clone();
            config.modes[0].party_max = 2;
        });
        assert_eq!(story.reconfigure(smaller), NOTHING, "it has its game");
        let wishes = match teams.is_empty() {
            true => story.leave(4),
            false => story.exits(1),
        };
        let told = for_players(&wishes);
        for player in [1, 2, 3] {
            assert!(told.contains(&format!("{player}: EVICTED party").as_str()), "{wishes:?}");
        }
    }
}

#[test]
fn a_mode_is_added_and_another_becomes_the_default() {
    let mut story = Story::begin(ports(2), vec![mode("duel", 2, 0)]);
    let config = changed(&story, |config| {
        config.modes.push(mode("solo", 1, 0));
        config.default_mode = ModeId(1);
    });
    story.add_mode_name("solo");
    assert_eq!(story.reconfigure(config), NOTHING);
    assert_eq!(for_players(&story.ready(1, "solo"))[0], "1: QUEUED 1/1");
}

#[test]
fn other_ports_cannot_be_gone_on_with() {
    let mut story = Story::begin(ports(2), vec![mode("duel", 2, 0)]);
    let config = changed(&story, |config| config.ports = 30_000..=30_001);
    assert!(story.brain.may_reconfigure(&config).is_err());
    story.reconfigure(config);
    assert_eq!(story.brain.config().ports, 20_000..=20_001);
}
