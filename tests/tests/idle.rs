//! Waiting costs nothing: a daemon for which there is nothing to do is not woken.

use testkit::{CpuComparison, Muster, Setup, Wire, wait_for, wait_until};

/// Fails unless there is a period in which a daemon is not woken once, while another process is woken thousands of
/// times. Earlier events may still cause wake-ups at first; periodic ones do not stop.
fn assert_asleep(muster: &Muster) {
    let work = wait_for("a sound sleep", || {
        let work = CpuComparison::of(muster.pid());
        (work.wakeups == 0).then_some(work)
    });
    work.assert_idle();
    assert!(work.requests > 100, "{work:?}");
}

#[test]
fn a_queued_player_and_warm_games_use_no_processor() {
    let limits = "[limits]\nidle_timeout = \"100ms\"";
    let muster = Setup::default().config(limits).duel("warm = 2").start();
    muster.log().wait_for_count(2, &["game ready"]);
    let _queued = muster.join("duel", "ada");
    // Idle clients that are not queued are closed, and so would the player be by now.
    let mut idle = Wire::greeted(muster.address());
    idle.say("PING\n");
    assert!(idle.rest().last().unwrap().starts_with("ERR 408 "));
    drop(idle);
    assert_asleep(&muster);
    for game in muster.games() {
        assert_eq!(CpuComparison::of(game).wakeups, 0, "a warm game was woken");
    }
}

#[test]
fn a_long_queue_uses_no_processor() {
    let muster = Setup::default().ports(1).puppet("duel", &[], "players = 2\nwarm = 0").start();
    let queued: Vec<_> = (0..203).map(|_| muster.join("duel", "ada")).collect();
    muster.log().wait_for(&["match assigned", "match=1"]);
    // Two of them play, one has no partner yet; all others wait for the one port.
    wait_until("the line", || muster.status("duel") == (201, 1, 0));
    assert_asleep(&muster);
    drop(queued);
}

#[test]
fn a_daemon_without_clients_uses_no_processor() {
    let muster = Setup::default().duel("warm = 0").start();
    assert_asleep(&muster);
}
