//! Operators' commands for a running daemon.

use client::Lobby;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use testkit::{Muster, SOON, Setup, binary, evicted_because, proc, wait_until};

fn json(muster: &Muster, command: &[&str]) -> Value {
    let command: Vec<&str> = command.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&muster.operate(&command).unwrap()).unwrap()
}

fn one() -> Setup {
    Setup::default().puppet("one", &[], "players = 1\nwarm = 0").puppet("pair", &[], "warm = 0")
}

#[test]
fn waiting_players_are_listed_without_keys_and_can_be_kicked() {
    let muster = one().start();
    let mut eve = muster.join("pair", "e\u{1b}[31mve");
    let shown = muster.operate(&["players"]).unwrap();
    assert!(shown.contains("e\\u{1b}[31mve") && shown.contains("here"), "{shown}");
    let players = json(&muster, &["players"]);
    let player = &players["players"][0];
    assert_eq!((&player["queue"], &player["here"]), (&"pair".into(), &true.into()));
    assert!(!players.to_string().contains("resume"), "{players}");
    let number = player["player"].as_str().unwrap();
    let reported = muster.operate(&["kick", number]).unwrap();
    assert!(reported.contains("removed player") && !reported.contains('\u{1b}'), "{reported}");
    assert_eq!(evicted_because(&mut eve), "kicked");
    let refused = muster.operate(&["kick", number]).unwrap_err();
    assert!(refused.contains("is not waiting"), "{refused}");
    assert_eq!(muster.operate(&["players"]).unwrap(), "no players waiting\n");
}

#[test]
fn games_are_listed_and_can_be_ended() {
    let muster = one().start();
    for arguments in [&["kill", "1"][..], &["kill", "2", "--now"][..]] {
        muster.join("one", "ada").assignment(SOON).unwrap();
        let shown = muster.operate(&["game", arguments[1]]).unwrap();
        assert!(shown.contains("running") && shown.contains("ada"), "{shown}");
        muster.operate(arguments).unwrap();
        muster.log().wait_for(&[&format!("match stopped match={} ", arguments[1])]);
        let ended = json(&muster, &["game", arguments[1]]);
        assert!(ended["ended"]["exit"].is_object() && ended["living"].is_null(), "{ended}");
    }
    let refused = muster.operate(&["kill", "99"]).unwrap_err();
    assert!(refused.contains("game 99 is not running"), "{refused}");
    let refused = muster.operate(&["game", "99"]).unwrap_err();
    assert!(refused.contains("game 99 is unknown"), "{refused}");
}

#[test]
fn a_drain_can_be_cancelled_or_waited_for() {
    let mut muster = one().start();
    let playing = muster.join("one", "ada").assignment(SOON).unwrap();
    muster.operate(&["drain"]).unwrap();
    assert_eq!(json(&muster, &["status"])["serving"], false);
    muster.operate(&["undrain"]).unwrap();
    let again = muster.join("one", "bob").assignment(SOON).unwrap();
    let mut wait = Command::new(binary("muster"));
    wait.args(["drain", "--wait", "--admin"]).arg(muster.directory().join("admin.sock"));
    let mut wait = wait.stdout(Stdio::null()).spawn().unwrap();
    muster.log().wait_for_count(2, &["draining, as requested by an operator"]);
    muster.order(playing.port, "exit 0");
    muster.order(again.port, "exit 0");
    assert!(muster.wait_for_exit().success());
    assert!(wait.wait().unwrap().success());
}

/// A process that waits for the end of a drain.
fn wait_for_drain(muster: &Muster) -> Child {
    let mut wait = Command::new(binary("muster"));
    wait.args(["drain", "--wait", "--admin"]).arg(muster.directory().join("admin.sock"));
    let wait = wait.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    muster.log().wait_for(&["draining, as requested by an operator"]);
    wait
}

/// Waits until it has looked some times.
fn looks_again(wait: &Child) {
    let pid = i32::try_from(wait.id()).unwrap();
    let before = proc::voluntary_switches(pid);
    wait_until("some looks", || proc::voluntary_switches(pid) > before + 6);
}

