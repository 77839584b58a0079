//! The state that a game inherits. Mostly inspected from outside, with a program that does not change it: `sleep` is in
//! `PATH`, knows nothing of Muster, and waits.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use testkit::{Log, Muster, Setup, proc, wait_for, wait_until};

/// A daemon with one `sleep` as a game that is never ready, and the game's pid.
fn with_sleep(keys: &str) -> (Muster, i32) {
    let keys = format!("warm = 1\nready_timeout = \"1h\"\nstop_grace = \"100ms\"\n{keys}");
    let muster = Setup::default().ports(1).mode("bed", &["sleep", "3600"], &keys).start();
    let launched = muster.log().wait_for(&["game launched game=1"]);
    let pid = Log::field(&launched, "pid").parse().unwrap();
    wait_until("the launch step is over", || name(pid) == "sleep");
    // What the dynamic loader needs is open for a moment; then the program sleeps.
    wait_until("the program sleeps", || proc::status(pid, "State").unwrap().starts_with('S'));
    (muster, pid)
}

fn name(pid: i32) -> String {
    proc::status(pid, "Name").unwrap()
}

fn link(pid: i32, name: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/{name}")).unwrap()
}

/// Descriptors 0 to 4 and no other: nothing to read, the log twice, a bound UDP socket that does not block, a
/// Unix stream socket.
#[test]
fn a_game_has_five_descriptors() {
    let (muster, pid) = with_sleep("");
    assert_eq!(proc::descriptors(pid), [0, 1, 2, 3, 4]);
    assert_eq!(link(pid, "fd/0"), Path::new("/dev/null"));
    let (stdout, stderr) = (link(pid, "fd/1"), link(pid, "fd/2"));
    assert_eq!(stdout, stderr);
    assert!(stdout.to_str().unwrap().starts_with("pipe:"), "{stdout:?}");
    let port = *muster.ports().start();
    let udp = table_line("/proc/net/udp", &socket_inode(pid, 3));
    let local = udp.split_ascii_whitespace().nth(1).unwrap();
    assert_eq!(local, format!("0100007F:{port:04X}"), "bound to the loopback address and its port");
    assert_ne!(flags(pid, 3) & 0o4000, 0, "O_NONBLOCK");
    // Columns: Num RefCount Protocol Flags Type St Inode; type 1 is a stream.
    let unix = table_line("/proc/net/unix", &socket_inode(pid, 4));
    assert_eq!(unix.split_ascii_whitespace().nth(4), Some("0001"), "{unix}");
}

fn socket_inode(pid: i32, descriptor: i32) -> String {
    let link = link(pid, &format!("fd/{descriptor}"));
    let inode = link.to_str().unwrap().strip_prefix("socket:[").map(|it| it.trim_end_matches(']'));
    inode.unwrap_or_else(|| panic!("{descriptor} is {link:?}")).to_owned()
}

/// The line of a table of sockets that names an inode; proc_pid_net(5).
fn table_line(table: &str, inode: &str) -> String {
    let text = fs::read_to_string(table).unwrap();
    let line = text.lines().find(|line| line.split_ascii_whitespace().any(|word| word == inode));
    line.unwrap_or_else(|| panic!("no socket {inode} in {table}")).to_owned()
}

/// The flags of an open file, of which a descriptor is a name; proc_pid_fdinfo(5).
fn flags(pid: i32, descriptor: i32) -> u32 {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    u32::from_str_radix(flags.trim(), 8).unwrap()
}

/// No signal is blocked, ignored or caught, not even those that Rust and the C library ignore for themselves.
#[test]
fn a_game_has_default_signal_dispositions() {
    let (_muster, pid) = with_sleep("");
    for field in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        let mask = proc::status(pid, field).unwrap();
        assert!(mask.chars().all(|digit| digit == '0'), "{field}: {mask}");
    }
}

