//! `muster serve --keep`: a daemon that dies is started again, and what it had stored is there.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::{Log, Muster, PortBlock, Setup, Wire, binary, proc, wait_for, wait_until};

fn kept() -> Setup {
    Setup::default().duel("warm = 0").keep("30s")
}

/// The daemon's pid as soon as another one listens than the one that had this.
fn next_daemon(muster: &Muster, old: i32) -> i32 {
    wait_for("another daemon", || Some(muster.pid()).filter(|pid| *pid != old))
}

fn signal_keeper(muster: &Muster, signal: Signal) {
    kill(Pid::from_raw(muster.started_pid()), signal).unwrap();
}

#[test]
fn a_killed_daemon_is_restarted_and_refuses_no_player() {
    let muster = kept().start();
    let (keeper, first) = (muster.started_pid(), muster.pid());
    assert!(proc::children(keeper).contains(&first));
    // Clients that connect while no daemon listens wait: with this many, some connect at that time.
    let (address, killed) = (muster.address().to_owned(), Instant::now());
    muster.signal(Signal::SIGKILL);
    let mut players: Vec<TcpStream> =
        (0..100).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let second = next_daemon(&muster, first);
    let took = killed.elapsed();
    assert!(took.as_secs() < 5, "back after {took:?}; a second on a machine that is not busy");
    players.retain_mut(|player| player.write_all(b"QUIT\n").is_ok());
    let mut ada = Wire::greeted(&address);
    assert!(ada.ask("READY\n").starts_with("QUEUED "));
    // And once more: what is given back stays in the store.
    muster.signal(Signal::SIGKILL);
    next_daemon(&muster, second);
    Wire::greeted(&address);
    let addresses = muster.log().lines_with(&["listening tcp="]);
    assert!(addresses.len() == 3 && addresses.iter().all(|line| line.contains(&address)));
}

/// A client in the backlog of a daemon that hangs and is killed is served by the next one.
#[test]
fn connections_in_the_backlog_are_accepted_by_the_next_daemon() {
    let muster = kept().start();
    let first = muster.pid();
    muster.signal(Signal::SIGSTOP);
    wait_until("the daemon's standstill", || proc::state(first) == Some('T'));
    let mut early = Wire::open(muster.address());
    early.say("READY\n");
    muster.signal(Signal::SIGKILL);
    next_daemon(&muster, first);
    assert!(early.line().starts_with("MUSTER 1 "));
    assert!(early.line().starts_with("QUEUED "));
}

#[test]
fn a_hung_daemon_is_killed_and_replaced() {
    let muster = Setup::default().duel("warm = 0").keep("1s").start();
    let first = muster.pid();
    muster.log().wait_for(&["the daemon is ready"]);
    muster.signal(Signal::SIGSTOP);
    // What others say in its name is not believed.
    let address = proc::environment(first).into_iter().find(|it| it.starts_with("NOTIFY_SOCKET="));
    let address = address.unwrap().split_once('=').unwrap().1.to_owned();
    let liar = UnixDatagram::unbound().unwrap();
    wait_until("the keeper to kill it", || {
        let _ = liar.send_to(b"WATCHDOG=1\n", &address);
        !muster.log().lines_with(&["does not answer", &format!("pid={first}")]).is_empty()
    });
    next_daemon(&muster, first);
    assert!(Wire::greeted(muster.address()).ask("READY\n").starts_with("QUEUED "));
    // One that turns is left alone, however little there is to do.
    let second = muster.pid();
    let woken = proc::voluntary_switches(second);
    wait_until("the daemon to notify its keeper", || proc::voluntary_switches(second) > woken + 6);
    assert_eq!(muster.pid(), second);
}

#[test]
fn the_keeper_gives_up_on_a_daemon_that_always_dies() {
    let mut muster = kept().start();
    let keeper = muster.started_pid();
    let mut killed = Vec::new();
    wait_until("the keeper's end", || {
        let daemon = muster.log().lines_with(&["keeping the daemon pid="]).pop().unwrap();
        let daemon: i32 = Log::field(&daemon, "pid").parse().unwrap();
        if !killed.contains(&daemon) {
            kill(Pid::from_raw(daemon), Signal::SIGKILL).unwrap();
            killed.push(daemon);
        }
        !proc::is_alive(keeper)
    });
    muster.log().wait_for(&["too many times in a row; giving up"]);
    assert_eq!(muster.wait_for_exit().code(), Some(128 + 9));
    assert_eq!(muster.log().lines_with(&["keeping the daemon pid="]).len(), 8);
}

/// A game of a daemon that was killed plays on, and is taken in by the keeper.
#[test]
fn games_survive_the_daemon_and_leave_no_zombie() {
    let keys = "players = 1\nwarm = 0\ncontract = \"plain\"";
    let setup = Setup::default().mode("duel", &["/bin/sleep", "60"], keys);
    let muster = setup.keep("30s").start();
    let first = muster.pid();
    let _ada = muster.join("duel", "ada").assignment(testkit::SOON).unwrap();
    let game: i32 = Log::field(&muster.log().wait_for(&["match assigned"]), "pid").parse().unwrap();
    muster.signal(Signal::SIGKILL);
    next_daemon(&muster, first);
    assert!(proc::is_alive(game));
    kill(Pid::from_raw(game), Signal::SIGKILL).unwrap();
    wait_until("the game's end, reaped", || proc::state(game).is_none());
}

