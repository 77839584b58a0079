//! Upgrades in place: the same process continues as another program, without an effect on clients.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use client::Lobby;
use nix::sys::signal::Signal;
use testkit::{Muster, SOON, Setup, Wire, binary, proc, wait_until};

/// Enough for every kind of luck, and few enough for a slow machine.
const UPGRADES: usize = 20;

/// Players who wait in a queue that needs one more.
const WAITING: usize = 9;

fn upgrade(muster: &Muster) {
    let told = muster.upgrade(None).unwrap();
    assert!(told.contains(&format!("pid {} unchanged", muster.pid())), "{told}");
}

/// Faults row 34: players who wait, lines half said, answers not read, games that run, begin and end, and new
/// connections all the while. No client is lost, overtaken or refused.
#[test]
fn twenty_upgrades_lose_no_client() {
    let muster = Setup::default()
        .ports(12)
        .puppet("crowd", &[], &format!("players = {}\nwarm = 0", WAITING + 1))
        .puppet("pair", &[], "players = 2\nwarm = 1")
        .start();
    let mut crowd: Vec<Lobby> =
        (0..WAITING).map(|n| muster.join("crowd", &format!("player{n}"))).collect();
    let mut half = Wire::greeted(muster.address());
    let mut lazy = Wire::greeted(muster.address());
    lazy.say("PING words\n".repeat(2000));
    let played = play(&muster, "ada", "bob");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let visits = scope.spawn(|| visit_until(&muster, &is_over));
        for n in 0..UPGRADES {
            half.say("PING ha");
            upgrade(&muster);
            half.say(format!("lf{n}\n"));
            assert_eq!(half.line(), format!("PONG half{n}"));
            // One game begins and ends in each round, another is played all the time.
            let port = play(&muster, &format!("ada{n}"), &format!("bob{n}"));
            muster.order(port, r#"say {"type":"result","round":1}"#);
            muster.order(port, "exit 0");
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(visits.join().unwrap() > 0);
    });
    for _ in 0..2000 {
        assert_eq!(lazy.line(), "PONG words");
    }
    muster.log().wait_for_count(UPGRADES, &["match result ", "\"round\":1"]);
    muster.order(played, r#"say {"type":"result","round":"last"}"#);
    muster.log().wait_for(&["match result match=1 ", "\"round\":\"last\""]);
    crowd.push(muster.join("crowd", "the last one"));
    for (slot, player) in crowd.iter_mut().enumerate() {
        assert_eq!(player.assignment(SOON).unwrap().slot, slot, "who came first sits first");
    }
}

/// Two players get a game; its port.
fn play(muster: &Muster, first: &str, second: &str) -> u16 {
    let mut pair = [first, second].map(|name| muster.join("pair", name));
    pair.each_mut().map(|lobby| lobby.assignment(SOON).unwrap())[0].port
}

/// Comes and goes as fast as it can; how often.
fn visit_until(muster: &Muster, is_over: &AtomicBool) -> usize {
    let mut visits = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut visitor = Wire::open(muster.address());
        assert!(visitor.line().starts_with("MUSTER 1 "));
        assert_eq!(visitor.ask("PING there?\n"), "PONG there?");
        visits += 1;
    }
    visits
}

/// Faults row 35: whatever cannot go on is refused, with the reason, and nothing changes.
#[test]
fn an_upgrade_to_a_bad_program_is_refused() {
    let muster = Setup::default().puppet("pair", &[], "players = 2\nwarm = 1").start();
    let mut ada = muster.join("pair", "ada");
    let bad = bad_programs(muster.directory());
    for (program, reason) in &bad {
        let refusal = muster.upgrade(Some(program)).unwrap_err();
        let name = program.display().to_string();
        assert!(refusal.contains(&name) && refusal.contains(reason), "{name}: {refusal}");
    }
    muster.log().wait_for_count(bad.len() - 1, &["upgrade refused binary="]);
    let mut bob = muster.join("pair", "bob");
    let slots = [&mut ada, &mut bob].map(|lobby| lobby.assignment(SOON).unwrap().slot);
    assert_eq!(slots, [0, 1]);
    assert_eq!(muster.log().lines_with(&["upgraded from="]), Vec::<String>::new());
    // And what is fit is let through after all that.
    upgrade(&muster);
}

