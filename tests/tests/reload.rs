//! Another configuration for a running daemon: modes come, change and go while players wait and play.

use client::{Assignment, GameSocket};
use nix::sys::signal::Signal;
use protocol::{Reply, Request};
use testkit::{Muster, SOON, Setup, binary, evicted_because, wait_for, wait_until};

/// The queues in the greeting.
fn queues(muster: &Muster) -> Vec<String> {
    let mut lobby = muster.connect();
    lobby.send(&Request::Status).unwrap();
    lobby.send(&Request::Ping(String::new())).unwrap();
    let mut queues = Vec::new();
    loop {
        match lobby.next_reply(SOON).unwrap() {
            Reply::Status { queue, .. } => queues.push(queue),
            Reply::Pong(_) => return queues,
            other => panic!("reported {other}"),
        }
    }
}

fn puppet(name: &str, keys: &str) -> String {
    let game = binary("puppet-game");
    format!("[[mode]]\nname = \"{name}\"\ncommand = [{game:?}]\n{keys}\n")
}

#[test]
fn modes_are_added_changed_and_removed_without_losing_players() {
    let muster = Setup::default().puppet("pair", &[], "warm = 1").puppet("old", &[], "").start();
    let mut waiting = muster.join("pair", "ada");
    let mut of_old = muster.join("old", "eve");
    let pair = puppet("pair", "warm = 1\nstart_timeout = \"9s\"");
    muster.configure(&(puppet("new", "players = 1\nwarm = 0") + &pair));
    let reported = muster.operate(&["reload"]).unwrap();
    for part in ["new added", "pair changed", "old removed"] {
        assert!(reported.contains(part), "{reported}");
    }
    assert_eq!(evicted_because(&mut of_old), "mode-removed");
    assert_eq!(queues(&muster), ["new", "pair"]);
    // An evicted player may join elsewhere, and the first queue of the file is the default.
    of_old.join(None, Some("eve"), SOON).unwrap();
    of_old.assignment(SOON).unwrap();
    let mut second = muster.join("pair", "bob");
    let assigned = [waiting.assignment(SOON).unwrap(), second.assignment(SOON).unwrap()];
    assert_eq!((assigned[0].slot, assigned[1].slot), (0, 1), "the order is kept");
}

#[test]
fn a_changed_command_applies_to_the_next_match() {
    let muster = Setup::default().puppet("solo", &[], "players = 1\nwarm = 1").start();
    let running = muster.join("solo", "ada").assignment(SOON).unwrap();
    muster.log().wait_for(&["game ready"]);
    let game = binary("muster-game");
    muster.configure(&format!(
        "[[mode]]\nname = \"solo\"\nplayers = 1\nwarm = 1\ncommand = [{game:?}, \"echo\"]\n"
    ));
    muster.operate(&["reload"]).unwrap();
    let next = muster.join("solo", "bob").assignment(SOON).unwrap();
    assert_ne!(next.port, running.port);
    let commands = || -> Vec<String> {
        let line = |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        muster.games().into_iter().map(|pid| String::from_utf8_lossy(&line(pid)).into()).collect()
    };
    wait_until("one game of the old command, and others of the new", || {
        let commands = commands();
        let old = commands.iter().filter(|line| line.contains("puppet-game")).count();
        old == 1 && commands.iter().any(|line| line.contains("echo"))
    });
    // The game is still controlled: it ends on request, and its port is released.
    muster.order(running.port, "exit 0");
    muster.log().wait_for(&["match finished match=1 "]);
}

#[test]
fn an_invalid_configuration_changes_nothing_and_is_reported() {
    let muster = Setup::default().puppet("pair", &[], "").start();
    let mut ada = muster.join("pair", "ada");
    muster.configure("[limits]\nclient = 1\n");
    let refused = muster.operate(&["reload"]).unwrap_err();
    assert!(refused.contains("client: no such key; did you mean `clients`?"), "{refused}");
    muster.log().wait_for(&["reload refused", "did you mean `clients`?"]);
    muster.signal(Signal::SIGHUP);
    muster.log().wait_for_count(2, &["reload refused"]);
    assert_eq!(queues(&muster), ["pair"]);
    muster.join("pair", "bob").assignment(SOON).unwrap();
    ada.assignment(SOON).unwrap();
}

#[test]
fn keys_that_cannot_change_are_reported_and_the_rest_is_applied() {
    let muster = Setup::default().puppet("pair", &[], "").start();
    let file = muster.directory().join("muster.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("metrics = \"off\"", "metrics = \"127.0.0.1:0\"");
    std::fs::write(&file, text + &puppet("solo", "players = 1")).unwrap();
    muster.signal(Signal::SIGHUP);
    let line = muster.log().wait_for(&["reloaded: solo added"]);
    assert!(line.contains("listen.metrics cannot change without a stop and a start"), "{line}");
    assert_eq!(queues(&muster), ["pair", "solo"]);
}

