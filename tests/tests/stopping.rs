//! Games that take time to exit: each is asked once, and has its whole grace time, and so have all its processes.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use testkit::{Log, Muster, SOON, Setup, proc, wait_until};

/// A plain mode with a grace that outlasts what its games do, however slow the machine is.
const PATIENT: &str = "players = 1\ncontract = \"plain\"\nready_line = \"^up\"\nready_timeout = \"1m\"\nstop_grace = \"1m\"";

/// A server that saves for as long as the test lets it: until there is a file. Each signal that it gets is in the log,
/// and may come while it prints, when Python's `print` cannot be called again, or just before it sleeps, which then is
/// not interrupted.
fn server(cue: &Path) -> String {
    format!(
        "import os, signal, sys, time\n\
         def stop(number, _):\n    os.write(1, b'got %d\\n' % number)\n    while not os.path.exists({cue:?}): time.sleep(0.01)\n    \
         os.write(1, b'saved\\n')\n    sys.exit(0)\n\
         signal.signal(signal.SIGTERM, stop)\nprint('up', os.getpid(), flush=True)\nwhile True: time.sleep(0.01)\n"
    )
}

/// A directory that every game may read, with a server, the cue that lets it end, and a start script for it.
struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(directory.path().join("server.py"), server(&directory.path().join("cue")))
            .unwrap();
        Self { directory }
    }

    fn script(&self, before: &str, after: &str) -> String {
        let server = self.directory.path().join("server.py");
        format!("{before} /usr/bin/python3 {}{after}", server.display())
    }

    fn keys(&self) -> String {
        format!("{PATIENT}\n[mode.confinement]\nread = [{:?}]", self.directory.path())
    }

    fn cue(&self) {
        fs::write(self.directory.path().join("cue"), "").unwrap();
    }

    /// A mode whose games are made by a shell script.
    fn setup(&self, script: &str) -> Setup {
        Setup::default().ports(1).mode("saves", &["/bin/sh", "-c", script], &self.keys())
    }
}

fn play(muster: &Muster) {
    muster.join("saves", "ada").assignment(SOON).unwrap();
}

fn kill(muster: &Muster, how: &[&str]) {
    muster.operate(&[&["kill", "1"], how].concat()).unwrap();
}

/// The server was asked once, had the time that it took, and its port came back when all was over.
fn has_saved(muster: &Muster) {
    muster.log().wait_for(&["match stopped match=1"]);
    muster.log().wait_for(&["output game=1", "saved"]);
    assert_eq!(muster.log().lines_with(&["output game=1", "got 15"]).len(), 1);
    muster.wait_until_idle("saves", 0);
}

/// The ways in which servers are started: by themselves, by a script that does not become them, in a session of their
/// own, and by a script that is in a hurry to end.
#[test]
fn a_game_that_saves_gets_its_whole_grace_period() {
    for (before, after) in [
        ("exec", ""),
        ("", "; echo the script continues"),
        ("setsid", " & wait"),
        ("trap 'exit 0' TERM;", " & wait"),
        ("(", "; echo on); echo on"),
    ] {
        let stage = Stage::new();
        let muster = stage.setup(&stage.script(before, after)).start();
        play(&muster);
        kill(&muster, &[]);
        // It is signalled at once, as a plain program has no other notification.
        muster.log().wait_for(&["output game=1", "got 15"]);
        // Processes that end meanwhile are reaped, and no other is affected.
        let server = muster.log().wait_for(&["output game=1", "up "]);
        let pid: i32 = server.rsplit(' ').next().unwrap().parse().unwrap();
        for _ in 0..3 {
            assert_eq!(muster.status("saves").2, 0, "{before}: its port is taken");
            assert!(proc::is_alive(pid), "{before}: it was killed while it saved");
        }
        stage.cue();
        has_saved(&muster);
    }
}

/// However a game is stopped.
#[test]
fn a_drain_and_a_match_time_limit_grant_the_grace_period_too() {
    let stage = Stage::new();
    let script = stage.script("", "; echo on");
    let mut muster = stage.setup(&script).config("[shutdown]\ndrain_timeout = \"100ms\"").start();
    play(&muster);
    muster.signal(Signal::SIGTERM);
    muster.log().wait_for(&["output game=1", "got 15"]);
    stage.cue();
    assert!(muster.wait_for_exit().success());
    muster.log().wait_for(&["output game=1", "saved"]);

    let stage = Stage::new();
    let keys = stage.keys().replace("[mode.c", "max_duration = \"100ms\"\n[mode.c");
    let script = stage.script("", "; echo on");
    let muster =
        Setup::default().ports(1).mode("saves", &["/bin/sh", "-c", &script], &keys).start();
    play(&muster);
    muster.log().wait_for(&["game stopping game=1", "its time is over", "max_duration"]);
    muster.log().wait_for(&["output game=1", "got 15"]);
    stage.cue();
    has_saved(&muster);
}

