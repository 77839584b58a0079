//! Parties, teams, and tickets that wait for too long.

use std::time::Duration;

use brain::Mode;

use crate::story::{NOTHING, Story, for_games, for_players, mode, ports};

/// Two teams of three.
fn teams() -> Mode {
    Mode { teams: vec![vec![3], vec![3]], party_max: 3, ..mode("teams", 6, 0) }
}

#[test]
fn players_gather_under_a_code_and_all_hear_of_it() {
    let mut story = Story::begin(ports(1), vec![teams()]);
    assert_eq!(story.gather("K", &[1]), ["1: PARTY K 1"]);
    assert_eq!(story.gather("K", &[9]), ["9: ERR 506 BAD_PARTY"]);
    assert_eq!(story.gather("K2", &[2, 3])[..], ["2: PARTY K2 2", "3: PARTY K2 2"]);
    assert_eq!(story.gather("K3", &[2]), ["2: ERR 503 BAD_STATE"]);
    assert_eq!(story.leave_party(2), ["2: LEFT", "3: PARTY K2 1"]);
    assert_eq!(story.leave_party(2), ["2: ERR 503 BAD_STATE"]);
    assert_eq!(story.lost(3), NOTHING);
    assert_eq!(story.gather("K2", &[2]), ["2: PARTY K2 1"]);
}

#[test]
fn a_party_is_one_ticket_and_is_never_split() {
    let mut story = Story::begin(ports(1), vec![teams()]);
    story.gather("K", &[1, 2]);
    assert_eq!(story.ready_party(2, "teams"), ["2: ERR 503 BAD_STATE"]);
    assert_eq!(story.ready(1, "teams"), ["1: ERR 503 BAD_STATE"]);
    assert_eq!(story.ready_party(1, "teams"), ["1: QUEUED 1/6", "2: QUEUED 1/6"]);
    story.gather("L", &[3, 4]);
    story.ready_party(3, "teams");
    story.gather("M", &[5, 6]);
    story.ready_party(5, "teams");
    // Three pairs do not make two threes.
    story.ready(7, "teams");
    story.ready(8, "teams");
    story.launched(1);
    story.says_ready(1);
    let assigned = story.says_started(1);
    let seats: Vec<&str> = assigned.iter().map(String::as_str).collect();
    assert_eq!(seats.len(), 6, "{seats:?}");
    for pair in [["1:", "2:"], ["3:", "4:"]] {
        let slot = |who: &str| {
            let line = seats.iter().find(|line| line.starts_with(who)).unwrap();
            let slot = line.split("slot ").nth(1).unwrap();
            slot.split('/').next().unwrap().parse::<usize>().unwrap()
        };
        assert_eq!(slot(pair[0]) / 3, slot(pair[1]) / 3, "{seats:?}");
    }
    assert!(!seats.iter().any(|line| line.starts_with("5:")), "{seats:?}");
}

#[test]
fn a_party_that_is_too_large_is_told_so() {
    let mut story = Story::begin(ports(1), vec![teams(), mode("duel", 2, 0)]);
    story.gather("K", &[1, 2]);
    assert_eq!(story.ready_party(1, "duel"), ["1: ERR 506 BAD_PARTY"]);
    assert_eq!(story.ready_party(1, "chess"), ["1: ERR 504 NO_SUCH_QUEUE"]);
}

#[test]
fn who_goes_takes_its_party_along() {
    let mut story = Story::begin(ports(1), vec![teams()]);
    story.gather("K", &[1, 2]);
    story.ready_party(1, "teams");
    assert_eq!(story.leave(2), ["2: LEFT", "1: EVICTED party"]);
    // They are together still, and may try again.
    assert_eq!(story.ready_party(1, "teams"), ["1: QUEUED 1/6", "2: QUEUED 1/6"]);
    assert_eq!(story.brain.totals().evicted, 1);
}

#[test]
fn a_party_waits_for_one_who_is_away() {
    let mut story = Story::begin(ports(1), vec![Mode { party_max: 2, ..mode("four", 4, 0) }]);
    story.gather("K", &[1, 2]);
    story.ready_party(1, "four");
    story.lost(2);
    story.ready(3, "four");
    assert_eq!(for_games(&story.ready(4, "four")), NOTHING);
    let wishes = story.resume(5, 2);
    assert_eq!(for_players(&wishes)[0], "5: QUEUED 1/4");
    assert_eq!(for_games(&wishes), ["launch g1 four :20000 for m1"]);
    // And no longer than its window.
    story.lost(5);
    assert_eq!(story.after_ms(30_000)[..1], ["1: EVICTED party"]);
    assert_eq!(story.brain.totals().expired, 1);
}

#[test]
fn who_declines_takes_its_party_along() {
    let check = Some(Duration::from_secs(10));
    let mut story = Story::begin(
        ports(1),
        vec![Mode { party_max: 2, accept_timeout: check, ..mode("three", 3, 0) }],
    );
    story.gather("K", &[1, 2]);
    story.ready_party(1, "three");
    story.ready(3, "three");
    assert_eq!(story.decline(2), ["2: EVICTED declined", "1: EVICTED party", "3: REQUEUED 1"]);
}

#[test]
fn who_waits_for_too_long_is_told_and_waits_another_round_where_it_stands() {
    let waits = Mode { max_wait: Some(Duration::from_secs(60)), rounds: 2, ..mode("duel", 2, 0) };
    let mut story = Story::begin(ports(1), vec![waits]);
    story.ready(1, "duel");
    assert_eq!(story.after_ms(59_999), NOTHING);
    assert_eq!(story.after_ms(1), ["1: EXPIRED 60s 1/2", "1: QUEUED 1/2"]);
    assert_eq!(story.after_ms(60_000), ["1: EXPIRED 120s 2/2"]);
    assert_eq!(story.leave(1), ["1: ERR 503 BAD_STATE"]);
    assert_eq!(story.brain.totals().timed_out, 1);
    // Who is matched waits for a game, for which there are other limits.
    story.ready(1, "duel");
    story.ready(2, "duel");
    let wishes = story.after_ms(60_000);
    assert!(!wishes.iter().any(|wish| wish.contains("EXPIRED")), "{wishes:?}");
    // Gone back, it waits a whole round: nobody can say that none was found.
    assert_eq!(story.leave(1)[..2], ["1: LEFT", "2: REQUEUED 1"]);
    assert_eq!(for_players(&story.after_ms(59_999)), NOTHING);
    assert_eq!(for_players(&story.after_ms(1)), ["2: EXPIRED 120s 1/2", "2: QUEUED 1/2"]);
}

#[test]
fn who_gathers_is_known_to_a_body_that_starts_anew() {
    let mut story = Story::begin(ports(1), vec![teams()]);
    story.gather("K", &[1, 2]);
    story.ready(3, "teams");
    let known: Vec<u64> = story.brain.connections().iter().map(|id| id.number).collect();
    assert_eq!(known, [3, 1, 2]);
    for connection in known {
        story.lost(connection);
    }
    assert_eq!(story.ready(1, "teams"), ["1: QUEUED 1/6"]);
    assert_eq!(story.gather("K", &[4]), ["4: PARTY K 1"]);
}