/// The warnings of a start are also given by a reload: in the log, and in the operator's answer. Unchanged ones are not
/// repeated, and after an upgrade or a crash all of them are logged.
#[test]
fn a_reload_that_weakens_confinement_or_encryption_warns() {
    let muster = Setup::default().keep("60s").puppet("pair", &[], "").start();
    let file = muster.directory().join("muster.toml");
    let walls = "mode pair: confinement without network, landlock, as configured";
    let plain = "mode echo: transport=plain is not encrypted";
    let open = "[mode.confinement]\nnetwork = false\nlandlock = false\n";
    let loosened = puppet("pair", open);
    muster.configure(&loosened);
    let reported = muster.operate(&["reload"]).unwrap();
    assert!(
        reported.contains("pair changed") && reported.contains(&format!("warning: {walls}")),
        "{reported}"
    );
    muster.log().wait_for(&["WARN", walls]);
    // Nothing new: a mode that is as open as before, and one that listens on loopback only.
    muster.configure(&(puppet("pair", &format!("players = 3\n{open}")) + &echo("warm = 0")));
    let reported = muster.operate(&["reload"]).unwrap();
    assert!(reported.contains("echo added") && !reported.contains("warning"), "{reported}");
    for (round, shown) in [(2, "upgraded "), (3, "back after a crash")] {
        match round {
            2 => drop(muster.upgrade(None).unwrap()),
            _ => muster.signal(Signal::SIGKILL),
        }
        muster.log().wait_for(&[shown]);
        muster.log().wait_for_count(round, &["WARN", walls]);
    }
    let checked = std::process::Command::new(binary("muster"))
        .args(["check-config", file.to_str().unwrap()])
        .output()
        .unwrap();
    let said = String::from_utf8(checked.stderr).unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let line = 1 + text.lines().position(|line| line == "network = false").unwrap();
    let expected = format!("{}:{line}:11: warning: {walls}", file.display());
    assert!(checked.status.success() && said.contains(&expected), "{said}");
    assert!(!said.contains(plain), "{said}");
}

/// The same for encryption: a daemon whose games listen on all addresses.
#[test]
fn a_reload_from_netcode_to_plain_on_all_addresses_warns() {
    let game = binary("muster-game");
    let mode = |transport: &str| {
        format!(
            "[[mode]]\nname = \"echo\"\nplayers = 1\nwarm = 0\ncommand = [{game:?}, \"echo\"]\n\
             transport = \"{transport}\"\n"
        )
    };
    let muster = Setup::default().config("bind = \"0.0.0.0\"").config(&mode("netcode")).start();
    muster.configure(&mode("plain"));
    let reported = muster.operate(&["reload"]).unwrap();
    let warning = "mode echo: transport=plain is not encrypted and its games listen on 0.0.0.0";
    assert!(reported.contains(&format!("warning: {warning}")), "{reported}");
    muster.log().wait_for(&["WARN", warning]);
    muster.configure(&mode("netcode"));
    let reported = muster.operate(&["reload"]).unwrap();
    assert!(!reported.contains("warning"), "{reported}");
}

/// A mode for one that plays the reference echo.
fn echo(keys: &str) -> String {
    let game = binary("muster-game");
    format!("[[mode]]\nname = \"echo\"\nplayers = 1\ncommand = [{game:?}, \"echo\"]\n{keys}\n")
}

fn enter(assignment: &Assignment) -> GameSocket {
    let mut game = GameSocket::enter(assignment, SOON).unwrap();
    game.ping("here", SOON).unwrap();
    game
}

