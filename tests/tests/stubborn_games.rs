//! Games that do not exit on request.

use nix::sys::signal::Signal;
use testkit::{FaultToggle, Log, Muster, Setup, proc, wait_until};

/// A short life, and a grace after it that is long enough for a busy machine to let a game hear of it.
const SHORT: &str = "players = 1\nwarm = 0\nmax_duration = \"300ms\"\nstop_grace = \"2s\"";

/// A long life, and the same grace.
const LONG: &str = "players = 1\nwarm = 0\nstop_grace = \"2s\"";

/// A configuration for a short drain.
const IMPATIENT: &str = "[shutdown]\ndrain_timeout = \"100ms\"";

/// Faults row 20: a game that ignores `stop` and SIGTERM receives `stop` at the end of its time, SIGTERM at half its
/// grace time, and SIGKILL at its end.
#[test]
fn a_game_that_ignores_signals_is_killed_after_its_grace_period() {
    let muster = Setup::default().hostile("bad", &["stubborn"], SHORT).start();
    let _ada = muster.join("bad", "ada");
    is_asked_then_killed(&muster, "its time is over");
}

/// Faults row 20: as above, at the end of a drain.
#[test]
fn a_game_that_ignores_signals_does_not_delay_a_drain() {
    let setup = Setup::default().hostile("bad", &["stubborn"], LONG).config(IMPATIENT);
    let mut muster = setup.start();
    muster.join("bad", "ada").assignment(testkit::SOON).unwrap();
    muster.signal(Signal::SIGTERM);
    is_asked_then_killed(&muster, "the drain time is over");
    assert!(muster.wait_for_exit().success());
}

/// Faults row 20: a game cannot leave its process group, which is where signals are sent to: it leads a session.
#[test]
fn a_game_that_leaves_its_process_group_is_killed() {
    let muster = Setup::default().ports(1).hostile("bad", &["leaves-group"], SHORT).start();
    muster.join("bad", "ada").assignment(testkit::SOON).unwrap();
    muster.log().wait_for(&["left its group: Err(EPERM)"]);
    muster.log().wait_for(&["match stopped match=1", "signal 9"]);
    muster.wait_until_idle("bad", 0);
}

/// Faults row 20: a game that is dead and cannot be reaped, as another process traces it. That one is killed with it.
#[test]
fn a_game_under_a_tracer_is_reaped() {
    let keys = "players = 1\nwarm = 0\nmax_duration = \"300ms\"\nstop_grace = \"100ms\"";
    let muster = Setup::default().ports(1).hostile("bad", &["traced"], keys).start();
    muster.join("bad", "ada").assignment(testkit::SOON).unwrap();
    let tracer = muster.log().wait_for(&["left pid="]);
    muster.log().wait_for(&["match stopped match=1"]);
    assert!(!proc::is_alive(Log::field(&tracer, "pid").parse().unwrap()));
    muster.wait_until_idle("bad", 0);
}

fn is_asked_then_killed(muster: &Muster, why: &str) {
    muster.log().wait_for(&["match stopped match=1", "signal 9"]);
    let assigned = muster.log().wait_for(&["match assigned match=1"]);
    let text = muster.log().text();
    let in_order =
        [why, "got {\"type\":\"stop\",\"grace_ms\":2000}", "got SIGTERM", "match stopped"];
    let places = in_order.map(|part| text.find(part));
    assert!(places.is_sorted() && places[0].is_some(), "{places:?} of {in_order:?} in\n{text}");
    let pid = Log::field(&assigned, "pid").parse().unwrap();
    wait_until("its end", || !proc::is_alive(pid));
}

/// Faults row 20: a game that was stopped by SIGSTOP handles no signal and reads nothing. SIGKILL ends it, at the end
/// of its time.
#[test]
fn a_sigstopped_game_is_killed_after_its_grace_period() {
    let muster = Setup::default().hostile("bad", &["stopped", "started"], SHORT).start();
    let _ada = muster.join("bad", "ada");
    muster.log().wait_for(&["match stopped match=1", "signal 9"]);
    muster.wait_until_idle("bad", 0);
    assert!(muster.log().lines_with(&["resumed by SIGCONT"]).is_empty());
}

/// Faults row 20: as above, at the end of a drain.
#[test]
fn a_sigstopped_game_does_not_delay_a_drain() {
    let setup = Setup::default().hostile("bad", &["stopped", "started"], LONG).config(IMPATIENT);
    let mut muster = setup.start();
    let _ada = muster.join("bad", "ada");
    let assigned = muster.log().wait_for(&["match assigned match=1"]);
    let pid = Log::field(&assigned, "pid").parse().unwrap();
    wait_until("its standstill", || proc::state(pid) == Some('T'));
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success());
    wait_until("its end", || !proc::is_alive(pid));
}

/// Faults row 20: a warm game that was stopped by SIGSTOP says nothing when its players are sent to it. They keep
/// their places and get another.
#[test]
fn a_sigstopped_warm_game_does_not_delay_its_players() {
    let toggle = FaultToggle::new();
    let keys = "players = 1\nwarm = 1\nstart_timeout = \"200ms\"";
    let muster =
        Setup::default().hostile("bad", &toggle.until_fixed(&["stopped", "ready"]), keys).start();
    let ready = muster.log().wait_for(&["game ready game=1"]);
    let pid = Log::field(&ready, "pid").parse().unwrap();
    wait_until("its standstill", || proc::state(pid) == Some('T'));
    toggle.fix();
    let assigned = muster.join("bad", "ada").assignment(testkit::SOON).unwrap();
    assert_eq!(assigned.match_id, "1");
    muster.log().wait_for(&["game failed game=1 ", "did not say started in time"]);
    wait_until("its end", || !proc::is_alive(pid));
}

/// Faults row 20: a warm game that was stopped by SIGSTOP does not hold up a drain.
#[test]
fn a_sigstopped_warm_game_does_not_delay_a_drain() {
    let keys = "players = 1\nwarm = 1\nstop_grace = \"300ms\"";
    let mut muster = Setup::default().hostile("bad", &["stopped", "ready"], keys).start();
    let ready = muster.log().wait_for(&["game ready game=1"]);
    let pid = Log::field(&ready, "pid").parse().unwrap();
    wait_until("its standstill", || proc::state(pid) == Some('T'));
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success());
    wait_until("its end", || !proc::is_alive(pid));
}
