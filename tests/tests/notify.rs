//! Notifications to the service manager, in the protocol of systemd 252 and later; sd_notify(3).

use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use socket2::Socket;
use testkit::{Manager, Muster, Setup, Wire, proc, wait_until};

fn managed(manager: &Manager) -> Setup {
    Setup::default().duel("warm = 0").env("NOTIFY_SOCKET", manager.address())
}

#[test]
fn readiness_is_reported_at_a_path_and_at_an_abstract_name() {
    for manager in [Manager::at_path(), Manager::abstract_name()] {
        let muster = managed(&manager).start();
        manager.wait_for("READY=1");
        TcpStream::connect(muster.address()).unwrap();
    }
}

#[test]
fn the_status_is_reported_when_it_changes() {
    let manager = Manager::at_path();
    let muster = managed(&manager).start();
    assert_eq!(manager.wait_for_value("STATUS="), "0 players waiting, 0 games, 8 ports free");
    let mut ada = Wire::greeted(muster.address());
    ada.say("READY\n");
    assert_eq!(manager.wait_for_value("STATUS="), "1 player waiting, 0 games, 8 ports free");
    ada.say("LEAVE\n");
    assert_eq!(manager.wait_for_value("STATUS="), "0 players waiting, 0 games, 8 ports free");
}

/// Whatever happens, there is one sentence a second, and the last one is true.
#[test]
fn status_reports_are_rate_limited() {
    let manager = Manager::at_path();
    let muster = managed(&manager).start();
    let mut players: Vec<Wire> = Vec::new();
    let mut reported = Vec::new();
    while reported.len() < 3 {
        let mut player = Wire::greeted(muster.address());
        player.ask(if players.len().is_multiple_of(2) { "READY\n" } else { "PING\n" });
        players.push(player);
        reported.extend(manager.next().filter(|it| it.lines[0].starts_with("STATUS=")));
    }
    for pair in reported.windows(2) {
        let between = pair[1].at - pair[0].at;
        // Read as soon as it came, but for the test's own turns.
        assert!(between > Duration::from_millis(800), "{between:?}");
    }
}