/// Its tokens contain the address that players receive, which is not checked again: a name that cannot be resolved has
/// no effect until a restart.
#[test]
fn a_reload_may_add_the_first_mode_with_netcode() {
    let muster = Setup::default().puppet("pair", &[], "").start();
    let file = muster.directory().join("muster.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let elsewhere = "[ports]\npublic_host = \"no-such-host.invalid\"";
    std::fs::write(&file, text.replace("[ports]", elsewhere)).unwrap();
    for warm in ["warm = 0", "warm = 1"] {
        muster.configure(&echo(&format!("transport = \"netcode\"\n{warm}")));
        let reported = muster.operate(&["reload"]).unwrap();
        assert!(
            reported.contains("ports.public_host cannot change without a stop and a start"),
            "{reported}"
        );
        let ada = muster.join("echo", "ada").assignment(SOON).unwrap();
        assert_eq!((ada.host.as_str(), ada.transport.as_str()), ("127.0.0.1", "netcode"));
        enter(&ada).bye(SOON).unwrap();
    }
}

/// A player who returns to a running game receives that game's transport, and a later player the mode's. The same holds
/// after an upgrade and after a crash.
#[test]
fn a_changed_transport_applies_to_the_next_match() {
    for [before, after] in [["plain", "netcode"], ["netcode", "plain"]] {
        let muster = Setup::default().puppet("pair", &[], "").keep("60s").start();
        let mode = |transport: &str| {
            muster
                .configure(&echo(&format!("transport = \"{transport}\"\nrejoin = true\nwarm = 1")));
            muster.operate(&["reload"]).unwrap();
        };
        mode(before);
        muster.log().wait_for(&["game ready"]);
        let mut ada = muster.connect();
        let key = ada.join(Some("echo"), Some("ada"), SOON).unwrap().resume;
        let running = ada.assignment(SOON).unwrap();
        let mut lost = enter(&running);
        muster.log().wait_for_count(2, &["game ready"]);
        mode(after);
        for is_crash in [false, true] {
            if is_crash {
                muster.signal(Signal::SIGKILL);
                muster.log().wait_for(&["back after a crash"]);
            } else {
                muster.upgrade(None).unwrap();
            }
            let back = Assignment::of(muster.connect().resume(&key, SOON).unwrap()).unwrap();
            assert_eq!((&back.match_id, back.port), (&running.match_id, running.port));
            assert_eq!(back.transport, before);
            lost = enter(&back);
        }
        lost.bye(SOON).unwrap();
        let next = muster.join("echo", "bob").assignment(SOON).unwrap();
        assert_eq!(next.transport, after);
        enter(&next).bye(SOON).unwrap();
    }
}

/// A match whose game has received `start`, and has not started, gets that game's transport.
#[test]
fn a_changed_transport_does_not_apply_to_a_starting_match() {
    for [before, after] in [["plain", "netcode"], ["netcode", "plain"]] {
        let mode = |transport: &str, warm: usize| {
            let game = binary("puppet-game");
            format!(
                "[[mode]]\nname = \"held\"\nplayers = 1\nwarm = {warm}\nstart_timeout = \"60s\"\n\
                 command = [{game:?}, \"held\"]\ntransport = \"{transport}\"\n"
            )
        };
        for warm in 0..=1 {
            let muster = Setup::default().ports(1).config(&mode(before, warm)).start();
            if warm == 1 {
                muster.log().wait_for(&["game ready"]);
            }
            let mut ada = muster.join("held", "ada");
            let start = muster.log().wait_for(&["received", "\"type\":\"start\""]);
            assert_eq!(start.contains("\"netcode\":{"), before == "netcode", "{start}");
            muster.configure(&mode(after, warm));
            muster.operate(&["reload"]).unwrap();
            muster.order(*muster.ports().start(), "say {\"type\":\"started\"}");
            assert_eq!(ada.assignment(SOON).unwrap().transport, before, "warm = {warm}");
        }
    }
}

/// The launcher that does not know all programs is replaced at once: what is ordered of the next one is not lost.
#[test]
fn a_changed_program_loses_no_game() {
    let muster = Setup::default().metrics().puppet("pair", &[], "warm = 2").start();
    muster.log().wait_for_count(2, &["game ready"]);
    for round in 1..=3 {
        muster.configure(&puppet("pair", &format!("warm = 2\nenv = {{ ROUND = \"{round}\" }}")));
        muster.operate(&["reload"]).unwrap();
        muster.log().wait_for_count(2 + 2 * round, &["game ready"]);
    }
    let of_pair = |name| muster.scrape().sum(name, &[("mode", "pair")]);
    // What is scraped may be a moment old.
    wait_until("all launches in the figures", || of_pair("muster_launches_total") >= 8.0);
    assert_eq!(of_pair("muster_launch_failures_total"), 0.0);
    assert_eq!(of_pair("muster_launches_total"), 8.0);
}

/// A reload, an upgrade in place and another reload: the places of the modes outlive all of them.
#[test]
fn modes_keep_their_indices_over_an_upgrade() {
    let muster = Setup::default().puppet("one", &[], "").puppet("two", &[], "").start();
    let mut ada = muster.join("two", "ada");
    muster.configure(&(puppet("two", "") + &puppet("three", "players = 1")));
    muster.operate(&["reload"]).unwrap();
    muster.upgrade(None).unwrap();
    assert_eq!(queues(&muster), ["two", "three"]);
    muster.join("three", "eve").assignment(SOON).unwrap();
    muster.configure(&(puppet("one", "players = 1") + &puppet("two", "")));
    muster.operate(&["reload"]).unwrap();
    assert_eq!(queues(&muster), ["one", "two"]);
    muster.join("one", "eve").assignment(SOON).unwrap();
    muster.join("two", "bob").assignment(SOON).unwrap();
    ada.assignment(SOON).unwrap();
}

/// Players come all the time while a mode changes again and again: everybody ends up in a match.
#[test]
fn reloads_under_load_lose_no_player() {
    let muster = Setup::default().ports(64).puppet("pair", &[], "warm = 2").start();
    let mut lobbies = Vec::new();
    for round in 0..4 {
        for player in 0..6 {
            lobbies.push(muster.join("pair", &format!("p{round}-{player}")));
        }
        let keys = format!("warm = {}\nenv = {{ ROUND = \"{round}\" }}", round % 3);
        muster.configure(&puppet("pair", &keys));
        muster.operate(&["reload"]).unwrap();
    }
    for mut lobby in lobbies {
        lobby.assignment(SOON).unwrap();
    }
    wait_for("no waiting players", || (muster.status("pair").0 == 0).then_some(()));
}
