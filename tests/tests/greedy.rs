//! A game that takes as many resources as possible does not affect others (faults row 27). And the effect of a mode's
//! limits.

use std::fs;
use std::process::Command;

use testkit::{ConfinementFixture, Log, Muster, ProbeGame, ProbeResult, SOON, Setup, proc};

/// A daemon with greedy games, and ordinary ones of another mode. Without separate users the number of a game's
/// processes is not limited, unless control groups were delegated: a limit by user would count the processes of other
/// games. So these tests need root.
fn with_greed(setup: Setup, behaviour: &str) -> Option<Muster> {
    let keys = "players = 1\nwarm = 0\n[mode.confinement]\nseccomp = \"default\"\n\
                memory_max = \"64MiB\"\nprocesses_max = 24";
    let setup = setup.confined_hostile("greedy", &[behaviour], keys);
    let setup = setup.confined_hostile("honest", &["probes"], keys);
    rustix::process::getuid().is_root().then(|| setup.start())
}

fn plays(muster: &Muster, game: &ProbeGame) {
    // A thread and a process: those of other games do not count.
    assert_eq!(game.ask(muster, "thread"), ProbeResult::Done("ran".to_owned()));
    let spawned = game.ask(muster, "spawn /bin/echo spawned");
    assert_eq!(spawned, ProbeResult::Done("spawned".to_owned()));
}

/// The living processes of a user.
fn processes_of(user: u32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_his = |pid: &i32| {
        let users = proc::status(*pid, "Uid");
        let is_his = users.is_some_and(|users| users.starts_with(&format!("{user}\t")));
        is_his && proc::is_alive(*pid)
    };
    pids.filter(is_his).collect()
}

/// Faults row 27: while a fork bomb goes off, the game of others is played on, and new ones start. At the end of its
/// match nothing is left of it.
#[test]
fn a_fork_bomb_ends_only_its_own_match() {
    let Some(muster) = with_greed(Setup::default(), "bombs") else { return };
    let before = ProbeGame::start(&muster, "honest");
    let greedy = ProbeGame::start(&muster, "greedy");
    let user = greedy.user();
    muster.log().wait_for(&[&format!("output game={} ", greedy.number), "refused"]);
    let count = processes_of(user).len();
    assert!((2..=24).contains(&count), "{count} processes");
    plays(&muster, &before);
    let after = ProbeGame::start(&muster, "honest");
    plays(&muster, &after);
    greedy.end(&muster);
    muster.log().wait_for(&["port free"]);
    assert_eq!(processes_of(user), [0; 0]);
    plays(&muster, &before);
    before.end(&muster);
    after.end(&muster);
    muster.wait_until_idle("greedy", 0);
}

/// Faults rows 21 and 27: processes that keep being replaced by their children, without a name in the environment, when
/// their game ends.
#[test]
fn processes_that_keep_forking_are_killed_by_user_id() {
    let Some(muster) = with_greed(Setup::default().ports(1), "leaves-fugitives") else { return };
    for number in 1..=10 {
        let game = ProbeGame::start(&muster, "greedy");
        muster.log().wait_for_count(8 * number, &["output game=", ": fled"]);
        game.end(&muster);
        muster.log().wait_for_count(number, &["port free"]);
    }
    muster.wait_until_idle("greedy", 0);
    // They have the port, each of them. No list of processes would show any.
    assert_eq!(muster.log().lines_with(&["port busy"]), [""; 0]);
}

/// Faults row 27: a game that takes all the memory that there is gets no more than its mode allows, and ends by that.
#[test]
fn a_memory_hog_ends_only_its_own_match() {
    let Some(muster) = with_greed(Setup::default(), "hogs") else { return };
    let honest = ProbeGame::start(&muster, "honest");
    let greedy = ProbeGame::start(&muster, "greedy");
    greedy.end(&muster);
    let output = format!("output game={} ", greedy.number);
    muster.log().wait_for(&[&output, "has 32 MB"]);
    assert_eq!(muster.log().lines_with(&[&output, "has 64 MB"]), [""; 0]);
    plays(&muster, &honest);
    honest.end(&muster);
    muster.wait_until_idle("greedy", 0);
}