#[test]
fn a_reload_is_reported_with_its_begin_and_its_end() {
    let manager = Manager::at_path();
    let muster = managed(&manager).start();
    manager.wait_for("READY=1");
    muster.signal(Signal::SIGHUP);
    let message = manager.wait_for("RELOADING=1");
    let time: u64 = message.lines[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    let now = Duration::from(monotonic_now());
    assert!(now - Duration::from_micros(time) < testkit::SOON, "{now:?} {time}");
    manager.wait_for("READY=1");
}

/// Text from an operator's file is part of the status, and cannot become another assignment.
#[test]
fn a_failed_reload_is_reported_in_one_line() {
    let manager = Manager::at_path();
    let muster = managed(&manager).start();
    manager.wait_for_value("STATUS=0 players");
    muster.configure("[[mode]]\nname = \"duel\"\ncommand = [\"x\"]\ntransport = \"a\\nMAINPID=1\"");
    muster.operate(&["reload"]).unwrap_err();
    let reported = manager.wait_for_value("STATUS=");
    assert!(
        reported.contains("the last reload was refused") && reported.contains(r"a\\nMAINPID=1"),
        "{reported}"
    );
}

#[test]
fn a_stop_is_reported_and_extends_the_timeout() {
    let manager = Manager::at_path();
    let mut muster = Setup::default()
        .ports(1)
        .puppet("duel", &[], "players = 1\nwarm = 0")
        .env("NOTIFY_SOCKET", manager.address())
        .start();
    let _ada = muster.join("duel", "ada").assignment(testkit::SOON).unwrap();
    muster.signal(Signal::SIGTERM);
    manager.wait_for("STOPPING=1");
    manager.wait_for("EXTEND_TIMEOUT_USEC=30000000");
    assert_eq!(manager.wait_for_value("STATUS="), "draining: 1 game left");
    muster.order(*muster.ports().start(), "exit 0");
    assert_eq!(muster.wait_for_exit().code(), Some(0));
}

#[test]
fn a_running_loop_notifies_the_watchdog_and_a_hung_one_does_not() {
    let manager = Manager::at_path();
    let muster = managed(&manager).env("WATCHDOG_USEC", "200000").start();
    let first = manager.wait_for("WATCHDOG=1");
    let third = [(); 2].map(|()| manager.wait_for("WATCHDOG=1"));
    assert!(third[1].at - first.at > Duration::from_millis(100), "twice in the time, not more");
    muster.while_stopped(|| {
        // What was under way is read to its end; then there is silence for longer than the period.
        while manager.next().is_some() {}
        for _ in 0..10 {
            assert!(manager.next().is_none(), "a stopped daemon sends nothing");
        }
    });
    manager.wait_for("WATCHDOG=1");
}

#[test]
fn the_watchdog_of_another_process_is_ignored() {
    let manager = Manager::at_path();
    let setup = managed(&manager).env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let _muster = setup.start();
    manager.wait_for("READY=1");
    while let Some(message) = manager.next() {
        assert_ne!(message.lines, ["WATCHDOG=1"]);
    }
}

/// The listening socket goes into the store, so that it outlives the daemon.
#[test]
fn the_listening_socket_is_stored() {
    let manager = Manager::at_path();
    let muster = managed(&manager).start();
    let message = manager.wait_for("FDSTORE=1");
    assert_eq!(message.lines, ["FDSTORE=1", "FDNAME=listener", "FDPOLL=0"]);
    let [socket] = <[_; 1]>::try_from(message.descriptors).unwrap();
    let address = Socket::from(socket).local_addr().unwrap().as_socket().unwrap();
    assert_eq!(address.to_string(), muster.address());
}

/// A service manager that does not read blocks nothing, and receives everything when it reads again.
#[test]
fn a_manager_that_does_not_read_does_not_block_the_daemon() {
    let manager = Manager::at_path();
    let muster = managed(&manager).env("WATCHDOG_USEC", "2000").start();
    let mut ada = Wire::greeted(muster.address());
    // By then its queue is full many times over.
    for _ in 0..300 {
        assert!(ada.is_open());
        std::thread::park_timeout(Duration::from_millis(1));
    }
    muster.signal(Signal::SIGHUP);
    muster.log().wait_for(&["SIGHUP"]);
    manager.wait_for("RELOADING=1");
}

#[test]
fn a_missing_manager_does_not_stop_the_daemon() {
    for address in ["/nowhere/notify", "@no-manager", "vsock:2:1234", ""] {
        let mut muster = Setup::default().duel("warm = 0").env("NOTIFY_SOCKET", address).start();
        // An empty variable is no manager.
        if !address.is_empty() {
            muster.log().wait_for(&["cannot notify"]);
        }
        muster.signal(Signal::SIGTERM);
        let status = muster.wait_for_exit();
        assert_eq!((status.code(), status.signal()), (Some(0), None));
    }
}

/// Only the daemon itself has the service manager's variables.
#[test]
fn child_processes_do_not_see_the_managers_variables() {
    let manager = Manager::at_path();
    let setup = Setup::default().duel("warm = 1").env("NOTIFY_SOCKET", manager.address());
    let muster: Muster = setup.env("WATCHDOG_USEC", "20000000").start();
    muster.log().wait_for(&["game ready"]);
    let is_notified = |pid: i32| {
        let reported = ["NOTIFY_SOCKET=", "WATCHDOG_USEC="];
        proc::environment(pid).iter().any(|it| reported.iter().any(|name| it.starts_with(name)))
    };
    assert!(is_notified(muster.pid()));
    wait_until("the game", || muster.games().len() == 1);
    for pid in muster.games().into_iter().chain([muster.launcher()]) {
        assert!(!proc::environment(pid).is_empty() && !is_notified(pid));
    }
}

fn monotonic_now() -> nix::sys::time::TimeSpec {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap()
}

#[test]
fn a_descriptor_store_too_small_for_the_ring_is_reported() {
    let manager = Manager::at_path();
    for (room, is_short) in [("21", true), ("22", false)] {
        let muster = managed(&manager).ports(2).env("FDSTORE", room).start();
        let reported = muster.log().lines_with(&["the service manager stores", "descriptors"]);
        assert_eq!(!reported.is_empty(), is_short, "{reported:?}");
    }
}