/// The variables of the contract, those that programs expect, those of the mode, and nothing of the daemon's own
/// environment.
#[test]
fn a_game_has_a_clean_environment() {
    let (muster, pid) = with_sleep("env = { GREETING = \"a b=c\" }");
    let mut environment = proc::environment(pid);
    environment.sort();
    let port = muster.ports().start().to_string();
    let here = link(pid, "cwd");
    let instance = here.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let expected = [
        "GREETING=a b=c",
        &format!("HOME={}", here.display()),
        "LANG=C.UTF-8",
        "LISTEN_FDNAMES=game",
        "LISTEN_FDS=1",
        &format!("LISTEN_PID={pid}"),
        "MUSTER_CONTROL_FD=4",
        "MUSTER_GAME=1",
        &format!("MUSTER_INSTANCE={instance}"),
        "MUSTER_MODE=bed",
        &format!("MUSTER_PORT={port}"),
        "MUSTER_PROTOCOL=muster-game/1",
        "MUSTER_PUBLIC_HOST=127.0.0.1",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        &format!("TMPDIR={}", here.display()),
    ];
    assert_eq!(environment, expected);
}

/// A process group of its own, the daemon as its parent, the usual number of open files, and nothing of the
/// launch step or the daemon in between.
#[test]
fn a_game_has_its_own_session_and_process_group() {
    let (muster, pid) = with_sleep("");
    assert_eq!(muster.games(), [pid]);
    assert_eq!(proc::status(pid, "PPid").unwrap(), muster.pid().to_string());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let group = stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap();
    assert_eq!(group, pid.to_string());
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(arguments.ends_with(b"sleep\x003600\x00"), "{}", arguments.escape_ascii());
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_ascii_whitespace().nth(3), Some("1024"), "{files}");
}

/// An empty working directory. It is gone when the game is, with all that was left there.
#[test]
fn a_game_has_an_empty_directory_that_is_removed_with_it() {
    let (muster, pid) = with_sleep("");
    let directory = link(pid, "cwd");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "{directory:?}");
    fs::create_dir_all(directory.join("deep/deeper")).unwrap();
    fs::write(directory.join("deep/deeper/file"), "x").unwrap();
    end_by_kill(pid);
    muster.log().wait_for(&["port free"]);
    assert!(!directory.exists());
}

/// The working directory goes even if the game left there what may not be looked into.
#[test]
fn a_directory_with_odd_permissions_is_removed() {
    let beside = tempfile::tempdir().unwrap();
    open_to_all(beside.path());
    let program =
        ["/bin/sh", "-c", "pwd; mkdir -p a/b c; ln -s / c/d; touch a/b/c; chmod 0 a/b a c ."];
    let setup = Setup::default().ports(1).mode(
        "bed",
        &program,
        "players = 1\nwarm = 0\nready_timeout = \"1h\"",
    );
    let setup = match rustix::process::getuid().is_root() {
        // Nothing resists root.
        true => setup.copied_into(beside.path()).user(40_000 + std::process::id() % 20_000),
        false => setup,
    };
    let muster = setup.start();
    let _ada = muster.join("bed", "ada");
    let printed = muster.log().wait_for(&["output game=1 ", ": /"]);
    let directory = printed.rsplit_once(": ").unwrap().1;
    muster.log().wait_for(&["port free"]);
    is_removed(Path::new(directory));
}

/// The working directory goes however deep it is: deeper than a path can name, than descriptors can hold open,
/// and, under a usual limit, than a call that calls itself can go.
#[test]
fn a_very_deep_directory_is_removed() {
    let keys = "players = 1\nwarm = 0\nready_timeout = \"1h\"";
    let setup = Setup::default().ports(1).open_files(1024);
    let muster = setup.hostile("bad", &["digs", "2100"], keys).start();
    let _ada = muster.join("bad", "ada");
    let printed = muster.log().wait_for(&["output game=1 ", ": in /"]);
    let directory = printed.rsplit_once(" in ").unwrap().1;
    muster.log().wait_for(&["output game=1 ", ": dug"]);
    muster.log().wait_for(&["port free"]);
    is_removed(Path::new(directory));
}

