//! Games that cannot be started, or fail before they have players, cost their players nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use client::{Assignment, GameSocket, Lobby};
use protocol::WaitReason;
use rustix::process::{Resource, getrlimit};
use testkit::{FaultToggle, Log, Muster, SOON, Setup, binary, proc, wait_for_reason, wait_until};

/// A mode for two players whose games fail, and one that is well.
fn beside_a_healthy_mode(setup: Setup) -> Setup {
    setup.mode("fine", &["muster-game", "echo"], "players = 1\nwarm = 0")
}

/// Four players wait for a mode whose games fail, and are notified. Meanwhile another mode is played. Then the games
/// are fixed, and the four are served in order. In the end every port is released.
fn costs_players_nothing(muster: &Muster, toggle: impl FnOnce()) {
    let waiting = wait_without_game(muster);
    play(&mut muster.join("fine", "eve"));
    toggle();
    are_served_in_order(waiting);
    muster.wait_until_idle("bad", 0);
}

fn wait_without_game(muster: &Muster) -> [Lobby; 4] {
    let mut waiting = ["ada", "bob", "cid", "dan"].map(|name| muster.join("bad", name));
    for lobby in &mut waiting {
        wait_for_reason(lobby, WaitReason::GameFailing);
    }
    waiting
}

fn are_served_in_order(mut waiting: [Lobby; 4]) {
    let assigned = waiting.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    let number = |it: &Assignment| it.match_id.parse::<u64>().unwrap();
    let first = number(&assigned[0]);
    let places = assigned.each_ref().map(|it| (number(it) - first, it.slot));
    assert_eq!(places, [(0, 0), (0, 1), (1, 0), (1, 1)], "the order of their coming");
    let mut games = assigned.map(|assignment| GameSocket::enter(&assignment, SOON).unwrap());
    for game in &mut games {
        game.ping("x", SOON).unwrap();
        game.bye(SOON).unwrap();
    }
}

fn play(lobby: &mut Lobby) {
    let mut game = GameSocket::enter(&lobby.assignment(SOON).unwrap(), SOON).unwrap();
    game.ping("x", SOON).unwrap();
    game.bye(SOON).unwrap();
}

// ---- Games that cannot be started ----

/// Faults row 18: no such file, by a path. It is there later.
#[test]
fn a_missing_program_fails_its_mode_alone() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("game");
    let command = [program.to_str().unwrap(), "echo"];
    let muster = beside_a_healthy_mode(Setup::default().mode("bad", &command, "warm = 0")).start();
    costs_players_nothing(&muster, || symlink(binary("muster-game"), &program).unwrap());
    muster.log().wait_for(&["game failed", "cannot run", "No such file"]);
}

/// Faults row 18: no such file, by a name that is nowhere in `PATH`.
#[test]
fn a_name_missing_in_path_fails_its_mode_alone() {
    let directory = tempfile::tempdir().unwrap();
    symlink(binary("muster-game"), directory.path().join("muster-game")).unwrap();
    let setup = Setup::default().copied_into(directory.path());
    let muster =
        beside_a_healthy_mode(setup.mode("bad", &["lost-game", "echo"], "warm = 0")).start();
    costs_players_nothing(&muster, || {
        symlink(binary("muster-game"), directory.path().join("lost-game")).unwrap();
    });
    muster.log().wait_for(&["game failed", "could not be launched", "cannot run lost-game"]);
}

/// Faults row 18: a file that is not executable.
#[test]
fn a_program_without_execute_permission_fails_its_mode_alone() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("game");
    fs::copy(binary("muster-game"), &program).unwrap();
    set_mode(&program, 0o644);
    let command = [program.to_str().unwrap(), "echo"];
    let muster = beside_a_healthy_mode(Setup::default().mode("bad", &command, "warm = 0")).start();
    costs_players_nothing(&muster, || set_mode(&program, 0o755));
    muster.log().wait_for(&["game failed", "cannot run", "not executable"]);
}

