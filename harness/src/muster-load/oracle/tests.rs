//! Each promise, kept and broken.

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Passes a line of Muster to the oracle.
fn hear(oracle: &mut Oracle, at: u64, player: u32, line: &str) {
    let reply = Reply::parse(line.as_bytes()).unwrap();
    oracle.handle(ms(at), player, Event::Heard(&reply));
}

fn ready(oracle: &mut Oracle, at: u64, player: u32) {
    oracle.handle(ms(at), player, Event::ReadySaid { queue: "duel", resumes: false });
}

fn queued(oracle: &mut Oracle, at: u64, player: u32) {
    hear(oracle, at, player, "QUEUED queue=duel position=1 needed=2 resume=k");
}

/// READY, and QUEUED a millisecond later.
fn join(oracle: &mut Oracle, at: u64, player: u32) {
    ready(oracle, at, player);
    queued(oracle, at + 1, player);
}

fn assign(oracle: &mut Oracle, at: u64, player: u32, match_id: u64, slot: usize) {
    let port = 20_000 + match_id;
    let line = format!(
        "ASSIGN match={match_id} host=h port={port} slot={slot} players=2 token=t transport=plain"
    );
    hear(oracle, at, player, &line);
}

/// The violations after the end of the run.
fn broken(mut oracle: Oracle, at: u64) -> Vec<String> {
    oracle.handle_timeout(ms(at));
    oracle.finish(ms(at));
    assert_eq!(oracle.queued(), oracle.endings().total());
    let texts = oracle.violations().0.iter();
    texts.map(|violation| format!("{}: {}", violation.promise, violation.evidence)).collect()
}

fn assert_broken(oracle: Oracle, at: u64, promise: &str, evidence: &str) {
    let broken = broken(oracle, at);
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(broken[0].starts_with(promise) && broken[0].contains(evidence), "{broken:?}");
}

fn oracle() -> Oracle {
    Oracle::new(PATIENCE)
}

#[test]
fn every_way_to_end_is_counted_and_breaks_nothing() {
    let mut oracle = oracle();
    for player in 0..9 {
        join(&mut oracle, u64::from(player) * 10, player);
    }
    assign(&mut oracle, 100, 0, 1, 0);
    assign(&mut oracle, 101, 1, 1, 1);
    oracle.handle(ms(102), 2, Event::LeaveSaid);
    hear(&mut oracle, 103, 2, "LEFT");
    hear(&mut oracle, 104, 3, "ERR 421 DRAINING going down");
    hear(&mut oracle, 105, 4, "BYE reason=shutdown");
    hear(&mut oracle, 106, 5, "EVICTED reason=declined");
    oracle.handle(ms(107), 6, Event::Gone);
    hear(&mut oracle, 108, 7, "BYE reason=quit");
    // Refused before being queued: it is not counted.
    ready(&mut oracle, 109, 20);
    hear(&mut oracle, 110, 20, "ERR 452 QUEUE_FULL full");
    // The connections end after that.
    (0..8).for_each(|player| oracle.handle(ms(120), player, Event::HungUp));
    oracle.finish(ms(130));
    let endings =
        Endings { assigned: 2, left: 1, refused: 2, evicted: 1, gone: 2, still_queued: 1, lost: 0 };
    assert_eq!((oracle.endings(), oracle.queued()), (endings, 9));
    assert_eq!(oracle.violations(), (&[][..], 0));
}

#[test]
fn a_connection_that_ends_without_a_message_loses_its_player() {
    let mut oracle = oracle();
    join(&mut oracle, 0, 7);
    oracle.handle(ms(5), 7, Event::HungUp);
    assert_eq!(oracle.endings().lost, 1);
    assert_broken(oracle, 6, "nothing lost", "p7");
}

