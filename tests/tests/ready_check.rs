//! The ready check: a match is formed when all players have accepted it, and only those who have not lose their
//! positions.

use std::time::{Duration, Instant};

use testkit::{Muster, Setup, Wire, wait_until};

/// A daemon whose queue `duel` asks its players, and gives them so much time.
fn duel(accept_timeout: &str, limits: &str) -> Muster {
    let keys = format!("players = 2\nwarm = 1\naccept_timeout = \"{accept_timeout}\"");
    let setup = Setup::default().config(&format!("[limits]\n{limits}"));
    setup.mode("duel", &["muster-game", "echo"], &keys).start()
}

/// A new connection, queued; and the key of its session.
fn join(muster: &Muster, name: &str) -> (Wire, String) {
    let mut wire = Wire::greeted(muster.address());
    let queued = wire.ask(format!("READY name={name}\n"));
    let (_, key) = queued.split_once(" resume=").unwrap_or_else(|| panic!("received {queued}"));
    (wire, key.to_owned())
}

/// The next line that begins so, after news of the queue.
fn next_line(wire: &mut Wire, start: &str) -> String {
    loop {
        let line = wire.line();
        if line.starts_with(start) {
            return line;
        }
        let is_news =
            ["QUEUED ", "WAITING ", "ACCEPTED "].iter().any(|news| line.starts_with(news));
        assert!(is_news, "received {line:?} in place of {start}");
    }
}

/// Two players with an offer, and their keys.
fn found(muster: &Muster) -> [(Wire, String); 2] {
    let mut pair = ["ada", "bob"].map(|name| join(muster, name));
    for (wire, _) in &mut pair {
        next_line(wire, "FOUND match=");
    }
    pair
}

/// Both are assigned to the same match.
fn assert_assigned(wires: [&mut Wire; 2]) {
    let lines = wires.map(|wire| next_line(wire, "ASSIGN match="));
    let matches = lines.each_ref().map(|line| line.split(' ').nth(1).unwrap());
    assert_eq!(matches[0], matches[1], "{lines:?}");
}

/// Both take the next match.
fn assert_play_on(muster: &Muster, mut wires: [&mut Wire; 2]) {
    for wire in &mut wires {
        next_line(wire, "FOUND match=");
        wire.say("ACCEPT\n");
    }
    assert_assigned(wires);
    assert_eq!(muster.status("duel").0, 0);
}

#[test]
fn all_players_accept_and_play() {
    let muster = duel("1m", "");
    let (mut ada, _) = join(&muster, "ada");
    assert!(ada.ask("ACCEPT\n").starts_with("ERR 503 "), "nothing is found");
    let (mut bob, _) = join(&muster, "bob");
    let line = next_line(&mut ada, "FOUND ");
    let ms: u64 = line.strip_prefix("FOUND match=1 accept_ms=").unwrap().parse().unwrap();
    assert!((50_000..=60_000).contains(&ms), "{line}");
    assert_eq!(next_line(&mut bob, "FOUND ").split(' ').nth(1), Some("match=1"));
    assert_eq!(muster.status("duel").0, 2);
    ada.say("ACCEPT\n");
    assert_eq!([&mut ada, &mut bob].map(|wire| wire.line()), ["ACCEPTED count=1 of=2"; 2]);
    assert_eq!(ada.ask("accept\n"), "ACCEPTED count=1 of=2", "once is enough");
    assert_eq!(bob.line(), "ACCEPTED count=1 of=2");
    bob.say("ACCEPT\n");
    assert_eq!([&mut ada, &mut bob].map(|wire| wire.line()), ["ACCEPTED count=2 of=2"; 2]);
    assert_assigned([&mut ada, &mut bob]);
}

#[test]
fn a_player_who_declines_is_removed_and_the_others_keep_their_positions() {
    let muster = duel("1m", "");
    let [(mut ada, _), (mut bob, key)] = found(&muster);
    let (mut cleo, _) = join(&muster, "cleo");
    ada.say("ACCEPT\n");
    bob.say("DECLINE\n");
    assert_eq!(next_line(&mut bob, "EVICTED "), "EVICTED reason=declined");
    assert_eq!(next_line(&mut ada, "REQUEUED "), "REQUEUED queue=duel position=1");
    assert!(bob.ask("ACCEPT\n").starts_with("ERR 503 "));
    assert!(bob.ask(format!("READY resume={key}\n")).starts_with("ERR 505 "));
    // What was accepted is no longer: this is another match.
    assert_play_on(&muster, [&mut ada, &mut cleo]);
    assert!(bob.ask("READY name=bob\n").starts_with("QUEUED queue=duel position=1 "));
}

#[test]
fn a_player_who_does_not_answer_is_removed() {
    let muster = duel("300ms", "");
    let [(mut ada, _), (mut bob, _)] = found(&muster);
    ada.say("ACCEPT\n");
    assert_eq!(next_line(&mut bob, "EVICTED "), "EVICTED reason=timeout");
    assert_eq!(next_line(&mut ada, "REQUEUED "), "REQUEUED queue=duel position=1");
    let (mut cleo, _) = join(&muster, "cleo");
    assert_play_on(&muster, [&mut ada, &mut cleo]);
    // Neither answers: both are evicted.
    for (mut wire, _) in found(&muster) {
        assert_eq!(next_line(&mut wire, "EVICTED "), "EVICTED reason=timeout");
        assert!(wire.is_open());
    }
    assert_eq!(muster.status("duel").0, 0);
}

