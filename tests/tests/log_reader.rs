//! The reader of the log may be stopped or gone: Muster does not wait for it.

use std::fs;
use std::path::Path;

use client::GameSocket;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use testkit::{Muster, SOON, Setup, proc, wait_for, wait_until};

/// Puts a reader between Muster's stderr and the test: a pipe of one page, and a separate process that passes on what
/// it reads. It is a child of neither the test nor Muster, and writes its pid to a file.
const WITH_READER: &str = r#"
import fcntl, os, sys
ours, its = os.pipe()
fcntl.fcntl(its, 1031, 4096)
if os.fork() == 0:
    if os.fork() == 0:
        os.close(its)
        place = os.environ["TMPDIR"] + "/reader"
        with open(place + ".new", "w") as file: file.write(str(os.getpid()))
        os.rename(place + ".new", place)
        while data := os.read(ours, 65536): os.write(2, data)
    os._exit(0)
os.wait()
os.dup2(its, 2)
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// More than waits in memory for a reader: lines of 900 bytes.
const NOISE: &str = "line=$(printf 'x%.0s' $(seq 900)); i=0; \
                     while [ $i -lt 4000 ]; do echo $line; i=$((i+1)); done";

fn setup() -> Option<Setup> {
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("skipped: there is no /usr/bin/python3");
        return None;
    }
    let noisy = ["/bin/sh", "-c", NOISE];
    Some(
        Setup::default()
            .through_shell("/usr/bin/python3", WITH_READER)
            .config("[limits]\noutput_lines_per_second = 100000")
            .mode("noisy", &noisy, "players = 1\nwarm = 0\ncontract = \"plain\"")
            .mode("echo", &["muster-game", "echo"], "players = 1\nwarm = 1"),
    )
}

/// The process that passes the log on to the test; killed when dropped.
struct Reader(Pid);

impl Reader {
    fn of(muster: &Muster) -> Self {
        let place = muster.directory().join("reader");
        let pid = wait_for("the reader", || fs::read_to_string(&place).ok()?.parse().ok());
        Self(Pid::from_raw(pid))
    }

    fn stop(&self) {
        kill(self.0, Signal::SIGSTOP).unwrap();
        wait_until("its standstill", || proc::state(self.0.as_raw()) == Some('T'));
    }

    fn go_on(&self) {
        kill(self.0, Signal::SIGCONT).unwrap();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

fn play_a_match(muster: &Muster) {
    let mut lobby = muster.join("echo", "ada");
    let mut game = GameSocket::enter(&lobby.assignment(SOON).unwrap(), SOON).unwrap();
    game.ping("x", SOON).unwrap();
    game.bye(SOON).unwrap();
}

/// The answer to a status request. `None` if there is none.
fn status(muster: &Muster) -> Option<Value> {
    serde_json::from_str(&muster.operate(&["status", "--json"]).ok()?).ok()
}

/// How many games have ended, by the operator's word.
fn ended(muster: &Muster) -> u64 {
    status(muster).unwrap()["reports"]["ended"].as_u64().unwrap()
}

fn make_noise(muster: &Muster) {
    let before = ended(muster);
    muster.join("noisy", "bob").assignment(SOON).unwrap();
    wait_until("the end of the noise", || ended(muster) > before);
}

fn matches_continue_while_the_reader_is_stopped(setup: Setup) {
    let mut muster = setup.start();
    let reader = Reader::of(&muster);
    play_a_match(&muster);
    reader.stop();
    for _ in 0..3 {
        make_noise(&muster);
        play_a_match(&muster);
    }
    muster.upgrade(None).unwrap();
    play_a_match(&muster);
    reader.go_on();
    let lost = muster.log().wait_for(&["log lines were lost: the log is not being read"]);
    assert!(lost.contains("WARN"), "{lost}");
    muster.log().wait_for(&["upgraded from="]);
    // And what comes is written as ever.
    play_a_match(&muster);
    reader.stop();
    make_noise(&muster);
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success(), "it exits although the log is not read");
}

#[test]
fn a_stopped_log_reader_does_not_stop_the_daemon() {
    setup().into_iter().for_each(matches_continue_while_the_reader_is_stopped);
}

#[test]
fn a_stopped_log_reader_does_not_stop_a_daemon_with_keeper() {
    let kept = setup().map(|setup| setup.keep("5s"));
    kept.into_iter().for_each(matches_continue_while_the_reader_is_stopped);
}

#[test]
fn a_dead_log_reader_does_not_stop_the_daemon() {
    let Some(setup) = setup() else { return };
    let mut muster = setup.start();
    let reader = Reader::of(&muster);
    play_a_match(&muster);
    drop(reader);
    make_noise(&muster);
    play_a_match(&muster);
    muster.upgrade(None).unwrap();
    play_a_match(&muster);
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success());
}

/// A crash while the log is not read is recovered like any other.
#[test]
fn a_daemon_recovers_from_a_crash_with_a_stopped_log_reader() {
    let Some(setup) = setup() else { return };
    let muster = setup.keep("5s").start();
    let reader = Reader::of(&muster);
    reader.stop();
    make_noise(&muster);
    let before = muster.pid();
    kill(Pid::from_raw(before), Signal::SIGABRT).unwrap();
    wait_until("the next daemon", || {
        status(&muster).is_some_and(|now| now["pid"].as_i64() != Some(before.into()))
    });
    play_a_match(&muster);
    reader.go_on();
    muster.log().wait_for(&["the daemon died of signal 6", "restarting it now"]);
}