/// Faults row 18: a file that is no program, and that no shell can make sense of either.
#[test]
fn a_file_in_no_executable_format_fails_its_mode_alone() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("game");
    fs::write(&program, b"\x7fELF\x00\x01\xff\xfe\n\x00\x00").unwrap();
    set_mode(&program, 0o755);
    let command = [program.to_str().unwrap(), "echo"];
    let muster = beside_a_healthy_mode(Setup::default().mode("bad", &command, "warm = 0")).start();
    costs_players_nothing(&muster, || {
        // In one step: a game may be about to be launched.
        let good = directory.path().join("good");
        symlink(binary("muster-game"), &good).unwrap();
        fs::rename(good, &program).unwrap();
    });
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Faults row 18: EAGAIN. The system lets the daemon make no process; when it does again, the match that waited gets
/// its game.
#[test]
fn launches_resume_when_processes_are_available_again() {
    let directory = tempfile::tempdir().unwrap();
    set_mode(directory.path(), 0o755);
    fs::copy(binary("muster-game"), directory.path().join("muster-game")).unwrap();
    let setup = Setup::default().copied_into(directory.path()).ports(2);
    let setup = beside_a_healthy_mode(setup.mode("bad", &["muster-game", "echo"], "warm = 0"));
    // The limit does not bind root, and binds a user with all processes that run in its name.
    let setup = match rustix::process::getuid().is_root() {
        true => setup.user(40_000 + std::process::id() % 20_000),
        false => setup,
    };
    let muster = setup.start();
    wait_for_the_launcher(&muster);
    limit(&muster, "nproc", "1");
    let waiting = wait_without_game(&muster);
    muster.log().wait_for(&["game failed", "could not be launched", "Resource temporarily"]);
    assert_eq!(muster.status("bad"), (4, 0, 2), "waiting, games, free ports");
    limit(&muster, "nproc", &usual(Resource::Nproc));
    are_served_in_order(waiting);
    muster.wait_until_idle("bad", 0);
}

/// Faults row 18: out of memory. A game gets less than it needs; the daemon and other games have enough.
#[test]
fn launches_resume_when_memory_is_available_again() {
    let setup = Setup::default().hostile("bad", &["needs-memory", "1073741824"], "warm = 0");
    let muster = beside_a_healthy_mode(setup).start();
    wait_for_the_launcher(&muster);
    let size = proc::status(muster.launcher(), "VmSize").unwrap();
    let size: u64 = size.trim_end_matches(" kB").parse().unwrap();
    limit(&muster, "as", &(size * 1024 + 512 * 1024 * 1024).to_string());
    costs_players_nothing(&muster, || limit(&muster, "as", &usual(Resource::As)));
    muster.log().wait_for(&["output game=", "memory allocation of 1073741824 bytes failed"]);
}

/// A launcher that begins puts its own limits in order; one that has launched a game has done so.
fn wait_for_the_launcher(muster: &Muster) {
    play(&mut muster.join("fine", "zoe"));
    muster.wait_until_idle("fine", 0);
}

/// Sets a limit of the running launcher, and so of the games that it starts. The hard limit stays as it is. The
/// daemon's user sets it: another user may not without a privilege that even root can lack.
fn limit(muster: &Muster, resource: &str, value: &str) {
    let launcher = muster.launcher();
    let user = proc::status(launcher, "Uid").unwrap();
    let user = user.split_ascii_whitespace().next().unwrap().parse().unwrap();
    let mut command = Command::new("prlimit");
    command.args(["--pid", &launcher.to_string(), &format!("--{resource}={value}:")]);
    let status = command.uid(user).gid(user).status().unwrap();
    assert!(status.success(), "prlimit: {status}");
}

/// A limit without restriction.
fn usual(resource: Resource) -> String {
    getrlimit(resource).current.map_or("unlimited".to_owned(), |value| value.to_string())
}

// ---- Games that are late ----

