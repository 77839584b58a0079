//! The ring of ports: too few of them, some taken by others, and what still comes to those that were given back.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use client::{Assignment, Lobby};
use protocol::{Reply, WaitReason};
use testkit::{Log, Muster, SOON, Setup, proc, wait_for_reason};

/// A mode for one player whose game ends on request.
const ONE: &str = "players = 1\nwarm = 0";

fn setup(ports: u16) -> Setup {
    Setup::default().ports(ports).puppet("one", &[], ONE)
}

/// Faults row 30: with a ring of two, matches wait in the order of their players, and each continues as soon as a port
/// is released: the earlier ones first.
#[test]
fn two_ports_serve_players_in_order() {
    let muster = setup(2).start();
    let mut played: Vec<Assignment> =
        ["ada", "bob"].map(|name| muster.join("one", name).assignment(SOON).unwrap()).into();
    let mut waiting: Vec<Lobby> = (0..6).map(|_| muster.join("one", "cid")).collect();
    for lobby in &mut waiting {
        wait_for_reason(lobby, WaitReason::NoPort);
    }
    assert_eq!(muster.status("one"), (6, 2, 0), "waiting, games, free ports");
    for number in 3..=8 {
        muster.order(played.remove(0).port, "exit 0");
        let assigned = waiting.remove(0).assignment(SOON).unwrap();
        assert_eq!(assigned.match_id, number.to_string());
        waiting.iter_mut().for_each(received_only_waiting);
        played.push(assigned);
    }
    for assigned in played {
        muster.order(assigned.port, "exit 0");
    }
    muster.wait_until_idle("one", 0);
}

/// No other match was served before its turn.
fn received_only_waiting(lobby: &mut Lobby) {
    while let Some(reply) = lobby.poll_reply().unwrap() {
        assert!(matches!(reply, Reply::Waiting { .. }), "{reply}");
    }
}

/// Faults row 30: waiting for ports costs nothing: while both ports are in quarantine, the daemon sleeps.
#[test]
fn waiting_for_a_port_uses_no_processor() {
    let muster = setup(2).quarantine("1s").log("info").start();
    let played = ["ada", "bob"].map(|name| muster.join("one", name).assignment(SOON).unwrap());
    let mut waiting: Vec<Lobby> = (0..4).map(|_| muster.join("one", "cid")).collect();
    for game in &played {
        muster.order(game.port, "exit 0");
    }
    muster.log().wait_for_count(2, &["port returned"]);
    let (before, woken, since) =
        (work(&muster), proc::voluntary_switches(muster.pid()), Instant::now());
    let assigned = waiting[0].assignment(SOON).unwrap();
    // A spin would have worked all of the time, or as much of it as a busy machine gives.
    let worked = work(&muster) - before;
    assert!(worked * 10 < since.elapsed().as_millis(), "{worked} ms of {:?}", since.elapsed());
    let woken = proc::voluntary_switches(muster.pid()) - woken;
    assert!(woken < 300, "woken {woken} times in {:?}", since.elapsed());
    muster.order(assigned.port, "exit 0");
}

/// The time that a process has worked so far, in milliseconds: 100 ticks are a second; proc_pid_stat(5).
fn work(muster: &Muster) -> u128 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", muster.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11..=12].iter().map(|ticks| ticks.parse::<u128>().unwrap() * 10).sum()
}

/// Faults row 28: a port that players were assigned to is quarantined. Meanwhile no match gets it, though one waits.
#[test]
fn a_port_is_quarantined_after_a_match() {
    let muster = setup(1).quarantine("1s").start();
    let first = muster.join("one", "ada").assignment(SOON).unwrap();
    let since = Instant::now();
    muster.order(first.port, "exit 0");
    let mut bob = muster.join("one", "bob");
    wait_for_reason(&mut bob, WaitReason::NoPort);
    let second = bob.assignment(SOON).unwrap();
    assert_eq!(second.port, first.port);
    assert!(since.elapsed() >= Duration::from_secs(1), "it rested {:?}", since.elapsed());
    muster.log().wait_for(&["port returned", "rests=1s"]);
    muster.order(second.port, "exit 0");
}

/// Faults row 29: another program uses the next port of the ring. The port is skipped and logged, the players get
/// another port at once, and the port is tried again later.
#[test]
fn a_port_that_another_process_holds_is_skipped() {
    let muster = setup(3).start();
    let first = *muster.ports().start();
    let foreign = UdpSocket::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
    let assigned = muster.join("one", "ada").assignment(SOON).unwrap();
    assert_eq!(assigned.port, first + 1);
    muster.log().wait_for(&["port busy", &format!("port={first}:")]);
    // Without a fault of the mode's: another player is served at once, too.
    assert_eq!(muster.join("one", "bob").assignment(SOON).unwrap().port, first + 2);
    assert_eq!(muster.log().lines_with(&["game failed"]), [""; 0]);
    // Nothing was sent there.
    foreign.set_nonblocking(true).unwrap();
    assert!(foreign.recv(&mut [0; 10]).is_err());
    let mut cid = muster.join("one", "cid");
    wait_for_reason(&mut cid, WaitReason::NoPort);
    drop(foreign);
    assert_eq!(cid.assignment(SOON).unwrap().port, first);
    for port in muster.ports() {
        muster.order(port, "exit 0");
    }
    muster.wait_until_idle("one", 0);
}

/// Faults row 29: another program uses every port of the ring, on all addresses. Matches wait, in order; when the ports
/// are free again, they are served.
#[test]
fn players_wait_while_another_process_holds_all_ports() {
    let muster = setup(2).start();
    let foreign: Vec<UdpSocket> = muster
        .ports()
        .map(|port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
        .collect();
    let mut waiting = ["ada", "bob"].map(|name| muster.join("one", name));
    for lobby in &mut waiting {
        wait_for_reason(lobby, WaitReason::NoPort);
    }
    // Each port is tried again, and is still not free.
    muster.log().wait_for_count(4, &["port busy"]);
    assert_eq!(muster.status("one"), (2, 0, 0), "waiting, games, free ports");
    drop(foreign);
    let assigned = waiting.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    assert_eq!(assigned.each_ref().map(|it| it.match_id.as_str()), ["1", "2"]);
    assert_eq!(muster.log().lines_with(&["game failed"]), [""; 0]);
    for game in assigned {
        muster.order(game.port, "exit 0");
    }
    muster.wait_until_idle("one", 0);
}

/// A port that no player was assigned to needs no quarantine: its game died before it was ready.
#[test]
fn a_port_that_was_never_announced_is_not_quarantined() {
    let muster = Setup::default()
        .ports(1)
        .quarantine("1h")
        .mode("bad", &["/bin/false"], "players = 1\nwarm = 0")
        .puppet("one", &[], ONE)
        .start();
    let _ada = muster.join("bad", "ada");
    muster.log().wait_for_count(2, &["game failed", "exit status 1"]);
    let assigned = muster.join("one", "bob").assignment(SOON).unwrap();
    assert_eq!(
        Log::field(&muster.log().wait_for(&["match assigned"]), "port"),
        assigned.port.to_string()
    );
    muster.order(assigned.port, "exit 0");
}
