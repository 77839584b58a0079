//! The launcher is killed, stopped, or cannot be started: players lose only time.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use client::{GameSocket, Lobby};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{Resource, getrlimit};
use testkit::{
    CpuComparison, Dice, Log, Muster, SOON, Setup, Wire, binary, proc, wait_for, wait_until,
};

/// How often a launcher is killed in a storm: each one that lived for a short time makes the next one wait longer.
const KILLS: usize = 5;

fn echo(keys: &str) -> Setup {
    Setup::default().mode("echo", &["muster-game", "echo"], keys)
}

/// Kills the launcher, and gives the one that is there in its place.
fn kill_launcher(muster: &Muster) -> i32 {
    let old = muster.launcher();
    send(old, Signal::SIGKILL);
    wait_for("another launcher", || muster.launcher_now().filter(|new| *new != old))
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Stops the launcher, and gives its pid.
fn stop_launcher(muster: &Muster) -> i32 {
    let launcher = muster.launcher();
    send(launcher, Signal::SIGSTOP);
    wait_until("its standstill", || proc::state(launcher) == Some('T'));
    launcher
}

fn enter(lobby: &mut Lobby) -> GameSocket {
    GameSocket::enter(&lobby.assignment(SOON).unwrap(), SOON).unwrap()
}

fn play(mut game: GameSocket) {
    game.ping("x", SOON).unwrap();
    game.bye(SOON).unwrap();
}

/// Where all games of a daemon work.
fn place_of(game: i32) -> PathBuf {
    std::fs::read_link(format!("/proc/{game}/cwd")).unwrap().parent().unwrap().to_owned()
}

fn entries(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    entries.map(|entry| file_name(&entry.path())).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Ends the daemon, and sees that none of its processes is left, nor any file.
fn nothing_is_left(mut muster: Muster, place: &Path) {
    let all = proc::children(muster.pid());
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success());
    assert!(all.into_iter().all(|pid| !proc::is_alive(pid)));
    assert!(!place.exists(), "{place:?}");
}

// ---- Killed ----

/// Its death delays no player. It is replaced at once; running games are not affected, and later players play, too.
#[test]
fn a_killed_idle_launcher_is_replaced() {
    let muster = echo("players = 1\nwarm = 1").start();
    let mut ada = enter(&mut muster.join("echo", "ada"));
    muster.log().wait_for_count(2, &["game ready"]);
    let before: BTreeSet<i32> = muster.games().into_iter().collect();
    let place = place_of(*before.first().unwrap());
    let old = muster.launcher();
    let new = kill_launcher(&muster);
    muster.log().wait_for(&["the launcher is gone", &format!("pid={old};"), "another now"]);
    muster.log().wait_for(&["another launcher started", &format!("pid={new}")]);
    ada.ping("x", SOON).unwrap();
    // The one that was warm already, then one that the new launcher made.
    for name in ["bob", "cid"] {
        play(enter(&mut muster.join("echo", name)));
    }
    play(ada);
    muster.wait_until_idle("echo", 1);
    // All that is left is that of the game that is warm.
    wait_until("the directories' end", || {
        let [warm] = muster.games()[..] else { return false };
        let its = std::fs::read_link(format!("/proc/{warm}/cwd"));
        its.is_ok_and(|its| entries(&place).into_iter().eq([file_name(&its)]))
    });
    assert_eq!(muster.log().lines_with(&["game failed"]), [""; 0]);
    nothing_is_left(muster, &place);
}

/// A game lives in the same directory under the next launcher.
#[test]
fn a_running_game_keeps_its_directory() {
    keeps_its_directory("players = 1\nwarm = 0");
}

/// As above, although its template is gone.
#[test]
fn a_running_game_of_a_template_keeps_its_directory() {
    keeps_its_directory("players = 1\nwarm = 0\ntemplate = true");
}

fn keeps_its_directory(keys: &str) {
    let muster = echo(keys).start();
    let mut lobby = muster.join("echo", "ada");
    let ada = enter(&mut lobby);
    let line = muster.log().wait_for(&["match assigned"]);
    let game: i32 = Log::field(&line, "pid").parse().unwrap();
    let directory = std::fs::read_link(format!("/proc/{game}/cwd")).unwrap();
    assert!(directory.exists());
    kill_launcher(&muster);
    // Later players have a game, too, which is another one; by then the new launcher has looked for leftovers.
    play(enter(&mut muster.join("echo", "bob")));
    muster.log().wait_for_count(1, &["port free"]);
    assert_eq!(std::fs::read_link(format!("/proc/{game}/cwd")).unwrap(), directory);
    assert!(directory.exists());
    play(ada);
    muster.wait_until_idle("echo", 0);
    wait_until("the directory's end", || !directory.exists());
}

/// Lost launch requests are repeated. That is not a failure of the mode, and delays no player.
#[test]
fn lost_launch_requests_are_repeated() {
    orders_are_made_again("players = 1\nwarm = 0");
}

/// As above, with a template.
#[test]
fn lost_requests_to_a_template_are_repeated() {
    orders_are_made_again("players = 1\nwarm = 0\ntemplate = true");
}

fn orders_are_made_again(keys: &str) {
    let muster = echo(keys).start();
    let launcher = stop_launcher(&muster);
    let mut lobbies: Vec<Lobby> = (0..4).map(|_| muster.join("echo", "ada")).collect();
    assert_eq!(muster.status("echo"), (4, 4, 4), "waiting, games, free ports");
    send(launcher, Signal::SIGKILL);
    let matches = lobbies.iter_mut().map(|lobby| {
        let assigned = lobby.assignment(SOON).unwrap();
        play(GameSocket::enter(&assigned, SOON).unwrap());
        assigned.match_id
    });
    assert_eq!(matches.collect::<Vec<_>>(), ["1", "2", "3", "4"]);
    muster.wait_until_idle("echo", 0);
    assert_eq!(muster.log().lines_with(&["game failed"]), [""; 0]);
    assert_eq!(muster.log().lines_with(&["port busy"]), [""; 0]);
}

/// A game ends while no launcher can look for its leftovers: its port is released by the next launcher.
#[test]
fn a_game_that_ends_without_a_launcher_frees_its_port() {
    let muster = Setup::default().ports(1).puppet("one", &[], "players = 1\nwarm = 0").start();
    let assigned = muster.join("one", "ada").assignment(SOON).unwrap();
    let launcher = stop_launcher(&muster);
    muster.order(assigned.port, "exit 0");
    wait_until("the game's end", || muster.games().is_empty());
    let mut bob = muster.join("one", "bob");
    assert_eq!(muster.status("one"), (1, 1, 0), "waiting, games, free ports");
    send(launcher, Signal::SIGKILL);
    let again = bob.assignment(SOON).unwrap();
    assert_eq!(again.port, assigned.port);
    muster.log().wait_for(&["match finished match=1 ", "exit status 0"]);
    muster.order(again.port, "exit 0");
    muster.wait_until_idle("one", 0);
    assert_eq!(muster.log().lines_with(&["port busy"]), [""; 0]);
}

/// A well hidden leftover is found by a launcher that never started the game.
#[test]
fn the_next_launcher_kills_leftovers_of_the_previous_one() {
    for what in ["daemon", "nameless", "only-socket"] {
        let keys = "players = 1\nwarm = 0";
        let muster = Setup::default().ports(1).hostile("bad", &["leaves", what], keys).start();
        let launcher = stop_launcher(&muster);
        let mut ada = muster.join("bad", "ada");
        // Made, and dead, before the launcher can do anything about it.
        send(launcher, Signal::SIGCONT);
        ada.assignment(SOON).unwrap();
        send(launcher, Signal::SIGKILL);
        let left = muster.log().wait_for(&["left pid="]);
        muster.log().wait_for(&["port free"]);
        assert!(!proc::is_alive(Log::field(&left, "pid").parse().unwrap()), "{left}");
        muster.wait_until_idle("bad", 0);
    }
}

// ---- Killed again and again ----

#[test]
fn launchers_are_killed_repeatedly_with_warm_games() {
    storm(1, "players = 2\nwarm = 1", 1);
}

#[test]
fn launchers_are_killed_repeatedly_with_cold_games() {
    storm(2, "players = 2\nwarm = 0", 0);
}

#[test]
fn launchers_are_killed_repeatedly_with_a_template() {
    storm(3, "players = 2\nwarm = 0\ntemplate = true", 0);
}

#[test]
fn launchers_are_killed_repeatedly_with_a_warm_template() {
    storm(4, "players = 2\nwarm = 1\ntemplate = true", 1);
}

/// Launchers are killed at any moment while players join and play. Every queued player is assigned once, in order;
/// every match is played to its end; nothing is left.
fn storm(seed: u64, keys: &str, warm: usize) {
    let muster = echo(keys).start();
    let mut last = (0, 0);
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| kill_at_any_moment(&muster, seed));
        let mut rounds = 0;
        while !killer.is_finished() || rounds < 3 {
            rounds += 1;
            let mut lobbies: Vec<Lobby> = (0..16).map(|_| muster.join("echo", "ada")).collect();
            for pair in lobbies.chunks_mut(2) {
                let mut games = Vec::new();
                for lobby in pair {
                    let assigned = lobby.assignment(SOON).unwrap();
                    let place = (assigned.match_id.parse::<u64>().unwrap(), assigned.slot + 1);
                    assert!(place > last, "seed {seed}: {place:?} after {last:?}");
                    last = place;
                    games.push(GameSocket::enter(&assigned, SOON).unwrap());
                    assert!(lobby.next_reply(SOON).is_err(), "a word after the assignment");
                }
                games.into_iter().for_each(play);
            }
        }
        killer.join().unwrap();
    });
    muster.wait_until_idle("echo", warm);
    let assigned = muster.log().lines_with(&["match assigned"]).len();
    muster.log().wait_for_count(assigned, &["match finished", "exit status 0"]);
    for bad in ["game failed", "port busy", "match stopped", "muster::"] {
        assert_eq!(muster.log().lines_with(&[bad]), [""; 0], "seed {seed}");
    }
    wait_until("the end of all others", || {
        let is_template = |pid: &i32| {
            let environment = proc::environment(*pid);
            environment.iter().any(|it| it == "MUSTER_TEMPLATE=1")
        };
        let games = muster.games();
        games.len() <= warm + 1 && games.iter().filter(|pid| !is_template(pid)).count() <= warm
    });
}