#[test]
fn no_player_is_assigned_twice_or_after_leaving_or_without_having_queued() {
    let mut twice = oracle();
    join(&mut twice, 0, 1);
    assign(&mut twice, 5, 1, 1, 0);
    assign(&mut twice, 6, 1, 2, 0);
    assert_broken(twice, 7, "one match", "p1 was assigned to match 2");

    let mut left = oracle();
    join(&mut left, 0, 1);
    left.handle(ms(2), 1, Event::LeaveSaid);
    hear(&mut left, 3, 1, "LEFT");
    assign(&mut left, 4, 1, 1, 0);
    assert_broken(left, 7, "one match", "was not queued");

    let mut again = oracle();
    queued(&mut again, 0, 1);
    assert_broken(again, 1, "one match", "had not sent READY");

    let mut unasked = oracle();
    join(&mut unasked, 0, 1);
    hear(&mut unasked, 3, 1, "LEFT");
    assert_broken(unasked, 4, "nothing lost", "without having sent LEAVE");
}

#[test]
fn a_match_has_one_slot_for_each_player_of_one_queue() {
    let mut oracle = oracle();
    (1..=3).for_each(|player| join(&mut oracle, 0, player));
    assign(&mut oracle, 5, 1, 1, 0);
    assign(&mut oracle, 5, 2, 1, 1);
    assign(&mut oracle, 6, 3, 1, 1);
    oracle.handle(ms(7), 4, Event::ReadySaid { queue: "arena", resumes: false });
    hear(&mut oracle, 8, 4, "QUEUED queue=arena position=1 needed=4 resume=k");
    assign(&mut oracle, 9, 4, 1, 0);
    let broken = broken(oracle, 10);
    assert!(broken[0].contains("slot is taken"), "{broken:?}");
    assert!(broken.iter().any(|text| text.contains("another queue")), "{broken:?}");
}

#[test]
fn a_player_who_was_queued_before_another_came_is_in_no_later_match() {
    let mut overtaken = oracle();
    (0..4).for_each(|player| join(&mut overtaken, u64::from(player) * 10, player));
    assign(&mut overtaken, 50, 0, 2, 0);
    assign(&mut overtaken, 50, 1, 1, 0);
    assign(&mut overtaken, 50, 2, 1, 1);
    assert_broken(overtaken, 60, "in order", "p0 had the position");

    // The same, but all sent READY before any received QUEUED: nothing is certain.
    let mut crossing = oracle();
    (0..4).for_each(|player| ready(&mut crossing, u64::from(player), player));
    (0..4).for_each(|player| queued(&mut crossing, 10, player));
    assign(&mut crossing, 50, 0, 2, 0);
    assign(&mut crossing, 50, 1, 1, 0);
    assert!(broken(crossing, 60).is_empty());
}

#[test]
fn a_waiting_match_may_be_formed_again() {
    let told = |who: u32, reason: &str| {
        let mut oracle = oracle();
        (0..4).for_each(|player| join(&mut oracle, u64::from(player) * 10, player));
        hear(&mut oracle, 45, who, &format!("WAITING queue=duel reason={reason}"));
        assign(&mut oracle, 50, 1, 1, 0);
        assign(&mut oracle, 50, 2, 1, 1);
        assign(&mut oracle, 50, 0, 2, 0);
        broken(oracle, 60)
    };
    assert!(told(0, "game-starting").is_empty());
    assert_eq!(told(3, "game-starting").len(), 1, "another player waited");
    assert!(told(3, "game-failing").is_empty(), "games of the queue fail");
}

#[test]
fn a_requeued_player_is_in_no_later_match_than_one_who_came_afterwards() {
    let back = |ready_at: u64| {
        let mut oracle = oracle();
        join(&mut oracle, 0, 0);
        // Its match was dissolved; meanwhile another one was formed.
        hear(&mut oracle, 30, 0, "REQUEUED queue=duel position=1");
        join(&mut oracle, ready_at, 1);
        assign(&mut oracle, 50, 1, 2, 0);
        assign(&mut oracle, 60, 0, 3, 0);
        broken(oracle, 70)
    };
    assert!(back(10).is_empty());
    assert!(back(40)[0].starts_with("in order"), "{:?}", back(40));
}

#[test]
fn no_match_is_older_than_one_that_was_known_before() {
    let mut oracle = oracle();
    join(&mut oracle, 0, 1);
    assign(&mut oracle, 5, 1, 9, 0);
    join(&mut oracle, 10, 2);
    assign(&mut oracle, 15, 2, 8, 0);
    let broken = broken(oracle, 20);
    assert!(broken.iter().any(|text| text.contains("match 9 was known")), "{broken:?}");
}

