//! Figures for operators: waiting players, games and ports.

use std::time::Duration;

use brain::{GamePhase, ModeId, PortState};

use crate::story::{Story, mode, ports};

const SOLO: ModeId = ModeId(0);

fn phases(story: &Story) -> Vec<(GamePhase, usize)> {
    story.brain.games_figures().map(|it| (it.phase, it.players)).collect()
}

fn places(story: &Story) -> Vec<(u16, PortState)> {
    story.brain.ports_taken().collect()
}

#[test]
fn the_oldest_wait_is_that_of_who_joined_first() {
    let mut story = Story::begin(ports(1), vec![mode("duel", 2, 0)]);
    assert_eq!(story.brain.mode_figures(SOLO).oldest_since, None);
    story.after_ms(3_000);
    story.ready(1, "duel");
    story.after_ms(1_000);
    let since = |story: &Story| story.brain.mode_figures(SOLO).oldest_since;
    assert_eq!(since(&story), Some(Duration::from_secs(3)));
    // The one port is taken by the first match; the second waits for it since its first player came.
    story.ready(2, "duel");
    story.after_ms(1_000);
    story.launched(1);
    story.says_ready(1);
    assert_eq!(since(&story), None);
    story.ready(3, "duel");
    story.after_ms(1_000);
    story.ready(4, "duel");
    assert_eq!(since(&story), Some(Duration::from_secs(5)));
    let figures = story.brain.mode_figures(SOLO);
    assert_eq!((figures.waiting, figures.matches_waiting, figures.is_failing), (4, 1, false));
}

#[test]
fn games_and_ports_are_where_they_are() {
    let mut story = Story::begin(ports(3), vec![mode("solo", 1, 0)]);
    story.ready(1, "solo");
    assert_eq!(phases(&story), [(GamePhase::Starting, 1)], "it is launched with its player");
    story.launched(1);
    story.says_ready(1);
    assert_eq!(phases(&story), [(GamePhase::Starting, 1)]);
    story.says_started(1);
    assert_eq!(phases(&story), [(GamePhase::Running, 1)]);
    assert_eq!(places(&story), [(20_000, PortState::Leased)]);
    story.exits(1);
    story.ready(2, "solo");
    story.port_busy(2);
    let mut taken = places(&story);
    taken.sort_unstable_by_key(|(port, _)| *port);
    let expected =
        [(20_000, PortState::Resting), (20_001, PortState::Busy), (20_002, PortState::Leased)];
    assert_eq!(taken, expected);
}

#[test]
fn a_mode_whose_games_keep_failing_shows() {
    let mut story = Story::begin(ports(3), vec![mode("solo", 1, 0)]);
    story.ready(1, "solo");
    story.launch_failed(1);
    assert!(!story.brain.mode_figures(SOLO).is_failing, "the first failure is forgiven");
    story.launch_failed(2);
    assert!(story.brain.mode_figures(SOLO).is_failing);
}