/// How many questions are answered between two kills is up to the dice.
fn kill_at_any_moment(muster: &Muster, seed: u64) {
    let mut dice = Dice::new(seed);
    let mut wire = Wire::greeted(muster.address());
    for _ in 0..KILLS {
        let launcher = muster.launcher();
        for _ in 0..dice.below(300) {
            wire.ask("PING\n");
        }
        send(launcher, Signal::SIGKILL);
        wait_until("its end", || !proc::is_alive(launcher));
    }
    muster.launcher();
}

// ---- Stopped ----

/// While the launcher is stopped players wait, and all are answered; when it continues, they get their games.
#[test]
fn a_launcher_stopped_for_a_moment_continues() {
    let muster = echo("players = 1\nwarm = 0").start();
    let mut ada = enter(&mut muster.join("echo", "ada"));
    let launcher = stop_launcher(&muster);
    let mut waiting = ["bob", "cid", "dan"].map(|name| muster.join("echo", name));
    let mut wire = Wire::greeted(muster.address());
    for _ in 0..100 {
        assert_eq!(wire.ask("PING\n"), "PONG");
    }
    ada.ping("x", SOON).unwrap();
    assert_eq!(muster.status("echo"), (3, 4, 4), "waiting, games, free ports");
    for lobby in &mut waiting {
        let said = std::iter::from_fn(|| lobby.poll_reply().unwrap()).collect::<Vec<_>>();
        assert!(!said.iter().any(|it| it.to_string().starts_with("ASSIGN")), "{said:?}");
    }
    send(launcher, Signal::SIGCONT);
    let assigned = waiting.map(|mut lobby| lobby.assignment(SOON).unwrap());
    assert_eq!(assigned.each_ref().map(|it| it.match_id.as_str()), ["2", "3", "4"]);
    for assignment in &assigned {
        play(GameSocket::enter(assignment, SOON).unwrap());
    }
    play(ada);
    muster.wait_until_idle("echo", 0);
    assert_eq!(muster.launcher(), launcher);
}

