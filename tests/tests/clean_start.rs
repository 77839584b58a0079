//! Whatever state Muster inherits, it works as usual, and games inherit none of it.

use std::fs;
use std::path::Path;
use std::process::Command;

use client::GameSocket;
use nix::sys::signal::Signal;
use testkit::{Muster, SOON, Setup, proc, wait_until};

/// Does to itself what careless parents do, as far as it may, and becomes Muster.
const ODD_PARENT: &str = r#"
import ctypes, os, platform, resource, signal, sys

def attempt(act, *arguments):
    try: act(*arguments)
    except (OSError, ValueError): pass

for number in range(1, 65):
    attempt(signal.signal, number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
attempt(os.sched_setscheduler, 0, os.SCHED_BATCH, os.sched_param(0))
attempt(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1))
attempt(os.setpriority, os.PRIO_PROCESS, 0, 7)
attempt(os.sched_setaffinity, 0, {min(os.sched_getaffinity(0))})
idle = 3 << 13
ioprio_set = {"x86_64": 251, "aarch64": 30}.get(platform.machine())
if ioprio_set: ctypes.CDLL(None).syscall(ioprio_set, 1, 0, idle)
open("/proc/self/oom_score_adj", "w").write("700")
os.umask(0)
for what, soft in (("CPU", 3600), ("FSIZE", 1 << 24), ("STACK", 1 << 20), ("DATA", 1 << 31)):
    number = getattr(resource, "RLIMIT_" + what)
    resource.setrlimit(number, (soft, resource.getrlimit(number)[1]))
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
for number in (3, 57, 58):
    os.dup2(os.open(os.environ["TMPDIR"] + "/stray", os.O_RDWR | os.O_CREAT), number)
os.execv(sys.argv[1], sys.argv[1:])
"#;

/// SIGPIPE, SIGTTOU and SIGXFSZ: a service handles them as errors of calls.
const IGNORED: u64 = 1 << 12 | 1 << 21 | 1 << 24;

fn odd() -> Option<Setup> {
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("skipped: there is no /usr/bin/python3");
        return None;
    }
    Some(
        Setup::default()
            .through_shell("/usr/bin/python3", ODD_PARENT)
            .mode("echo", &["muster-game", "echo"], "players = 1\nwarm = 1")
            .mode("forked", &["muster-game", "echo"], "players = 1\nwarm = 1\ntemplate = true")
            .mode("still", &["/bin/sleep", "600"], "players = 1\nwarm = 0\ncontract = \"plain\"")
            .mode(
                "short",
                &["/bin/sh", "-c", "exit 3"],
                "players = 1\nwarm = 0\ncontract = \"plain\"",
            ),
    )
}

fn signals(pid: i32, field: &str) -> u64 {
    u64::from_str_radix(&proc::status(pid, field).unwrap(), 16).unwrap()
}

/// A field of `/proc/pid/stat` by the number that proc_pid_stat(5) gives it; from 3 on.
fn stat(pid: i32, number: usize) -> i64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(number - 3).unwrap().trim().parse().unwrap()
}

fn oom_score(pid: i32) -> i32 {
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    score.trim().parse().unwrap()
}

/// The soft and the hard limit of something.
fn limit(pid: i32, name: &str) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

/// The invariants of each of Muster's processes and each game.
fn is_clean(who: &str, pid: i32) {
    assert_eq!(stat(pid, 41), 0, "{who}: SCHED_OTHER");
    assert_eq!(stat(pid, 40), 0, "{who}: no priority");
    assert_eq!(limit(pid, "Max core file size"), ("0".into(), "0".into()), "{who}");
    for name in ["Max cpu time", "Max data size", "Max file size"] {
        let (soft, hard) = limit(pid, name);
        assert_eq!(soft, hard, "{who}: {name}");
    }
    assert_ne!(limit(pid, "Max stack size").0, (1 << 20).to_string(), "{who}");
    if let Ok(reported) = Command::new("ionice").args(["-p", &pid.to_string()]).output() {
        let reported = String::from_utf8_lossy(&reported.stdout).into_owned();
        assert!(reported.starts_with("none"), "{who}: {reported}");
    }
    for number in proc::descriptors(pid) {
        let what = fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap_or_default();
        let is_stray = number > 2 && what.ends_with("stray");
        assert!(!is_stray, "{who}: {number} is {what:?}");
    }
}

fn is_clean_service(who: &str, pid: i32) {
    is_clean(who, pid);
    assert_eq!(signals(pid, "SigIgn") & !IGNORED, 0, "{who}");
    assert_eq!(oom_score(pid), 0, "{who}");
    assert_eq!(proc::status(pid, "Umask").unwrap(), "0077", "{who}");
}

/// No other process of the user looks into it: its files in /proc are root's, and cores are not written.
fn is_private(pid: i32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (own, status) = (format!("/proc/{pid}/environ"), format!("/proc/{pid}"));
    fs::metadata(own).unwrap().uid() == 0 && fs::metadata(status).is_ok()
}