/// A game's directory is gone from its place at once, and before long all that was in it is, too.
fn is_removed(directory: &Path) {
    assert!(!directory.exists(), "{directory:?} is still there");
    let is_left = |entry: fs::DirEntry| entry.file_name().to_str().unwrap().starts_with("left-");
    let place = directory.parent().unwrap();
    wait_until("the removal of what was there", || {
        !fs::read_dir(place).unwrap().flatten().any(is_left)
    });
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

fn end_by_kill(pid: i32) {
    use nix::sys::signal::{Signal, kill};
    kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// A name is looked up beside the daemon first, then in `PATH`; a path is taken as it is.
#[test]
fn programs_are_found_beside_muster_first_then_in_path() {
    let directory = tempfile::tempdir().unwrap();
    let beside = directory.path().join("sleep");
    fs::write(&beside, "#!/bin/sh\necho found beside; exec /bin/sleep \"$@\"\n").unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    // A file that cannot be executed is no program.
    fs::write(directory.path().join("cat"), "").unwrap();
    let keys = "warm = 1\nready_timeout = \"1h\"\nstop_grace = \"100ms\"";
    let in_path = wait_for("sleep in PATH", || {
        std::env::split_paths(&std::env::var_os("PATH")?)
            .map(|it| it.join("sleep"))
            .find(|it| it.exists())
    });
    let muster = Setup::default()
        .copied_into(directory.path())
        .mode("beside", &["sleep", "3600"], keys)
        .mode("path", &[in_path.to_str().unwrap(), "3601"], keys)
        .mode("elsewhere", &["cat", "--version"], keys)
        .start();
    muster.log().wait_for(&["output game=", "found beside"]);
    muster.log().wait_for(&["output game=", ": cat ("]);
    let runs = |argument: &str| {
        let has = |pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.ends_with(format!("sleep\0{argument}\0").as_bytes()))
        };
        muster.games().iter().any(has)
    };
    wait_until("both run", || runs("3600") && runs("3601"));
    assert_eq!(muster.log().lines_with(&["found beside"]).len(), 1);
}

/// Many launches at once give each game its own: no descriptor of one is in another.
#[test]
fn concurrent_launches_do_not_share_descriptors() {
    let keys = "warm = 30\nready_timeout = \"1h\"\nstop_grace = \"100ms\"";
    let muster = Setup::default().ports(30).mode("bed", &["sleep", "3600"], keys).start();
    muster.log().wait_for_count(30, &["game launched"]);
    let mut sockets = std::collections::BTreeSet::new();
    for pid in muster.games() {
        wait_until("the launch step is over", || name(pid) == "sleep");
        wait_until("the program sleeps", || proc::status(pid, "State").unwrap().starts_with('S'));
        assert_eq!(proc::descriptors(pid), [0, 1, 2, 3, 4]);
        let port = proc::environment(pid)
            .iter()
            .find_map(|it| Some(it.strip_prefix("MUSTER_PORT=")?.parse::<u16>().unwrap()))
            .unwrap();
        let udp = table_line("/proc/net/udp", &socket_inode(pid, 3));
        assert!(udp.contains(&format!("0100007F:{port:04X}")), "{udp}");
        sockets.extend([socket_inode(pid, 3), socket_inode(pid, 4)]);
    }
    assert_eq!(sockets.len(), 60);
}

/// Precedence over other programs is for the daemon's loop; a game has none, whether launched or forked.
#[test]
fn games_get_no_higher_priority() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let muster = Setup::default()
        .duel("warm = 1")
        .mode("forked", &["muster-game", "tictactoe"], "warm = 1\ntemplate = true")
        .through_shell("/bin/sh", "renice -n -5 -p $$ >&2; exec \"$0\" \"$@\"")
        .start();
    muster.log().wait_for_count(2, &["game ready"]);
    let nice = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().to_owned()
    };
    assert_eq!(nice(muster.pid()), "-5");
    let games = muster.games();
    // Two games and a template.
    assert_eq!(games.len(), 3);
    for game in games {
        assert_eq!(nice(game), "0");
    }
}