#[test]
fn the_keeper_forwards_signals_and_exits_with_the_daemons_status() {
    for stop in [Signal::SIGTERM, Signal::SIGINT] {
        let mut muster = kept().start();
        let daemon = muster.pid();
        signal_keeper(&muster, Signal::SIGHUP);
        muster.log().wait_for(&["SIGHUP"]);
        signal_keeper(&muster, stop);
        assert_eq!(muster.wait_for_exit().code(), Some(0));
        assert!(!proc::is_alive(daemon));
        assert_eq!(muster.log().lines_with(&["once more stops at once"]).len(), 1);
    }
}

#[test]
fn a_signal_drains_and_a_second_one_ends_at_once() {
    let keys = "players = 1\nwarm = 0\nstop_grace = \"400ms\"";
    let mut muster =
        Setup::default().ports(1).puppet("duel", &["stubborn"], keys).keep("30s").start();
    let _ada = muster.join("duel", "ada").assignment(testkit::SOON).unwrap();
    signal_keeper(&muster, Signal::SIGTERM);
    muster.log().wait_for(&["draining"]);
    signal_keeper(&muster, Signal::SIGTERM);
    let status = muster.wait_for_exit();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

/// More descriptors than go into a message: all of them arrive, each under its name, and what the daemon has no use for
/// is not kept for the next one.
#[test]
fn the_keeper_passes_inherited_descriptors_to_the_daemon() {
    let steps = "names=; for i in {3..302}; do eval \"exec $i</dev/null\"; names+=:of-tomorrow-$i; done; \
                 export LISTEN_PID=$$ LISTEN_FDS=300 LISTEN_FDNAMES=${names:1}; exec \"$0\" \"$@\"";
    let muster = kept().through_shell("/bin/bash", steps).start();
    let first = muster.pid();
    muster.log().wait_for_count(300, &["dropping the stored descriptor of-tomorrow-"]);
    muster.log().wait_for(&["keeping the daemon", "stored=300"]);
    let tidy = kept().start();
    tidy.log().wait_for(&["the daemon is ready"]);
    let held = |muster: &Muster| proc::descriptors(muster.started_pid()).len();
    wait_until("the store to be tidied", || held(&muster) <= held(&tidy));
    muster.signal(Signal::SIGKILL);
    next_daemon(&muster, first);
    // The listening socket, and the saved state.
    muster.log().wait_for(&["keeping the daemon", "stored=3"]);
}

#[test]
fn ps_shows_keeper_daemon_and_launcher() {
    let muster = kept().start();
    let name = |pid| proc::status(pid, "Name").unwrap();
    assert_eq!(name(muster.started_pid()), "muster-keeper");
    assert_eq!(name(muster.pid()), "muster");
    let words = std::fs::read_to_string(format!("/proc/{}/cmdline", muster.pid())).unwrap();
    assert!(words.contains("/muster\0serve\0") && !words.contains("--keep"), "{words}");
    // Nothing of what the keeper has open is the daemon's, but what was stored.
    assert!(proc::environment(muster.pid()).iter().any(|it| it.starts_with("NOTIFY_SOCKET=/")));
}

/// A daemon that ends by itself is not started again, whatever it says.
#[test]
fn a_daemon_that_cannot_run_is_not_restarted() {
    let mut command = Command::new(binary("muster"));
    command.args(["serve", "--keep", "--config", "/nowhere/muster.toml"]).stdin(Stdio::null());
    let output = command.env_remove("NOTIFY_SOCKET").output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error.matches("keeping the daemon").count(), 1, "{error}");
}

/// The address may be available a moment later.
#[test]
fn a_daemon_whose_address_is_in_use_is_restarted() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let mut command = Command::new(binary("muster"));
    let ports = PortBlock::take(2);
    let range = format!("{}-{}", ports.range().start(), ports.range().end());
    command.args(["serve", "--keep", "--tcp", &address, "--ports", &range]);
    command.stdin(Stdio::null()).stderr(Stdio::piped()).env_remove("NOTIFY_SOCKET");
    let mut keeper = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(keeper.stderr.take().unwrap()));
    let mut find = |part: &str| lines.find(|line| line.as_ref().is_ok_and(|it| it.contains(part)));
    assert!(find("is another Muster running?").is_some());
    assert!(find("the daemon exited with status 69").is_some());
    drop(other);
    let ready = find("the daemon is ready");
    kill(nix::unistd::Pid::from_raw(i32::try_from(keeper.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert!(keeper.wait().unwrap().success() && ready.is_some());
}

#[test]
fn keep_under_a_service_manager_is_refused() {
    let mut command = Command::new(binary("muster"));
    command.args(["serve", "--keep"]).env("NOTIFY_SOCKET", "/run/systemd/notify");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("leave --keep out"), "{error}");
}