/// A mode's limits, without other confinement than a user who cannot raise them.
#[test]
fn resource_limits_apply_without_other_confinement() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let keys = "user = true\nmemory_max = \"64MiB\"\nfile_size_max = \"1MiB\"\nfiles_max = 32\n\
                cpu_time_max = \"1s\"";
    let fixture = ConfinementFixture::with(keys);
    let game = ProbeGame::start(&fixture.muster, "bad");
    let ask = |words: &str| game.ask(&fixture.muster, words);
    let (enough, too_much) = (["memory 16777216", "open 10"], ["memory 67108864", "open 40"]);
    assert_eq!(enough.map(|words| ask(words).is_denied()), [false; 2]);
    assert_eq!(too_much.map(|words| ask(words).is_denied()), [true; 2]);
    assert_eq!(
        ask("fill own 1048576"),
        ProbeResult::Denied("File too large (os error 27)".to_owned())
    );
    assert!(ask("raise-limit").is_denied());
    // Of all this without limits there is plenty.
    let free = ConfinementFixture::with("files_max = \"unlimited\"");
    let unlimited = ProbeGame::start(&free.muster, "bad");
    for words in too_much.into_iter().chain(["fill own 1048576"]) {
        assert!(!unlimited.ask(&free.muster, words).is_denied(), "{words}");
    }
    game.send("spin");
    fixture.muster.log().wait_for(&["game ended", &format!("game={} ", game.number), "signal"]);
}

/// A game that fills its directory, with bytes or with files, would fill that of all others. It is ended and named, and
/// others write and start meanwhile.
#[test]
fn a_full_directory_ends_only_its_own_match() {
    let bytes = "dd if=/dev/zero of=$i bs=64k count=1 2>/dev/null";
    let files = ": > $i";
    for (fill, max) in [(bytes, 64), (files, 2048)] {
        let script = format!(
            "echo up; i=0; while [ $i -lt {max} ]; do {fill}; i=$((i+1)); done; echo filled; sleep 3600"
        );
        let plain = "players = 1\ncontract = \"plain\"\nready_line = \"^up\"";
        let keys = format!("{plain}\n[mode.confinement]\ndirectory_max = \"1MiB\"");
        let modest =
            "echo up; while :; do echo saved > save && echo saved || exit 7; sleep 0.1; done";
        let setup = Setup::default().mode("greedy", &["/bin/sh", "-c", &script], &keys);
        let muster = setup.mode("modest", &["/bin/sh", "-c", modest], plain).start();
        muster.join("modest", "ada").assignment(SOON).unwrap();
        muster.join("greedy", "bob").assignment(SOON).unwrap();
        let full = muster.log().wait_for(&["game killed", "mode=greedy", "its directory holds"]);
        assert!(full.contains("confinement.directory_max = 1.0 MiB"), "{full}");
        let ended = muster.log().wait_for(&["match finished", "mode=greedy", "directory_max"]);
        assert!(ended.contains("WARN"), "{ended}");
        let game = Log::field(&ended, "game").to_owned();
        let report = muster.log().wait_for(&["game ended", &format!("game={game} ")]);
        assert!(report.contains("limit=directory_max"), "{report}");
        assert!(muster.operate(&["games"]).unwrap().contains("directory_max"));
        muster.join("modest", "cyd").assignment(SOON).unwrap();
        let before = muster.log().lines_with(&["mode=modest", ": saved"]).len();
        muster.log().wait_for_count(before + 5, &["mode=modest", ": saved"]);
        assert_eq!(muster.log().lines_with(&["mode=modest", "exit status 7"]), [""; 0]);
        assert_eq!(muster.log().lines_with(&["filled its directory", "mode=modest"]), [""; 0]);
    }
}