/// A game that does not exit within its grace time is killed at its end, or at once with --now.
#[test]
fn a_game_that_saves_too_long_is_killed() {
    let stage = Stage::new();
    let script = stage.script("", "; echo on");
    let muster = stage.setup(&script).start();
    play(&muster);
    kill(&muster, &[]);
    let server = muster.log().wait_for(&["output game=1", "up "]);
    muster.log().wait_for(&["output game=1", "got 15"]);
    kill(&muster, &["--now"]);
    muster.log().wait_for(&["match stopped match=1"]);
    let pid: i32 = server.rsplit(' ').next().unwrap().parse().unwrap();
    wait_until("its end", || !proc::is_alive(pid));
    muster.wait_until_idle("saves", 0);
    assert!(muster.log().lines_with(&["output game=1", "saved"]).is_empty());

    let keys = stage.keys().replace("stop_grace = \"1m\"", "stop_grace = \"300ms\"");
    let muster =
        Setup::default().ports(1).mode("saves", &["/bin/sh", "-c", &script], &keys).start();
    play(&muster);
    kill(&muster, &[]);
    muster.log().wait_for(&["game 1 had 1 process that did not end in its grace, killed"]);
    muster.log().wait_for(&["match stopped match=1"]);
    muster.wait_until_idle("saves", 0);
}

/// In the middle of it, the daemon is replaced, its launcher dies, or it crashes.
#[test]
fn a_grace_period_continues_under_the_next_daemon() {
    for how in ["upgrade", "launcher", "crash"] {
        let stage = Stage::new();
        let muster = stage.setup(&stage.script("", "; echo on")).keep("30s").start();
        play(&muster);
        kill(&muster, &[]);
        muster.log().wait_for(&["output game=1", "got 15"]);
        let server = muster.log().wait_for(&["output game=1", "up "]);
        let pid: i32 = server.rsplit(' ').next().unwrap().parse().unwrap();
        match how {
            "upgrade" => drop(muster.upgrade(None).unwrap()),
            "crash" => muster.crash(),
            _ => {
                let launcher = muster.launcher();
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(launcher), Signal::SIGKILL)
                    .unwrap();
                muster.log().wait_for(&["another launcher started"]);
            }
        }
        assert_eq!(muster.status("saves").2, 0, "{how}: its port is taken");
        assert!(proc::is_alive(pid), "{how}: it was killed while it saved");
        stage.cue();
        muster.log().wait_for(&["output game=1", "saved"]);
        muster.wait_until_idle("saves", 0);
    }
}

/// A server whose first process ends by itself has ended: what is left of it is killed, and the log says what to do.
#[test]
fn a_server_that_daemonizes_is_reported() {
    let keys = "players = 1\ncontract = \"plain\"";
    let script = "setsid sleep 3600 & setsid sleep 3600 & echo gone; exit 0";
    let muster = Setup::default().ports(1).mode("saves", &["/bin/sh", "-c", script], keys).start();
    play(&muster);
    let reported =
        muster.log().wait_for(&["game left", "behind, killed game=1", "stay in the foreground"]);
    assert!(reported.contains("2 processes") && reported.contains("WARN"), "{reported}");
    muster.log().wait_for(&["match finished match=1 ", "exit status 0"]);
    muster.wait_until_idle("saves", 0);
}

/// Failures that players see are warnings, and name the limit that was hit.
#[test]
fn failures_that_players_see_are_warnings() {
    let write = "trap - XFSZ; exec dd if=/dev/zero of=world bs=4096 count=64";
    for (script, keys, reported) in [
        ("kill -SEGV $$", "", "end=\"signal 11\""),
        ("exit 3", "", "end=\"exit status 3\""),
        (write, "[mode.confinement]\nfile_size_max = \"64KiB\"", "file_size_max = 64"),
    ] {
        let keys = format!("players = 1\ncontract = \"plain\"\n{keys}");
        let muster =
            Setup::default().ports(1).mode("saves", &["/bin/sh", "-c", script], &keys).start();
        play(&muster);
        let ended = muster.log().wait_for(&["match finished match=1 ", reported]);
        assert!(ended.contains("WARN"), "{ended}");
        muster.wait_until_idle("saves", 0);
        let games = muster.operate(&["games"]).unwrap();
        assert!(games.contains("file_size_max") == reported.contains("file_size_max"), "{games}");
    }
}

/// A mode whose matches die as soon as they start is failing, with the reason. Later players wait.
#[test]
fn a_mode_whose_matches_die_at_once_is_failing() {
    let keys = "players = 1\ncontract = \"plain\"";
    let muster = Setup::default().mode("saves", &["/bin/sh", "-c", "exit 7"], keys).start();
    for game in 1..=3 {
        play(&muster);
        muster.log().wait_for(&[&format!("match finished match={game} "), "exit status 7"]);
    }
    muster.log().wait_for(&["game failed game=3 mode=saves", "exit status 7", "next try in"]);
    let status = muster.operate(&["status"]).unwrap();
    assert!(status.contains("failing") && status.contains("exit status 7"), "{status}");
    let json: serde_json::Value =
        serde_json::from_str(&muster.operate(&["status", "--json"]).unwrap()).unwrap();
    assert_eq!(json["queues"][0]["failing"], true);
    let failed = muster.log().wait_for(&["game failed game=3"]);
    assert_eq!(Log::field(&failed, "mode"), "saves");
    // It is tried again, after a pause that grows.
    play(&muster);
    let text = muster.log().wait_for(&["game failed game=4 mode=saves", "next try in"]);
    assert!(!text.contains("at once"), "{text}");
}
