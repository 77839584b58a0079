//! Who meets whom where skill decides.

use std::time::Duration;

use brain::{Mode, Skill, SkillRules};

use crate::story::{Story, for_games, mode, ports};

/// A duel of those within 100 of each other, 50 more after each 5 s, 300 at most.
fn duel() -> Mode {
    let widen_every = Duration::from_secs(5);
    let rules = SkillRules { window: 100, widen_by: 50, widen_every, window_max: 300 };
    Mode { skill: Some(Skill { default: 1_000, rules }), ..mode("duel", 2, 0) }
}

fn formed(story: &Story) -> Vec<Vec<u64>> {
    let players = |event: &brain::Event| match event {
        brain::Event::MatchFormed { players, .. } => {
            Some(players.iter().map(|player| player.0).collect())
        }
        _ => None,
    };
    story.events.iter().filter_map(players).collect()
}

#[test]
fn those_meet_who_are_near_and_among_them_who_came_first() {
    let mut story = Story::begin(ports(2), vec![duel()]);
    assert_eq!(story.ready_with_skill(1, "duel", 2_000), ["1: QUEUED 1/2"]);
    assert_eq!(story.ready_with_skill(2, "duel", 1_500), ["2: QUEUED 2/2"]);
    assert_eq!(story.ready_with_skill(3, "duel", 1_750), ["3: QUEUED 3/2"]);
    story.ready_with_skill(4, "duel", 1_590);
    assert_eq!(formed(&story), [[2, 4]]);
    story.ready_with_skill(5, "duel", 2_090);
    assert_eq!(formed(&story), [[2, 4], [1, 5]]);
}

#[test]
fn a_window_widens_as_its_ticket_waits() {
    let mut story = Story::begin(ports(2), vec![duel()]);
    story.ready_with_skill(1, "duel", 1_000);
    story.ready_with_skill(2, "duel", 1_190);
    story.after_ms(9_999);
    assert!(formed(&story).is_empty());
    assert_eq!(for_games(&story.after_ms(1)), ["launch g1 duel :20000 for m1"]);
    assert_eq!(formed(&story), [[1, 2]]);
    // And no farther than it may.
    story.ready_with_skill(3, "duel", 1_000);
    story.ready_with_skill(4, "duel", 1_301);
    story.after_ms(3_600_000);
    assert_eq!(formed(&story).len(), 1);
    story.ready(5, "duel");
    assert_eq!(formed(&story)[1], [3, 5], "of whom nothing is known is as the mode says");
}