/// Where the file system of all directories is smaller than what a mode allows one game, no game may fill it either.
#[test]
fn a_small_file_system_is_not_filled_by_one_game() {
    use std::os::unix::fs::PermissionsExt as _;
    let bytes = "head -c 100000000 /dev/zero > $i";
    for (options, fill) in [("size=16m", bytes), ("size=16m,nr_inodes=400", ": > $i")] {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let place = place.path().display();
        let mount = format!("mount -t tmpfs -o mode=755,{options} none {place}");
        let can = Command::new("unshare").args(["--mount", "sh", "-c", &mount]).status();
        if !can.is_ok_and(|status| status.success()) {
            return eprintln!("left out: nothing can be mounted here");
        }
        let steps =
            format!("exec unshare --mount sh -c '{mount} && exec \"$0\" \"$@\"' \"$0\" \"$@\"");
        let script =
            format!("echo up; i=0; while {fill}; do i=$((i+1)); done; echo filled; sleep 3600");
        let keys = "players = 1\ncontract = \"plain\"\nready_line = \"^up\"";
        let setup =
            Setup::default().through_shell("sh", steps.leak()).env("TMPDIR", &place.to_string());
        let setup = setup.mode("greedy", &["/bin/sh", "-c", &script], keys);
        let modest = "echo up; echo saved > save && echo saved; sleep 3600";
        let muster = setup.mode("modest", &["/bin/sh", "-c", modest], keys).start();
        muster.join("greedy", "bob").assignment(SOON).unwrap();
        // A shell that cannot create a file ends by itself, perhaps before it is measured.
        muster.log().wait_for(&["match finished", "mode=greedy", "directory_max"]);
        muster.join("modest", "cyd").assignment(SOON).unwrap();
        muster.log().wait_for(&["mode=modest", ": saved"]);
    }
}

/// A file that may be as large as the directory is ended by the kernel, and the same key is named.
#[test]
fn a_file_as_large_as_the_directory_fills_it() {
    let script = "trap - XFSZ; exec dd if=/dev/zero of=world bs=64k count=64";
    let keys = "players = 1\ncontract = \"plain\"\n[mode.confinement]\ndirectory_max = \"1MiB\"";
    let muster = Setup::default().mode("greedy", &["/bin/sh", "-c", script], keys).start();
    muster.join("greedy", "bob").assignment(SOON).unwrap();
    muster.log().wait_for(&["match finished", "mode=greedy", "confinement.directory_max"]);
}

/// Processes that make two and end, as fast as they can and without a program to load, outlive no game: neither where
/// each has a user of its own, nor where Muster is not root and all share one.
#[test]
fn processes_that_respawn_each_other_die_with_their_game() {
    let Some(targets) = rustix::process::getuid().is_root().then(testkit::AttackTargets::create)
    else {
        return;
    };
    let other = 40_000 + std::process::id() % 20_000;
    let unprivileged = Setup::default().copied_into(targets.directory.path()).user(other);
    for setup in [Setup::default(), unprivileged] {
        let program = targets.program.to_str().unwrap();
        let keys = "players = 1\nwarm = 0\n[mode.confinement]\nseccomp = \"default\"\n\
                    processes_max = 24";
        let setup = setup.ports(2).mode("greedy", &[program, "leaves-hydra"], keys);
        let muster = setup.mode("honest", &[program, "probes"], keys).start();
        let honest = ProbeGame::start(&muster, "honest");
        for number in 1..=3 {
            let game = ProbeGame::start(&muster, "greedy");
            muster.log().wait_for_count(number, &["output game=", ": grown"]);
            // It does not count against another game's limit.
            plays(&muster, &honest);
            game.end(&muster);
            muster.log().wait_for_count(number, &["port free"]);
            let left: Vec<i32> = testkit::proc::children(muster.pid())
                .into_iter()
                .filter(|pid| proc::is_alive(*pid))
                .collect();
            // The launcher, and the honest game.
            assert_eq!(left.len(), 2, "{left:?}");
        }
        honest.end(&muster);
        assert_eq!(muster.log().lines_with(&["port busy"]), [""; 0]);
    }
}