/// A launcher that hangs for ever does not prevent the daemon's exit.
#[test]
fn a_hung_launcher_is_replaced() {
    let mut muster = echo("players = 1\nwarm = 0").start();
    let launcher = stop_launcher(&muster);
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success());
    assert!(!proc::is_alive(launcher));
}

/// A launcher that hangs is killed and replaced like one that died: waiting players are served in order, and the port
/// of a game that ended meanwhile is released.
#[test]
fn a_launcher_that_hangs_while_players_wait_is_replaced() {
    stopped_is_replaced("");
}

/// As above, with a template.
#[test]
fn a_launcher_that_hangs_while_players_wait_for_a_template_is_replaced() {
    stopped_is_replaced("\ntemplate = true");
}

fn stopped_is_replaced(keys: &str) {
    // No deadline passes while it hangs.
    let muster = echo(&format!("players = 1\nwarm = 0\nready_timeout = \"20s\"{keys}")).start();
    let ada = enter(&mut muster.join("echo", "ada"));
    let mut eve = enter(&mut muster.join("echo", "eve"));
    let launcher = stop_launcher(&muster);
    let waiting = ["bob", "cid", "dan"].map(|name| muster.join("echo", name));
    play(ada);
    let assigned = waiting.map(|mut lobby| lobby.assignment(SOON).unwrap());
    assert_eq!(assigned.each_ref().map(|it| it.match_id.as_str()), ["3", "4", "5"]);
    muster.log().wait_for(&["the launcher does not answer", &format!("pid={launcher};")]);
    assert_ne!(muster.launcher(), launcher);
    assert!(!proc::is_alive(launcher));
    for assignment in &assigned {
        play(GameSocket::enter(assignment, SOON).unwrap());
    }
    eve.ping("x", SOON).unwrap();
    play(eve);
    muster.wait_until_idle("echo", 0);
    for bad in ["game failed", "port busy", "match stopped"] {
        assert_eq!(muster.log().lines_with(&[bad]), [""; 0]);
    }
    muster.log().wait_for_count(5, &["match finished", "exit status 0"]);
}