/// The idle time-out of an evicted player starts with the eviction.
#[test]
fn a_removed_player_has_time_to_queue_again() {
    let muster = duel("1500ms", "idle_timeout = \"1s\"");
    let mut evicted = found(&muster);
    for (wire, _) in &mut evicted {
        assert_eq!(next_line(wire, "EVICTED "), "EVICTED reason=timeout");
        assert_eq!(wire.ask("PING\n"), "PONG");
    }
    for (wire, _) in &mut evicted {
        assert!(wire.rest().last().unwrap().starts_with("ERR 408 "), "idle in the end");
    }
}

#[test]
fn a_player_who_leaves_during_the_ready_check_cancels_it() {
    let muster = duel("1m", "");
    let [(mut ada, _), (mut bob, _)] = found(&muster);
    ada.say("ACCEPT\n");
    bob.say("LEAVE\n");
    assert_eq!(next_line(&mut bob, "LEFT"), "LEFT");
    assert_eq!(next_line(&mut ada, "REQUEUED "), "REQUEUED queue=duel position=1");
    let (cleo, key) = join(&muster, "cleo");
    next_line(&mut ada, "FOUND match=2 ");
    cleo.reset();
    assert_eq!(next_line(&mut ada, "REQUEUED "), "REQUEUED queue=duel position=1");
    let mut cleo = Wire::greeted(muster.address());
    let answer = cleo.ask(format!("READY resume={key}\n"));
    assert!(answer.starts_with("QUEUED queue=duel position=2 "), "{answer}");
    assert_play_on(&muster, [&mut ada, &mut cleo]);
}

/// A newer connection receives the state of the offer, and may answer it.
#[test]
fn an_offer_is_repeated_on_a_new_connection() {
    let muster = duel("1m", "");
    let [(mut ada, key), (mut bob, _)] = found(&muster);
    bob.say("ACCEPT\n");
    next_line(&mut ada, "ACCEPTED ");
    let mut again = Wire::greeted(muster.address());
    assert!(again.ask(format!("READY resume={key}\n")).starts_with("QUEUED "));
    assert_eq!(next_line(&mut again, "FOUND ").split(' ').nth(1), Some("match=1"));
    assert_eq!(ada.rest(), ["BYE reason=replaced"]);
    again.say("ACCEPT\n");
    assert_assigned([&mut again, &mut bob]);
}

/// Faults row 17.
#[test]
fn two_answers_at_once_have_one_outcome() {
    let muster = duel("1m", "");
    for answers in [["ACCEPT\n", "ACCEPT\n"], ["ACCEPT\n", "DECLINE\n"], ["DECLINE\n", "DECLINE\n"]]
    {
        let [(mut ada, _), (mut bob, _)] = found(&muster);
        muster.while_stopped(|| {
            ada.say(answers[0]);
            bob.say(answers[1]);
        });
        match answers {
            ["ACCEPT\n", "ACCEPT\n"] => assert_assigned([&mut ada, &mut bob]),
            ["ACCEPT\n", _] => {
                next_line(&mut bob, "EVICTED reason=declined");
                next_line(&mut ada, "REQUEUED ");
                assert_eq!(ada.ask("LEAVE\n"), "LEFT");
            }
            // The match of the second was gone with the first.
            _ => {
                let mut ends = [&mut ada, &mut bob].map(|wire| match wire.line() {
                    line if line.starts_with("REQUEUED ") => wire.line(),
                    line => line,
                });
                ends.sort_unstable();
                assert!(ends[0].starts_with("ERR 503 "), "{ends:?}");
                assert_eq!(ends[1], "EVICTED reason=declined");
            }
        }
    }
}

/// Whatever comes first, all players agree on it.
#[test]
fn an_answer_at_the_deadline_has_one_outcome() {
    let muster = duel("100ms", "");
    for late in [false, true] {
        let [(mut ada, _), (mut bob, _)] = found(&muster);
        ada.say("ACCEPT\n");
        next_line(&mut bob, "ACCEPTED ");
        let since = Instant::now();
        muster.while_stopped(|| {
            if late {
                wait_until("the time to pass", || since.elapsed() > Duration::from_millis(150));
            }
            bob.say("ACCEPT\n");
        });
        let first = [&mut bob, &mut ada].map(|wire| wire.line());
        if first[0].starts_with("EVICTED ") {
            assert_eq!(first[0], "EVICTED reason=timeout");
            assert_eq!(first[1], "ACCEPTED count=1 of=2");
            next_line(&mut ada, "REQUEUED ");
            assert!(bob.line().starts_with("ERR 503 "), "too late");
            assert_eq!(ada.ask("LEAVE\n"), "LEFT");
        } else {
            assert!(!late, "{first:?}");
            assert_assigned([&mut ada, &mut bob]);
        }
    }
}