fn is_clean_game(who: &str, pid: i32, launcher: i32) {
    is_clean(who, pid);
    let is_root = nix::unistd::geteuid().is_root();
    // What muster-game itself does: it ignores SIGPIPE, and reads SIGINT and SIGTERM from a descriptor.
    let (ignored, blocked) = match who.contains("still") {
        true => (0, 0),
        false => (1 << 12, 1 << 1 | 1 << 14),
    };
    assert_eq!(signals(pid, "SigIgn") & !ignored, 0, "{who}");
    assert_eq!(signals(pid, "SigBlk") & !blocked, 0, "{who}");
    assert!(oom_score(pid) > 0, "{who}");
    assert_eq!(proc::status(pid, "Umask").unwrap(), "0022", "{who}");
    let processors = |pid: i32| proc::status(pid, "Cpus_allowed_list").unwrap();
    assert_eq!(processors(pid), processors(launcher), "{who}");
    // The daemon has one, which is its operator's choice.
    let own = processors(i32::try_from(std::process::id()).unwrap());
    assert!(own.parse::<u32>().is_ok() || own.len() <= processors(pid).len(), "{who}: {own}");
    assert_eq!(stat(pid, 19), if is_root { 0 } else { 7 }, "{who}: nice");
    let beyond: Vec<i32> = proc::descriptors(pid).into_iter().filter(|fd| *fd > 4).collect();
    // The others open some of their own.
    assert!(beyond.is_empty() || !who.contains("still"), "{who}: {beyond:?}");
}

fn plays_and_is_clean(setup: Setup) {
    let mut muster = setup.start();
    let mut playing = Vec::new();
    for mode in ["echo", "forked"] {
        let mut lobby = muster.join(mode, "ada");
        let mut game = GameSocket::enter(&lobby.assignment(SOON).unwrap(), SOON).unwrap();
        game.ping("x", SOON).unwrap();
        playing.push((mode, game));
    }
    muster.join("still", "cid").assignment(SOON).unwrap();
    let (first, daemon, launcher) = (muster.started_pid(), muster.pid(), muster.launcher());
    for (who, pid) in [("first", first), ("daemon", daemon)] {
        is_clean_service(who, pid);
        assert_eq!(stat(pid, 19), 7, "{who} keeps its nice value");
    }
    is_clean("launcher", launcher);
    for game in muster.living_games() {
        let pid = i32::try_from(game["pid"].as_i64().unwrap()).unwrap();
        is_clean_game(&game.to_string(), pid, launcher);
    }
    if nix::unistd::geteuid().is_root() {
        assert!([first, daemon, launcher].into_iter().all(is_private));
    }
    // Exits are noticed, and the port is released.
    for _ in 0..3 {
        muster.join("short", "bob").assignment(SOON).unwrap();
    }
    muster.log().wait_for_count(3, &["match finished", "mode=short"]);
    wait_until("no zombies", || {
        proc::children(daemon).into_iter().all(|pid| proc::state(pid) != Some('Z'))
    });
    for (_, mut game) in playing {
        game.bye(SOON).unwrap();
    }
    muster.log().wait_for(&["match finished", "mode=echo"]);
    muster.log().wait_for(&["match finished", "mode=forked"]);
    // The second one ends running games.
    muster.signal(Signal::SIGTERM);
    muster.log().wait_for(&["draining"]);
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success(), "a stop works although signals were ignored");
}

#[test]
fn an_odd_inherited_environment_is_reset() {
    odd().into_iter().for_each(plays_and_is_clean);
}

#[test]
fn an_odd_inherited_environment_is_reset_under_a_keeper() {
    odd().map(|setup| setup.keep("10s")).into_iter().for_each(plays_and_is_clean);
}

/// The descriptors that it hands over live through an upgrade, after a start from an odd parent, too.
#[test]
fn an_upgrade_keeps_the_inherited_settings() {
    let Some(setup) = odd() else { return };
    let muster = setup.start();
    let mut lobby = muster.join("echo", "ada");
    let mut game = GameSocket::enter(&lobby.assignment(SOON).unwrap(), SOON).unwrap();
    muster.upgrade(None).unwrap();
    game.ping("x", SOON).unwrap();
    is_clean_service("daemon", muster.pid());
    muster.join("short", "bob").assignment(SOON).unwrap();
    muster.log().wait_for(&["match finished", "mode=short"]);
    game.bye(SOON).unwrap();
    muster.log().wait_for(&["match finished", "mode=echo"]);
}

/// Nothing that a user without rights cannot do stops it, either.
#[test]
fn without_privileges_the_start_is_as_clean_as_permitted() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can start it as another user");
        return;
    }
    let Some(setup) = odd() else { return };
    let muster: Muster = setup.user(54_321).start();
    let mut lobby = muster.join("echo", "ada");
    let mut game = GameSocket::enter(&lobby.assignment(SOON).unwrap(), SOON).unwrap();
    game.ping("x", SOON).unwrap();
    assert_eq!(signals(muster.pid(), "SigIgn") & !IGNORED, 0);
    assert!([muster.pid(), muster.launcher()].into_iter().all(is_private));
    muster.upgrade(None).unwrap();
    game.ping("x", SOON).unwrap();
    muster.join("short", "bob").assignment(SOON).unwrap();
    muster.log().wait_for(&["match finished", "mode=short"]);
    game.bye(SOON).unwrap();
}