/// No player waits, but a game has ended, and its port is only free after a search for leftovers.
#[test]
fn a_launcher_that_hangs_when_a_game_ends_is_replaced() {
    let muster = echo("players = 1\nwarm = 0").start();
    let ada = enter(&mut muster.join("echo", "ada"));
    stop_launcher(&muster);
    play(ada);
    muster.wait_until_idle("echo", 0);
    muster.log().wait_for(&["the launcher does not answer"]);
}

/// A launcher that waits for a loading template does not count as hung.
#[test]
fn a_slow_template_does_not_count_as_a_hang() {
    let keys = "players = 1\nwarm = 0\ntemplate = true\nready_timeout = \"9s\"";
    let muster = Setup::default().hostile("bad", &["template", "never-ready"], keys).start();
    let launcher = muster.launcher();
    let _ada = muster.join("bad", "ada");
    muster.log().wait_for(&["game failed", "it did not say ready in time"]);
    assert_eq!(muster.launcher(), launcher);
    assert_eq!(muster.log().lines_with(&["the launcher is gone"]), [""; 0]);
}

// ---- Unavailable ----

/// No process can be made, so no launcher. Players wait, the daemon rests meanwhile, and recovers by itself.
#[test]
fn a_daemon_without_launcher_retries() {
    let directory = tempfile::tempdir().unwrap();
    open_to_all(directory.path());
    std::fs::copy(binary("muster-game"), directory.path().join("muster-game")).unwrap();
    let setup = Setup::default().copied_into(directory.path());
    let setup = setup.mode("echo", &["muster-game", "echo"], "players = 1\nwarm = 0");
    // The limit does not bind root, and binds a user with all processes that run in its name.
    let muster = match rustix::process::getuid().is_root() {
        true => setup.user(40_000 + std::process::id() % 20_000),
        false => setup,
    }
    .start();
    let ada = enter(&mut muster.join("echo", "ada"));
    let usual = getrlimit(Resource::Nproc).current;
    limit_processes(&muster, "1");
    send(muster.launcher(), Signal::SIGKILL);
    muster.log().wait_for(&["cannot start the launcher", "no game can start meanwhile"]);
    let mut bob = muster.join("echo", "bob");
    CpuComparison::of(muster.pid()).assert_idle();
    assert_eq!(muster.status("echo"), (1, 2, 6), "waiting, games, free ports");
    limit_processes(&muster, &usual.map_or("unlimited".to_owned(), |count| count.to_string()));
    play(enter(&mut bob));
    play(ada);
    muster.wait_until_idle("echo", 0);
    assert_eq!(muster.log().lines_with(&["game failed"]), [""; 0]);
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Sets the number of processes up to which the daemon can create another one; as its user, as another user may not
/// without a privilege that even root can lack.
fn limit_processes(muster: &Muster, value: &str) {
    let user = proc::status(muster.pid(), "Uid").unwrap();
    let user = user.split_ascii_whitespace().next().unwrap().parse().unwrap();
    let mut command = Command::new("prlimit");
    command.args(["--pid", &muster.pid().to_string(), &format!("--nproc={value}:")]);
    let status = command.uid(user).gid(user).status().unwrap();
    assert!(status.success(), "prlimit: {status}");
}