/// Faults row 19: a game that never says `ready` is killed at its deadline, and costs its players nothing.
#[test]
fn a_game_that_never_gets_ready_is_replaced() {
    let toggle = FaultToggle::new();
    let setup = Setup::default().hostile(
        "bad",
        &toggle.until_fixed(&["never-ready"]),
        "warm = 0\nready_timeout = \"200ms\"",
    );
    let muster = beside_a_healthy_mode(setup).start();
    costs_players_nothing(&muster, || toggle.fix());
    each_that_failed_is_dead(&muster, "did not say ready in time");
}

/// Faults row 19: a game that is ready and never sends `started` is killed at its deadline; its players keep their
/// positions and receive no port.
#[test]
fn a_game_that_never_starts_is_replaced() {
    let toggle = FaultToggle::new();
    let setup = Setup::default().hostile(
        "bad",
        &toggle.until_fixed(&["never-started"]),
        "warm = 0\nstart_timeout = \"200ms\"",
    );
    let muster = beside_a_healthy_mode(setup).start();
    costs_players_nothing(&muster, || toggle.fix());
    each_that_failed_is_dead(&muster, "did not say started in time");
}

fn each_that_failed_is_dead(muster: &Muster, fault: &str) {
    let failed = muster.log().wait_for_count(2, &["game failed", fault]);
    for line in failed {
        let pid: i32 = Log::field(&line, "pid").trim_end_matches(':').parse().unwrap();
        wait_until("the end of a game that failed", || !proc::is_alive(pid));
    }
}

/// Faults row 25: `ready` that comes after its deadline is ignored.
#[test]
fn a_game_that_gets_ready_too_late_is_replaced() {
    too_late("ready", "ready_timeout = \"200ms\"");
}

/// Faults row 25: `started` that comes after its deadline is ignored.
#[test]
fn a_game_that_starts_too_late_is_replaced() {
    too_late("started", "start_timeout = \"200ms\"");
}

/// The word is said when the game was already killed for not having said it, and before all of it is gone.
fn too_late(word: &str, keys: &str) {
    let toggle = FaultToggle::new();
    let keys = format!("warm = 0\n{keys}");
    let setup = Setup::default().hostile("bad", &toggle.until_fixed(&["too-late", word]), &keys);
    let muster = beside_a_healthy_mode(setup).start();
    let mut waiting = ["ada", "bob"].map(|name| muster.join("bad", name));
    let late = muster.log().wait_for(&["output game=", &format!("said {word} too late")]);
    let game = format!("game={}", Log::field(&late, "game").trim_end_matches(':'));
    toggle.fix();
    let [ada, bob] = waiting.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    assert_eq!((ada.match_id, ada.slot, bob.slot), (bob.match_id, 0, 1));
    let fault = format!("did not say {word} in time");
    muster.log().wait_for(&["game failed", &format!("{game} "), &fault]);
    let believed = muster.log().lines_with(&["match assigned", &format!("{game} ")]);
    assert!(believed.is_empty(), "{believed:?}");
    if word == "ready" {
        let believed = muster.log().lines_with(&["game ready", &format!("{game} ")]);
        assert!(believed.is_empty(), "{believed:?}");
    }
}

/// Faults row 19: a game that hangs later is found out by its missing heartbeat. As long as it gives one, it lives.
#[test]
fn a_game_without_heartbeat_is_stopped() {
    let keys = "players = 1\nwarm = 0\nalive_timeout = \"1s\"";
    let muster = Setup::default().hostile("bad", &["heart-stops"], keys).start();
    let assigned = muster.join("bad", "ada").assignment(SOON).unwrap();
    muster.log().wait_for(&["output game=1", "alive for 2s"]);
    assert!(muster.log().lines_with(&["game stopping"]).is_empty());
    muster.order(assigned.port, "stop");
    let stopping = muster.log().wait_for(&["game stopping game=1", "it missed its heartbeat"]);
    let pid: i32 = Log::field(&stopping, "pid").trim_end_matches(':').parse().unwrap();
    muster.log().wait_for(&["match stopped match=1", "signal 9"]);
    muster.wait_until_idle("bad", 0);
    assert!(!proc::is_alive(pid));
}