#[test]
fn an_operator_waiting_for_a_drain_sees_its_cancellation() {
    let muster = one().start();
    muster.join("one", "ada").assignment(SOON).unwrap();
    let wait = wait_for_drain(&muster);
    looks_again(&wait);
    muster.operate(&["undrain"]).unwrap();
    let output = wait.wait_with_output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("the drain was cancelled"), "{words}");
}

/// A daemon that crashes while it drains has not drained, and its successor drains on.
#[test]
fn waiting_for_a_drain_survives_a_crash() {
    let mut muster = one().keep("60s").start();
    let playing = muster.join("one", "ada").assignment(SOON).unwrap();
    let mut wait = wait_for_drain(&muster);
    // While the keeper is stopped no daemon is started.
    let keeper = Pid::from_raw(muster.started_pid());
    kill(keeper, Signal::SIGSTOP).unwrap();
    muster.signal(Signal::SIGKILL);
    looks_again(&wait);
    kill(keeper, Signal::SIGCONT).unwrap();
    muster.log().wait_for(&["back after a crash"]);
    looks_again(&wait);
    assert_eq!(wait.try_wait().unwrap(), None, "its game is played");
    muster.order(playing.port, "exit 0");
    assert!(muster.wait_for_exit().success());
    let output = wait.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A deferred dump is answered, by whichever daemon runs then.
#[test]
fn a_dump_and_an_upgrade_are_both_answered() {
    let muster = one().start();
    let _waiting: Vec<Lobby> = (0..200).map(|n| muster.join("pair", &format!("p{n}"))).collect();
    let admin = UnixStream::connect(muster.directory().join("admin.sock")).unwrap();
    admin.set_read_timeout(Some(SOON)).unwrap();
    let mut lines = BufReader::new(admin);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let upgrades = scope.spawn(|| {
            (0..5).for_each(|_| drop(muster.upgrade(None).unwrap()));
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) && !upgrades.is_finished() {
            lines.get_mut().write_all(b"{\"request\":\"dump\"}\n").unwrap();
            let mut answer = String::new();
            lines.read_line(&mut answer).unwrap();
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert!(
                answer["matchmaker"]["players"].is_object() || answer["error"].is_string(),
                "{answer}"
            );
        }
    });
}

#[test]
fn the_log_level_changes_at_once() {
    let muster = one().log("info").start();
    assert!(muster.operate(&["log", "debug"]).is_ok());
    drop(muster.join("pair", "ada"));
    muster.log().wait_for(&["DEBUG"]);
    let refused = muster.operate(&["log", "loud"]).unwrap_err();
    assert!(refused.contains("loud"), "{refused}");
}

#[test]
fn a_dump_has_the_state_without_secrets() {
    let muster = one().start();
    let mut ada = muster.connect();
    let joined = ada.join(Some("pair"), Some("ada"), SOON).unwrap();
    let dump = muster.operate(&["dump"]).unwrap();
    let state: Value = serde_json::from_str(&dump).unwrap();
    assert!(dump.contains("ada") && state["matchmaker"]["players"].is_object(), "{dump}");
    assert!(!dump.contains(&joined.resume), "{dump}");
    assert_eq!(state["matchmaker"]["sessions"], "(hidden)");
}

#[test]
fn completions_are_printed_for_the_named_shell() {
    let output = Command::new(binary("muster")).args(["completions", "bash"]).output().unwrap();
    let script = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && script.contains("_muster()"), "{script}");
    let output = Command::new(binary("muster")).args(["completions", "abacus"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn status_watch_needs_a_terminal() {
    let muster = one().start();
    let mut command = Command::new(binary("muster"));
    command.args(["status", "--watch", "--admin"]).arg(muster.directory().join("admin.sock"));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("needs a terminal"), "{words}");
    wait_until("the daemon continues", || proc::state(muster.pid()) != Some('Z'));
}