#[test]
fn ready_and_leave_are_answered_in_time() {
    let mut oracle = oracle();
    ready(&mut oracle, 0, 1);
    oracle.handle_timeout(PATIENCE);
    assert_eq!(oracle.violations().1, 0, "not too late");
    assert_broken(oracle, 10_001, "no silent wait", "READY was not answered");
    let mut oracle = Oracle::new(PATIENCE);
    join(&mut oracle, 0, 1);
    oracle.handle(ms(5), 1, Event::LeaveSaid);
    assert_broken(oracle, 10_006, "no silent wait", "LEAVE at 0.005 s was not answered");
}

#[test]
fn a_player_who_returns_late_is_answered_in_time_from_then_on() {
    let mut oracle = oracle();
    join(&mut oracle, 0, 1);
    oracle.handle(ms(9_000), 1, Event::Gone);
    oracle.handle(ms(10_500), 1, Event::ReadySaid { queue: "duel", resumes: true });
    oracle.handle_timeout(ms(20_500));
    assert_eq!(oracle.violations(), (&[][..], 0), "the wait began then");
    assert_broken(oracle, 20_501, "no silent wait", "READY was not answered");
}

#[test]
fn enough_for_a_match_do_not_wait_in_silence() {
    let mut alone = oracle();
    join(&mut alone, 0, 1);
    assert!(broken(alone, 1_000_000).is_empty(), "one waits for another");

    let mut two = oracle();
    join(&mut two, 0, 1);
    join(&mut two, 10, 2);
    two.handle_timeout(ms(10_010));
    assert_eq!(two.violations().1, 0, "the second has not waited for too long");
    two.handle_timeout(ms(10_012));
    assert_eq!(two.violations().1, 1);
    two.handle_timeout(ms(20_000));
    assert_eq!(two.violations().1, 1, "reported once");
    assert_broken(two, 20_001, "no silent wait", "2 players of queue duel receive nothing");
}

#[test]
fn a_wait_for_a_port_has_no_limit_and_one_for_a_starting_game_has_one() {
    for (reason, is_bounded) in
        [("no-port", false), ("game-failing", false), ("game-starting", true)]
    {
        let mut oracle = oracle();
        for player in [1, 2] {
            join(&mut oracle, 0, player);
            hear(&mut oracle, 10, player, &format!("WAITING queue=duel reason={reason}"));
        }
        assert_eq!(broken(oracle, 30_000).len(), usize::from(is_bounded), "{reason}");
    }
    // A player far behind is not notified when ports run short later, or while others are served.
    for (player, line) in [
        (3, "WAITING queue=duel reason=no-port".to_owned()),
        (4, "ASSIGN match=1 host=h port=1 slot=0 players=2 token=t transport=plain".to_owned()),
    ] {
        let mut oracle = oracle();
        for player in 1..=4 {
            join(&mut oracle, 0, player);
            hear(&mut oracle, 10, player, "WAITING queue=duel reason=game-starting");
        }
        hear(&mut oracle, 25_000, player, &line);
        assert!(broken(oracle, 30_000).is_empty(), "{line}");
    }
}

#[test]
fn an_overtaken_player_receives_a_message_or_is_forgotten() {
    let told = |oracle: &mut Oracle, reason: Option<&str>| {
        join(oracle, 0, 0);
        if let Some(reason) = reason {
            hear(oracle, 5, 0, &format!("WAITING queue=duel reason={reason}"));
        }
        join(oracle, 10, 1);
        join(oracle, 20, 2);
        assign(oracle, 30, 1, 1, 0);
        assign(oracle, 30, 2, 1, 1);
        oracle.handle_timeout(ms(40));
        assert_eq!(oracle.violations().1, 0, "its own assignment may be under way");
    };
    for reason in [None, Some("no-port")] {
        let mut forgotten = oracle();
        told(&mut forgotten, reason);
        assert_broken(forgotten, 10_100, "no silent wait", "who came later, was assigned");
    }
    let mut went_back = oracle();
    told(&mut went_back, None);
    hear(&mut went_back, 5000, 0, "REQUEUED queue=duel position=1");
    assert!(broken(went_back, 60_000).is_empty());
}