/// Programs, and what is said of each.
fn bad_programs(directory: &Path) -> Vec<(PathBuf, &'static str)> {
    let copy = |of: &Path, name: &str| {
        let path = directory.join(name);
        // A process of its own copies: the file would be open for writing here, and in whatever another test starts at
        // this moment, and such a file cannot be run.
        assert!(Command::new("cp").arg(of).arg(&path).status().unwrap().success());
        path
    };
    let muster = binary("muster");
    let truncated = copy(&muster, "truncated");
    let shell = |script: String| {
        assert!(Command::new("/bin/sh").arg("-c").arg(script).status().unwrap().success());
    };
    shell(format!("truncate -s 100000 {}", truncated.display()));
    let unlinked = copy(&muster, "unlinked");
    shell(format!("sed -i s/libgcc_s.so.1/libgcc_x.so.1/ {}", unlinked.display()));
    let no_program = copy(Path::new("/etc/passwd"), "no-program");
    std::fs::set_permissions(&no_program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let bad = |name| copy(&binary("bad-muster"), name);
    vec![
        (directory.join("missing"), "No such file or directory"),
        (truncated, "it ended without output"),
        (unlinked, "libgcc_x.so.1"),
        (no_program, "cannot execute it"),
        (bad("panics"), "is too much for me"),
        (bad("lies"), "all is well"),
        (bad("hangs"), "it did not answer within"),
    ]
}

/// A configuration that the games do not fit into is refused like a bad program. Modes may come and go.
#[test]
fn an_upgrade_with_another_port_range_is_refused() {
    let muster = Setup::default().puppet("pair", &[], "players = 2\nwarm = 1").start();
    let file = muster.directory().join("muster.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let keyless: Vec<&str> = before.lines().filter(|line| !line.starts_with("range = ")).collect();
    std::fs::write(&file, keyless.join("\n")).unwrap();
    let refusal = muster.upgrade(None).unwrap_err();
    assert!(refusal.contains("the ring of ports"), "{refusal}");
    std::fs::write(&file, "nonsense").unwrap();
    let refusal = muster.upgrade(None).unwrap_err();
    assert!(refusal.contains("muster.toml"), "{refusal}");
    std::fs::write(&file, before.replace("name = \"pair\"", "name = \"couple\"")).unwrap();
    upgrade(&muster);
    let mut couple = ["ada", "bob"].map(|name| muster.join("couple", name));
    for lobby in &mut couple {
        lobby.assignment(SOON).unwrap();
    }
}

/// Faults row 36: games that end at the moment of an upgrade are reaped, and their ports come back.
#[test]
fn a_game_that_ends_during_an_upgrade_is_reaped() {
    let muster = Setup::default().ports(4).puppet("pair", &[], "players = 2\nwarm = 1").start();
    for n in 0..8 {
        let ports = [play(&muster, "ada", "bob"), play(&muster, "cyd", "dan")];
        std::thread::scope(|scope| {
            scope.spawn(|| upgrade(&muster));
            let end = |port| muster.order(port, &format!("exit {n}"));
            end(ports[0]);
            muster.log().wait_for_count(n + 1, &["upgrade asked for"]);
            end(ports[1]);
        });
        let exit = format!("exit status {n}\"");
        muster.log().wait_for_count(2, &["game ended ", "mode=pair", &exit]);
    }
    muster.wait_until_idle("pair", 1);
}

/// Faults row 36: a signal that comes in the middle of an upgrade is handled, by the old program or by the new one.
#[test]
fn a_signal_during_an_upgrade_is_handled() {
    let mut muster = Setup::default().puppet("pair", &[], "players = 2\nwarm = 1").start();
    for n in 1..=3 {
        muster.signal(Signal::SIGUSR2);
        muster.signal(Signal::SIGHUP);
        muster.log().wait_for_count(n, &["upgraded from="]);
        muster.log().wait_for_count(n, &["SIGHUP: "]);
    }
    let mut ada = muster.join("pair", "ada");
    muster.signal(Signal::SIGUSR2);
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success());
    assert!(ada.assignment(SOON).is_err());
}

/// A binary that was replaced under its name is what comes next, without being named; the launcher and the name that
/// `ps` shows are the new program's.
#[test]
fn an_upgrade_runs_the_current_file_of_that_name() {
    let directory = tempfile::tempdir().unwrap();
    let muster = Setup::default()
        .puppet("pair", &[], "players = 2\nwarm = 1")
        .copied_into(directory.path())
        .start();
    let (own, other) = (directory.path().join("muster"), directory.path().join("other"));
    assert!(Command::new("cp").arg(&own).arg(&other).status().unwrap().success());
    std::fs::rename(&other, &own).unwrap();
    let launcher = muster.launcher();
    let link = format!("/proc/{}/exe", muster.pid());
    assert!(std::fs::read_link(&link).unwrap().to_string_lossy().ends_with(" (deleted)"));
    upgrade(&muster);
    assert_eq!(std::fs::read_link(&link).unwrap(), own);
    assert_eq!(proc::status(muster.pid(), "Name").as_deref(), Some("muster"));
    wait_until("the end of the old launcher", || !proc::is_alive(launcher));
    assert_ne!(muster.launcher(), launcher);
    // No descriptor that only the old program needed is left.
    let before = proc::descriptors(muster.pid()).len();
    upgrade(&muster);
    muster.launcher();
    wait_until("as many descriptors as before", || proc::descriptors(muster.pid()).len() <= before);
    drop(TcpStream::connect(muster.address()).unwrap());
}
