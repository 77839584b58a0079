//! The daemon is killed with SIGKILL, its keeper starts another, and that one continues where the first stopped.

use client::Lobby;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::Reply;
use testkit::{Log, Muster, SOON, Setup, proc, wait_for, wait_until};

fn kept() -> Setup {
    Setup::default().keep("30s").ports(6)
}

/// A plain program that plays for an hour, and ignores the end of other processes.
fn stubborn(setup: Setup) -> Setup {
    let keys = "players = 1\nwarm = 0\ncontract = \"plain\"";
    setup.mode("stubborn", &["/bin/sleep", "3600"], keys)
}

fn send(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Stops a process, and waits until it is stopped.
fn freeze(pid: i32) {
    send(pid, Signal::SIGSTOP);
    wait_until("a standstill", || proc::state(pid) == Some('T'));
}

/// A player who joins, and its key.
fn join(muster: &Muster, queue: &str, name: &str) -> (Lobby, String) {
    let mut lobby = muster.connect();
    let place = lobby.join(Some(queue), Some(name), SOON).unwrap();
    (lobby, place.resume)
}

/// Faults row 37: games play on, players get their positions back in order, and messages of games are read.
#[test]
fn games_continue_and_players_reconnect_after_a_crash() {
    let muster = kept()
        .puppet("pair", &[], "players = 2\nwarm = 1")
        .puppet("trio", &[], "players = 3\nwarm = 0")
        .start();
    let mut pair = ["ada", "bob"].map(|name| muster.join("pair", name));
    let assigned = pair.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    let port = assigned[0].port;
    let line = muster.log().wait_for(&["match assigned match=1 "]);
    let pid: i32 = Log::field(&line, "pid").parse().unwrap();
    let trio = ["cyd", "dan"].map(|name| join(&muster, "trio", name));
    muster.log().wait_for_count(2, &["game ready "]);
    for _ in 0..3 {
        muster.crash();
        assert!(proc::is_alive(pid));
        // An upgrade in place in between changes nothing.
        muster.upgrade(None).unwrap();
    }
    // Messages that it sends while no daemon runs are read later.
    let mut back: Vec<Lobby> = trio
        .iter()
        .map(|(_, key)| {
            let mut lobby = muster.connect();
            let received = lobby.resume(key, SOON).unwrap();
            assert!(matches!(received, Reply::Queued { .. }), "{received}");
            lobby
        })
        .collect();
    back.push(muster.join("trio", "eve"));
    for (slot, lobby) in back.iter_mut().enumerate() {
        assert_eq!(lobby.assignment(SOON).unwrap().slot, slot);
    }
    muster.order(port, r#"say {"type":"result","winner":1}"#);
    muster.log().wait_for(&["match result match=1 ", "\"winner\":1"]);
    muster.order(port, "exit 3");
    muster.log().wait_for(&["game ended ", "match=1 ", "exit status 3"]);
}

/// Modes that a reload brought and took have their places after a crash, and the file may have changed once more.
#[test]
fn a_reloaded_configuration_holds_after_a_crash() {
    let muster = kept().puppet("old", &[], "").puppet("pair", &[], "warm = 0").start();
    let mut pair = ["ada", "bob"].map(|name| muster.join("pair", name));
    let port = pair.each_mut().map(|lobby| lobby.assignment(SOON).unwrap())[0].port;
    let mode = |name: &str| {
        let game = testkit::binary("puppet-game");
        format!("[[mode]]\nname = \"{name}\"\ncommand = [{game:?}]\nwarm = 0\n")
    };
    muster.configure(&(mode("new") + &mode("pair")));
    muster.operate(&["reload"]).unwrap();
    let (_, key) = join(&muster, "new", "cyd");
    let (_, removed) = join(&muster, "pair", "eve");
    // The daemon has not received this one.
    muster.configure(&(mode("later") + &mode("new")));
    muster.crash();
    let mut cyd = muster.connect();
    let received = cyd.resume(&key, SOON).unwrap();
    assert!(matches!(received, Reply::Queued { .. }), "{received}");
    let mut second = muster.join("new", "dan");
    assert_eq!(cyd.assignment(SOON).unwrap().slot, 0);
    assert_eq!(second.assignment(SOON).unwrap().slot, 1);
    let refused = muster.connect().resume(&removed, SOON).unwrap_err();
    assert!(refused.to_string().contains("505"), "{refused}");
    let mut later = ["fay", "gus"].map(|name| muster.join("later", name));
    for lobby in &mut later {
        lobby.assignment(SOON).unwrap();
    }
    muster.order(port, "exit 3");
    muster.log().wait_for(&["game ended ", "mode=pair", "match=1 ", "exit status 3"]);
}

/// A daemon that hands over exits, and the next one continues; without a process that starts it, it stays.
#[test]
fn a_crashed_daemon_hands_over_to_the_next_one() {
    let alone = Setup::default().puppet("pair", &[], "").start();
    let refused = alone.operate(&["handover"]).unwrap_err();
    assert!(refused.contains("nobody keeps"), "{refused}");
    let muster = kept().puppet("pair", &[], "players = 2\nwarm = 0").start();
    let mut pair = ["ada", "bob"].map(|name| muster.join("pair", name));
    let port = pair.each_mut().map(|lobby| lobby.assignment(SOON).unwrap())[0].port;
    let (_lobby, key) = join(&muster, "pair", "cyd");
    let file = muster.directory().join("muster.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // The next one could not even read its configuration: it is not left to that.
    std::fs::write(&file, "nonsense").unwrap();
    let refused = muster.operate(&["handover"]).unwrap_err();
    assert!(refused.contains("is not fit to take over"), "{refused}");
    std::fs::write(&file, text).unwrap();
    let first = muster.pid();
    let received = muster.operate(&["handover"]).unwrap();
    assert!(received.contains("handed over"), "{received}");
    muster.log().wait_for(&["the daemon has handed over", "starting the next one"]);
    muster.log().wait_for(&["taken over from the daemon before", "games=1"]);
    wait_for("another daemon", || Some(muster.pid()).filter(|pid| *pid != first));
    let mut cyd = muster.connect();
    cyd.resume(&key, SOON).unwrap();
    let mut dan = muster.join("pair", "dan");
    assert_eq!([&mut cyd, &mut dan].map(|it| it.assignment(SOON).unwrap().slot), [0, 1]);
    muster.order(port, "exit 3");
    muster.log().wait_for(&["game ended ", "match=1 ", "exit status 3"]);
}

/// The file has changed before a crash: modes that want warm games and a size that makes a match at once, and even what
/// cannot change while games live.
#[test]
fn games_continue_after_a_crash_with_a_changed_configuration() {
    let muster = kept().puppet("pair", &[], "warm = 0").puppet("trio", &[], "players = 3").start();
    let mut pair = ["ada", "bob"].map(|name| muster.join("pair", name));
    let port = pair.each_mut().map(|lobby| lobby.assignment(SOON).unwrap())[0].port;
    let trio = ["cyd", "dan"].map(|name| join(&muster, "trio", name));
    let mode = |name: &str, players: usize| {
        let game = testkit::binary("puppet-game");
        format!(
            "[[mode]]\nname = \"{name}\"\ncommand = [{game:?}]\nplayers = {players}\nwarm = 2\n"
        )
    };
    // A running match of another size.
    muster.configure(&(mode("pair", 3) + &mode("trio", 3)));
    let file = muster.directory().join("muster.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let ring = text.lines().find(|line| line.starts_with("range = ")).unwrap();
    std::fs::write(&file, text.replace(ring, "range = \"20000-20001\"")).unwrap();
    muster.operate(&["reload"]).unwrap();
    // The daemon has not received this: two wait for a match that it completes.
    muster.configure(&(mode("new", 2) + &mode("trio", 2)));
    for _ in 0..2 {
        muster.crash();
        muster.log().wait_for(&["going on with ports.range = "]);
    }
    assert_eq!(muster.log().lines_with(&["starting empty"]).len(), 0);
    let mut back = trio.map(|(_, key)| {
        let mut lobby = muster.connect();
        lobby.resume(&key, SOON).unwrap();
        lobby
    });
    let slots = back.each_mut().map(|lobby| lobby.assignment(SOON).unwrap().slot);
    assert_eq!(slots, [0, 1]);
    muster.order(port, "exit 3");
    muster.log().wait_for(&["game ended ", "mode=pair", "match=1 ", "exit status 3"]);
}

/// The requester of a drain is known after a crash: an operator's may be cancelled, and a signal's is not urgent.
#[test]
fn a_drain_and_its_requester_survive_a_crash() {
    let mut muster = kept().puppet("solo", &[], "players = 1\nwarm = 0").start();
    let port = muster.join("solo", "ada").assignment(SOON).unwrap().port;
    muster.operate(&["drain"]).unwrap();
    muster.crash();
    muster.operate(&["undrain"]).unwrap();
    muster.operate(&["drain"]).unwrap();
    muster.crash();
    // The first signal: the game is not ended for it.
    send(muster.started_pid(), Signal::SIGTERM);
    muster.log().wait_for(&["SIGTERM: draining"]);
    muster.order(port, "exit 3");
    muster.log().wait_for(&["game ended ", "exit status 3"]);
    assert!(muster.wait_for_exit().success());
}

/// A game that ends while there is no daemon is known to have ended, and its port is freed.
#[test]
fn a_game_that_ends_during_a_crash_frees_its_port() {
    let muster = kept().puppet("pair", &[], "players = 2\nwarm = 0").start();
    let mut pair = ["ada", "bob"].map(|name| muster.join("pair", name));
    pair.iter_mut().for_each(|lobby| drop(lobby.assignment(SOON).unwrap()));
    let line = muster.log().wait_for(&["match assigned match=1 "]);
    let pid = Pid::from_raw(Log::field(&line, "pid").parse().unwrap());
    // The keeper is stopped meanwhile, so that the next daemon finds both at once.
    let keeper = Pid::from_raw(muster.started_pid());
    kill(keeper, Signal::SIGSTOP).unwrap();
    muster.signal(Signal::SIGKILL);
    kill(pid, Signal::SIGKILL).unwrap();
    kill(keeper, Signal::SIGCONT).unwrap();
    muster.log().wait_for(&["back after a crash"]);
    muster.log().wait_for(&["game ended ", "match=1 "]);
    wait_until("every port back", || muster.status("pair") == (0, 0, 6));
}

/// Faults row 37: killed at any moment of starts and assignments. In the end everybody who returns is served, and every
/// port is freed.
#[test]
fn a_daemon_killed_at_any_moment_recovers() {
    let muster = kept().puppet("pair", &[], "players = 2\nwarm = 1").start();
    for round in 0..5 {
        let players = ["ada", "bob"].map(|name| join(&muster, "pair", name));
        muster.crash();
        let mut back = players.map(|(_, key)| {
            let mut lobby = muster.connect();
            lobby.resume(&key, SOON).map(|reply| (lobby, reply))
        });
        for returned in &mut back {
            let (lobby, reply) =
                returned.as_mut().unwrap_or_else(|error| panic!("{round}: {error}"));
            let port = match reply {
                Reply::Assign { port, .. } => *port,
                _ => lobby.assignment(SOON).unwrap().port,
            };
            muster.order(port, "exit 0");
        }
    }
    wait_until("every port but the warm game's back", || {
        let (waiting, games, free) = muster.status("pair");
        waiting == 0 && games <= 1 && free >= 5
    });
}

/// A game whose launch was not reported when the daemon was killed is unknown. It is ended, its port is freed,
/// and its player plays in another.
#[test]
fn a_game_launched_but_not_reported_before_a_crash_is_ended() {
    let muster = stubborn(kept()).start();
    let launcher = muster.launcher();
    freeze(launcher);
    let (_ada, key) = join(&muster, "stubborn", "ada");
    freeze(muster.pid());
    send(launcher, Signal::SIGCONT);
    let orphan = wait_for("its birth", || proc::working_in(muster.directory()).pop());
    muster.crash();
    wait_until("the orphan's end", || !proc::is_alive(orphan));
    plays_on(&muster, &key);
    muster.stop_and_assert_nothing_left();
}

/// A launcher that outlives its daemon makes what it was ordered to make; that is ended, too, and so is a launcher that
/// is stopped.
#[test]
fn a_game_launched_after_the_crash_is_ended() {
    for is_late in [false, true] {
        let muster = stubborn(kept()).start();
        let (keeper, launcher) = (muster.started_pid(), muster.launcher());
        freeze(launcher);
        let (_ada, key) = join(&muster, "stubborn", "ada");
        freeze(keeper);
        muster.signal(Signal::SIGKILL);
        if !is_late {
            send(launcher, Signal::SIGCONT);
            wait_until("the launcher's end", || !proc::is_alive(launcher));
        }
        send(keeper, Signal::SIGCONT);
        muster.log().wait_for(&["back after a crash"]);
        plays_on(&muster, &key);
        wait_until("the launcher's end", || !proc::is_alive(launcher));
        muster.stop_and_assert_nothing_left();
    }
}

/// Leftovers of a game of the previous daemon, in a session of their own, are killed with it.
#[test]
fn leftovers_of_an_adopted_game_are_killed() {
    let keys = "players = 1\nwarm = 0\ncontract = \"plain\"";
    let two = ["/bin/sh", "-c", "setsid sleep 3600 & wait"];
    let muster = kept().mode("two", &two, keys).start();
    drop(muster.join("two", "ada").assignment(SOON).unwrap());
    let line = muster.log().wait_for(&["match assigned match=1 "]);
    let game: i32 = Log::field(&line, "pid").parse().unwrap();
    let both = wait_for("its child", || {
        Some(proc::working_in(muster.directory())).filter(|both| both.len() == 2)
    });
    muster.crash();
    assert!(both.iter().all(|pid| proc::is_alive(*pid)));
    send(game, Signal::SIGKILL);
    muster.log().wait_for(&["game ended ", "match=1 "]);
    wait_until("every port back", || muster.status("two") == (0, 0, 6));
    assert!(!both.into_iter().any(proc::is_alive));
    muster.stop_and_assert_nothing_left();
}

/// The player reconnects and is assigned to a game, which is the only one.
fn plays_on(muster: &Muster, key: &str) {
    let mut lobby = muster.connect();
    let received = lobby.resume(key, SOON).unwrap();
    if !matches!(received, Reply::Assign { .. }) {
        lobby.assignment(SOON).unwrap();
    }
    wait_until("one port in use", || muster.status("stubborn") == (0, 1, 5));
    assert_eq!(proc::working_in(muster.directory()).len(), 1);
}
