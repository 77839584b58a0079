//! Games that take more than their share, and processes that are hard to end. Each of them is bounded by itself,
//! too, so that a test that fails harms no machine.

#![allow(clippy::zombie_processes, reason = "they are not to be reaped")]

use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::unistd::setsid;
use process::{Forked, fork_sibling};

use crate::contract::{Game, hang};

/// How often each process forks twice: 255 processes in all, if they are not stopped.
const GENERATIONS: u32 = 7;

/// Families that flee.
const FAMILIES: usize = 8;

/// When the fleeing processes give up.
const FLIGHT: Duration = Duration::from_secs(60);

/// The amount that a hog allocates at a time, and at most.
const MEGABYTE: usize = 1 << 20;
const MEGABYTES_MAX: usize = 512;

/// Starts a fork bomb, and exits on request.
pub(crate) fn bomb() {
    let game = Game::started();
    again(&["bomb", &GENERATIONS.to_string()]).spawn().unwrap();
    game.await_order("end");
}

/// A process of a bomb: makes two, however often that is refused, and stays.
pub(crate) fn explode(generations: u32) -> ! {
    let mut children = if generations > 0 { 2 } else { 0 };
    let mut is_refused = false;
    while children > 0 {
        match again(&["bomb", &(generations - 1).to_string()]).spawn() {
            Ok(_) => children -= 1,
            Err(why) if !is_refused => {
                println!("refused: {why}");
                is_refused = true;
            }
            Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
        }
    }
    hang()
}

/// Leaves processes that keep replacing themselves, and exits on request.
pub(crate) fn leave_fugitives() {
    let game = Game::started();
    let seconds = (SystemTime::now() + FLIGHT).duration_since(UNIX_EPOCH).unwrap().as_secs();
    for _ in 0..FAMILIES {
        insist(&mut again(&["flees", &seconds.to_string()]), seconds);
    }
    game.await_order("end");
}

/// Leaves processes that fork twice and exit, without executing a program, and exits on request.
pub(crate) fn leave_hydra() {
    let game = Game::started();
    let until = SystemTime::now() + FLIGHT;
    if let Ok(Forked::Child) = fork_sibling() {
        grow(until);
    }
    // The first ones use up the limit; all exist within this time.
    std::thread::sleep(Duration::from_millis(100));
    println!("grown");
    game.await_order("end");
}

/// Makes two, as far as that is not refused, and is gone; or stays to try again where it cannot.
fn grow(until: SystemTime) -> ! {
    while SystemTime::now() < until {
        let _ = setsid();
        let mut made = 0;
        for _ in 0..2 {
            match fork_sibling() {
                Ok(Forked::Child) => grow(until),
                Ok(Forked::Parent(_)) => made += 1,
                Err(_) => {}
            }
        }
        if made > 0 {
            break;
        }
    }
    std::process::exit(0)
}

/// Has a successor in a session of its own that says nothing of whose it is, and is gone.
pub(crate) fn flee(seconds: u64) {
    let _ = setsid();
    let mut successor = again(&["flees", &seconds.to_string()]);
    insist(successor.env_clear().stdout(Stdio::null()), seconds);
    if std::env::var_os("MUSTER_GAME").is_some() {
        // The first of its family.
        println!("fled");
    }
}

/// Starts a process as often as necessary, as it is refused while there are too many, including zombies; but not after
/// this many seconds of the clock.
fn insist(command: &mut Command, seconds: u64) {
    let until = UNIX_EPOCH + Duration::from_secs(seconds);
    while SystemTime::now() < until && command.spawn().is_err() {
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Takes memory, and uses it, until there is no more.
pub(crate) fn hog() {
    let game = Game::started();
    game.await_order("end");
    let mut taken = Vec::new();
    for number in 1..=MEGABYTES_MAX {
        taken.push(vec![1_u8; MEGABYTE]);
        if number % 16 == 0 {
            println!("has {number} MB");
        }
    }
    println!("has all");
    hang()
}

fn again(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments);
    command
}