#[test]
fn a_resumed_session_is_the_same_one() {
    let mut oracle = oracle();
    join(&mut oracle, 0, 1);
    oracle.handle(ms(5), 1, Event::Gone);
    assert_eq!((oracle.endings().gone, oracle.queued()), (1, 1));
    oracle.handle(ms(9), 1, Event::ReadySaid { queue: "duel", resumes: true });
    queued(&mut oracle, 10, 1);
    assert_eq!((oracle.endings().gone, oracle.queued(), oracle.resumed()), (0, 1, 1));
    // And once more, to receive the missed assignment to a match that was formed long before.
    oracle.handle(ms(11), 1, Event::Gone);
    join(&mut oracle, 12, 2);
    assign(&mut oracle, 13, 2, 5, 0);
    oracle.handle(ms(20), 1, Event::ReadySaid { queue: "duel", resumes: true });
    assign(&mut oracle, 21, 1, 4, 0);
    assert_eq!((oracle.endings().assigned, oracle.queued()), (2, 2));
    assert!(broken(oracle, 30).is_empty());
}

#[test]
fn without_a_kept_session_the_player_starts_again() {
    let mut oracle = oracle();
    join(&mut oracle, 0, 1);
    oracle.handle(ms(5), 1, Event::Gone);
    oracle.handle(ms(9), 1, Event::ReadySaid { queue: "duel", resumes: true });
    hear(&mut oracle, 10, 1, "ERR 505 BAD_RESUME unknown");
    join(&mut oracle, 11, 1);
    assign(&mut oracle, 12, 1, 1, 0);
    let Endings { assigned, gone, .. } = oracle.endings();
    assert_eq!((assigned, gone, oracle.queued()), (1, 1, 2));
    assert!(broken(oracle, 30).is_empty());
}

/// Queued at 0, disconnected at 5, and resumed at 9.
fn dropped_and_back() -> Oracle {
    let mut oracle = oracle();
    join(&mut oracle, 0, 1);
    oracle.handle(ms(5), 1, Event::Dropped);
    oracle.handle(ms(9), 1, Event::ReadySaid { queue: "duel", resumes: true });
    oracle
}

const UNKNOWN: &str = "ERR 505 BAD_RESUME unknown";

#[test]
fn a_disconnected_player_keeps_the_position_or_is_assigned() {
    let mut oracle = dropped_and_back();
    // And once more before the answer.
    oracle.handle(ms(10), 1, Event::Dropped);
    assert_eq!((oracle.owed(), oracle.endings().lost), (1, 1));
    oracle.handle(ms(11), 1, Event::ReadySaid { queue: "duel", resumes: true });
    queued(&mut oracle, 12, 1);
    assert_eq!((oracle.owed(), oracle.resumed(), oracle.endings()), (0, 1, Endings::default()));
    // A player who sends READY now is behind.
    join(&mut oracle, 20, 2);
    assign(&mut oracle, 30, 2, 1, 0);
    assign(&mut oracle, 31, 1, 2, 0);
    assert_broken(
        oracle,
        40,
        "in order",
        "p1 had the position at 0.001 s and kept it from 0.012 s on",
    );

    // So is a player who was behind, and returns later.
    let mut both = Oracle::new(PATIENCE);
    join(&mut both, 0, 1);
    join(&mut both, 3, 2);
    for (player, back_at) in [(1, 10), (2, 20)] {
        both.handle(ms(5), player, Event::Dropped);
        both.handle(ms(back_at), player, Event::ReadySaid { queue: "duel", resumes: true });
        queued(&mut both, back_at + 1, player);
    }
    assign(&mut both, 30, 2, 1, 0);
    assign(&mut both, 31, 1, 2, 0);
    assert_broken(both, 40, "in order", "p1 had the position at 0.001 s");

    let mut missed = dropped_and_back();
    assign(&mut missed, 10, 1, 1, 0);
    assert_eq!((missed.owed(), missed.endings().assigned, missed.endings().total()), (0, 1, 1));
    assert!(broken(missed, 20).is_empty());
}

