//! Games that leave processes behind, each harder to find than the one before.

#![allow(clippy::zombie_processes, reason = "to be left behind is what they are for")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use nix::unistd::setsid;
use protocol::{FromGame, GAME_CONTROL_FD};

use crate::contract::{Game, hang};

/// Processes that flee at once.
const FLEEING: usize = 24;

/// Processes that a family has.
const GENERATIONS: usize = 4;

/// Leaves a process behind, says its id, and ends with a result.
pub(crate) fn leave(what: &str) {
    let mut game = Game::started();
    let count = if what == "generations" { GENERATIONS } else { 1 };
    beget(Command::new(this_program()).args(["leftover", what]), count);
    game.say(&FromGame::Result { fields: serde_json::Map::new() });
}

/// Leaves processes that have a child, and die, at the moment when the game dies.
pub(crate) fn leave_fleeing() {
    let mut game = Game::started();
    for _ in 0..FLEEING {
        let mut command = Command::new(this_program());
        let mut child = command.args(["leftover", "flee"]).stdin(Stdio::piped()).spawn().unwrap();
        // The other end of its input is closed when this process dies, and not before.
        std::mem::forget(child.stdin.take());
    }
    game.say(&FromGame::Result { fields: serde_json::Map::new() });
}

/// Exits while one of its own processes traces it: the kernel reports the exit to the tracer only.
pub(crate) fn be_traced() {
    let _game = Game::started();
    beget(Command::new(this_program()).args(["leftover", "tracer"]), 1);
}

/// Leaves directories in directories behind, deeper than any path is long.
pub(crate) fn dig(depth: usize) {
    println!("in {}", std::env::current_dir().unwrap().display());
    for _ in 0..depth {
        std::fs::create_dir("d").unwrap();
        std::env::set_current_dir("d").unwrap();
    }
    println!("dug");
}

/// Keeps a helper in a separate session, until it receives `stop`.
pub(crate) fn keep_helper() {
    let game = Game::started();
    beget(Command::new(this_program()).args(["leftover", "daemon"]), 1);
    game.await_order("end");
}

/// Leaves a process that says a word in the name of its game as soon as the game is dead.
pub(crate) fn leave_mourner(word: &str) {
    let mut mourner = Command::new(this_program());
    mourner.args(["leftover", "mourner", word]).stdin(Stdio::piped());
    let mut child = mourner.spawn().unwrap();
    // The other end of its input is closed when this process dies, and not before.
    std::mem::forget(child.stdin.take());
}

/// Starts a family of processes, waits until `count` of it have settled, and prints their pids.
fn beget(first: &mut Command, count: usize) {
    let mut child = first.stdout(Stdio::piped()).spawn().unwrap();
    let settled = BufReader::new(child.stdout.take().unwrap()).lines();
    for pid in settled.map_while(Result::ok).take(count) {
        println!("left pid={pid}");
    }
}

/// The behaviour of a leftover process.
pub(crate) fn stay(what: &[&str]) {
    match *what {
        ["child" | "still"] => settle(),
        // As daemons are made: a session of its own, then a child whose parent is gone.
        ["daemon"] => {
            setsid().unwrap();
            again(&["still"]).spawn().unwrap();
        }
        ["nameless"] => {
            setsid().unwrap();
            again(&["still"]).env_clear().spawn().unwrap();
        }
        ["only-socket"] => {
            setsid().unwrap();
            again(&["bare"]).spawn().unwrap();
        }
        ["bare"] => {
            println!("{}", std::process::id());
            for number in [0, 1, 2, GAME_CONTROL_FD] {
                nix::unistd::close(number).unwrap();
            }
            hang()
        }
        ["tracer"] => {
            let game = nix::unistd::getppid();
            setsid().unwrap();
            nix::sys::ptrace::seize(game, nix::sys::ptrace::Options::empty()).unwrap();
            settle()
        }
        ["flee"] => {
            setsid().unwrap();
            let _ = std::io::stdin().read(&mut [0]);
            again(&["hang"]).spawn().unwrap();
        }
        ["hang"] => hang(),
        ["generations"] => generation(GENERATIONS),
        ["generation", number] => generation(number.parse().unwrap()),
        ["mourner", word] => mourn(word),
        _ => panic!("no such leftover: {what:?}"),
    }
}

fn settle() -> ! {
    println!("{}", std::process::id());
    hang()
}

/// One of a line of processes, each the parent of the next, each in a session of its own.
fn generation(number: usize) -> ! {
    setsid().unwrap();
    if number > 1 {
        again(&["generation", &(number - 1).to_string()]).spawn().unwrap();
    }
    settle()
}

fn mourn(word: &str) {
    setsid().unwrap();
    let _ = std::io::stdin().read(&mut [0]);
    Game::born().say_raw(format!("{{\"type\":\"{word}\"}}\n").as_bytes());
    println!("said {word} too late");
    hang()
}

fn again(arguments: &[&str]) -> Command {
    let mut command = Command::new(this_program());
    command.arg("leftover").args(arguments);
    command
}

fn this_program() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}
