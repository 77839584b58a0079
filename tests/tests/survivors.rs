//! Games whose control channel, or whose daemon, is gone.

use std::net::UdpSocket;

use client::{Closed, GameSocket, Link};
use nix::sys::signal::Signal;
use testkit::{Log, Muster, SOON, Setup, proc, wait_until};

fn pid_of_match(muster: &Muster, number: u32) -> i32 {
    let line = muster.log().wait_for(&["match assigned", &format!("match={number} ")]);
    Log::field(&line, "pid").parse().unwrap()
}

/// A game that closes its control channel has no more to say, and plays on. Its end is that of any other.
#[test]
fn a_game_that_closes_its_control_channel_plays_on() {
    let keys = "players = 1\nwarm = 0\nmax_duration = \"2s\"\nstop_grace = \"100ms\"";
    let muster = Setup::default().ports(1).hostile("mute", &["hangs-up"], keys).start();
    let assigned = muster.join("mute", "ada").assignment(SOON).unwrap();
    muster.log().wait_for(&["output game=1 ", "match=1: hung up"]);
    let pid = pid_of_match(&muster, 1);
    assert_eq!(
        proc::descriptors(pid).into_iter().filter(|fd| *fd < 5).collect::<Vec<_>>(),
        [0, 1, 2, 3]
    );
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.connect(("127.0.0.1", assigned.port)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send(b"still there?").unwrap();
    assert_eq!(socket.recv(&mut [0; 100]).unwrap(), b"still there?".len());
    // It cannot receive `stop`, so SIGTERM ends it.
    muster.log().wait_for(&["match stopped match=1 ", "signal 15"]);
    muster.wait_until_idle("mute", 0);
}

/// The daemon is killed. A reference game plays on with its players to the end, then exits; one that was warm,
/// and will never have players, exits at once.
#[test]
fn a_match_survives_the_death_of_the_daemon() {
    let setup = Setup::default();
    let mut muster = setup.mode("echo", &["muster-game", "echo"], "players = 2\nwarm = 1").start();
    let mut lobbies = ["ada", "bob"].map(|name| muster.join("echo", name));
    let assigned = lobbies.each_mut().map(|lobby| lobby.assignment(SOON).unwrap());
    let mut ada = GameSocket::enter(&assigned[0], SOON).unwrap();
    muster.log().wait_for_count(2, &["game ready"]);
    let played = pid_of_match(&muster, 1);
    let games = muster.games();
    assert_eq!(games.len(), 2);
    muster.signal(Signal::SIGKILL);
    muster.wait_for_exit();
    for pid in games.into_iter().filter(|pid| *pid != played) {
        wait_until("the end of the warm game", || !proc::is_alive(pid));
    }
    ada.ping("x", SOON).unwrap();
    // A player who joins only now is admitted.
    let mut bob = GameSocket::enter(&assigned[1], SOON).unwrap();
    bob.say("words");
    assert_eq!(bob.next_words(SOON).unwrap(), "words");
    assert!(proc::is_alive(played));
    ada.bye(SOON).unwrap();
    bob.bye(SOON).unwrap();
    wait_until("the end of the game", || !proc::is_alive(played));
}

/// After the daemon's exit nothing is left of it: no game, played or warm, no helper of a game, no file.
#[test]
fn no_process_survives_an_orderly_exit() {
    let keys = "players = 1\nwarm = 1\nstop_grace = \"200ms\"";
    let mut muster = Setup::default()
        .config("[shutdown]\ndrain_timeout = \"100ms\"")
        .mode("echo", &["muster-game", "echo"], keys)
        .hostile("stubborn", &["stubborn"], keys)
        .hostile("helped", &["keeps-helper"], keys)
        .start();
    let echo = muster.join("echo", "ada").assignment(SOON).unwrap();
    let mut player = GameSocket::open(&echo, Link::new(&echo)).unwrap();
    player.next_event(SOON).unwrap();
    for queue in ["stubborn", "helped"] {
        muster.join(queue, "ada").assignment(SOON).unwrap();
    }
    let helper = muster.log().wait_for(&["left pid="]);
    muster.log().wait_for_count(6, &["game launched"]);
    let mut all = muster.games();
    all.push(Log::field(&helper, "pid").parse().unwrap());
    assert!(all.len() >= 7, "{all:?}");
    let directory = std::fs::read_link(format!("/proc/{}/cwd", all[0])).unwrap();
    muster.signal(Signal::SIGTERM);
    assert!(muster.wait_for_exit().success());
    for pid in all {
        // The daemon exits after the kernel has reported their deaths, not before.
        assert!(!proc::is_alive(pid));
    }
    assert!(!directory.parent().unwrap().exists(), "{directory:?}");
    let gone = std::iter::from_fn(|| Some(player.next_event(SOON))).find_map(Result::err);
    assert!(matches!(player.closed(), Some(Closed::Refused)), "{gone:?}");
}