#[test]
fn a_disconnected_player_whose_session_was_not_kept_is_lost() {
    let mut forgotten = dropped_and_back();
    hear(&mut forgotten, 10, 1, UNKNOWN);
    assert_eq!(forgotten.endings().lost, 1);
    // The player starts again, as another one.
    join(&mut forgotten, 11, 1);
    assert_broken(forgotten, 20, "nothing lost", "the position was not kept");

    let mut keyless = oracle();
    join(&mut keyless, 0, 1);
    keyless.handle(ms(5), 1, Event::Dropped);
    ready(&mut keyless, 9, 1);
    assert_broken(keyless, 20, "nothing lost", "without a key");
}

#[test]
fn a_player_who_may_have_missed_the_reason_is_not_lost() {
    let out = |event: Event<'_>| {
        let mut oracle = oracle();
        join(&mut oracle, 0, 1);
        oracle.handle(ms(4), 1, event);
        oracle.handle(ms(5), 1, Event::Dropped);
        oracle.handle(ms(9), 1, Event::ReadySaid { queue: "duel", resumes: true });
        hear(&mut oracle, 10, 1, UNKNOWN);
        let endings = oracle.endings();
        assert!(broken(oracle, 20).is_empty());
        endings
    };
    assert_eq!(out(Event::LeaveSaid), Endings { left: 1, ..Endings::default() });
    assert_eq!(out(Event::NotAccepted), Endings { evicted: 1, ..Endings::default() });
    let mut refused = dropped_and_back();
    hear(&mut refused, 10, 1, "ERR 421 DRAINING going down");
    assert_eq!(refused.endings(), Endings { refused: 1, ..Endings::default() });
}

#[test]
fn a_disconnected_player_is_admitted_again_in_time() {
    let mut oracle = oracle();
    join(&mut oracle, 0, 1);
    oracle.handle(ms(5), 1, Event::Dropped);
    oracle.handle_timeout(ms(10_005));
    assert_eq!(oracle.violations().1, 0, "not too late");
    assert_broken(oracle, 10_006, "no silent wait", "not admitted again");

    let mut at_the_end = dropped_and_back();
    at_the_end.finish(ms(20));
    assert_eq!(at_the_end.endings(), Endings { still_queued: 1, ..Endings::default() });
    assert!(broken(at_the_end, 20).is_empty());
}

#[test]
fn matches_without_a_number_are_counted_and_not_judged() {
    let mut oracle = oracle();
    for player in [1, 2] {
        join(&mut oracle, 0, player);
        let line = "ASSIGN match=blue host=h port=1 slot=0 players=2 token=t transport=plain";
        hear(&mut oracle, 5, player, line);
    }
    assert_eq!(oracle.unordered(), 2);
    assert!(broken(oracle, 30).is_empty());
}

#[test]
fn an_offer_is_a_message_and_an_eviction_is_an_end() {
    let mut oracle = oracle();
    for player in 0..3 {
        join(&mut oracle, u64::from(player), player);
    }
    for player in 0..2 {
        hear(&mut oracle, 5000, player, "FOUND match=1 accept_ms=9000");
    }
    hear(&mut oracle, 9000, 0, "ACCEPTED count=1 of=2");
    // At the limit of patience, counted from the offer.
    oracle.handle_timeout(ms(14_500));
    hear(&mut oracle, 14_600, 1, "EVICTED reason=timeout");
    hear(&mut oracle, 14_600, 0, "REQUEUED queue=duel position=1");
    for player in [0, 2] {
        hear(&mut oracle, 14_600, player, "FOUND match=2 accept_ms=9000");
        assign(&mut oracle, 14_700, player, 2, usize::from(player == 2));
    }
    // The position is gone.
    hear(&mut oracle, 14_800, 1, "QUEUED queue=duel position=1 needed=2 resume=k");
    assert_eq!(oracle.endings().evicted, 1);
    assert_broken(oracle, 14_900, "one match", "had not sent READY");
}
