//! Two daemons on one host, and other processes with the same user numbers (faults row 44): neither affects what
//! belongs to the other.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use testkit::{Muster, ProbeGame, SOON, Setup, StartError, proc};

fn is_root() -> bool {
    let is_root = rustix::process::getuid().is_root();
    if !is_root {
        println!("skipped: only root has users to give to games");
    }
    is_root
}

/// Games that leave a process behind, and games that stay, on one port of an address.
fn neighbour(setup: Setup, address: &str) -> Muster {
    let keys = "players = 1\nwarm = 0\n[mode.confinement]\nseccomp = \"default\"";
    let address = format!("bind = \"{address}\"\npublic_host = \"{address}\"");
    let setup = setup.ports(1).config(&address);
    let setup = setup.confined_hostile("leaves", &["leaves", "daemon"], keys);
    setup.confined_hostile("stays", &["probes"], keys).start()
}

/// A process of a foreign user.
struct Bystander(Child);

impl Bystander {
    fn of(user: u32) -> Self {
        Self(Command::new("sleep").arg("60").uid(user).gid(user).spawn().unwrap())
    }

    fn is_alive(&self) -> bool {
        proc::is_alive(i32::try_from(self.0.id()).unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Same ports on two addresses, same configuration of users: the games are those of different users, and what becomes
/// of one daemon's games is nothing to the other's.
#[test]
fn two_daemons_with_the_same_ports_give_their_games_different_users() {
    if !is_root() {
        return;
    }
    let one = neighbour(Setup::default(), "127.0.0.2");
    let other = neighbour(Setup::default().ports_of(&one), "127.0.0.3");
    let stays = ProbeGame::start(&other, "stays");
    for number in 1..=2 {
        one.join("leaves", "ada").assignment(SOON).unwrap();
        one.log().wait_for_count(number, &["port free"]);
    }
    assert!(proc::is_alive(stays.pid), "{}", other.log().text());
    let mine = ProbeGame::start(&one, "stays");
    assert_ne!(mine.user(), stays.user());
}

/// No process is killed because of its user number.
#[test]
fn a_process_with_a_games_user_id_is_not_a_leftover() {
    if !is_root() {
        return;
    }
    let muster = neighbour(Setup::default(), "127.0.0.1");
    let game = ProbeGame::start(&muster, "stays");
    let bystander = Bystander::of(game.user());
    game.end(&muster);
    muster.log().wait_for_count(1, &["port free"]);
    muster.join("leaves", "ada").assignment(SOON).unwrap();
    muster.log().wait_for_count(2, &["port free"]);
    assert!(bystander.is_alive());
}

/// The users stay claimed over an upgrade and a crash, as the daemon's games run as them; after its exit they are free.
/// A daemon that is configured to use another one's users is refused, with the owner's pid.
#[test]
fn user_ids_are_reserved_while_the_daemon_runs() {
    if !is_root() {
        return;
    }
    // No other test has these.
    let first = 1_000_000_000 + (std::process::id() % 1_000) * 200_000;
    let users = format!("[confinement]\nfirst_user = {first}\n");
    let setup =
        || Setup::default().config(&users).mode("echo", &["muster-game", "echo"], "warm = 0");
    let refused = |pid: i32| {
        let error = setup().try_start().unwrap_err();
        let StartError::Ended { status, log: said } = error else { panic!("{error}") };
        let code = status.code();
        assert_eq!(code, Some(69), "{said}");
        assert!(said.contains(&format!("(pid {pid})")) && said.contains("first_user"), "{said}");
    };
    let muster = setup().keep("10s").start();
    refused(muster.pid());
    muster.upgrade(None).unwrap();
    refused(muster.pid());
    muster.crash();
    muster.log().wait_for_count(2, &["listening tcp="]);
    refused(muster.pid());
    drop(muster);
    drop(setup().start());
}
