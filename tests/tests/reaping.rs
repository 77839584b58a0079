//! Exits that are rare, and must not keep the daemon from reaping.

use testkit::Setup;

/// Real-time signals have no names, and not every library knows that they end a process too.
#[test]
fn a_game_killed_by_a_real_time_signal_is_reaped_like_any_other() {
    let muster = Setup::default()
        .mode("odd", &["/bin/sh", "-c", "kill -34 $$"], "warm = 1\nplayers = 1")
        .duel("warm = 1")
        .start();
    muster.log().wait_for(&["game failed", "mode=odd", "ended with signal 34"]);
    let mut ada = muster.join("duel", "ada");
    let _bob = muster.join("duel", "bob");
    ada.assignment(testkit::SOON).unwrap();
}
