//! Games that do not exit on request.

use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, raise};
use nix::unistd::{Pid, getpgid, getppid, setpgid};
use protocol::FromGame;

use crate::contract::{Game, hang};

/// Receives everything, prints it and continues.
pub(crate) fn ignore_all() -> ! {
    let deaf_to = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    deaf_to.thread_block().unwrap();
    std::thread::spawn(move || {
        loop {
            println!("got {}", deaf_to.wait().unwrap());
        }
    });
    let mut game = Game::ready();
    while let Some(line) = game.hear() {
        if line.contains("\"type\":\"start\"") {
            game.say(&FromGame::Started);
        } else {
            print!("got {line}");
        }
    }
    hang()
}

/// Joins the process group of the daemon, so that its own is empty, and ignores everything from then on.
pub(crate) fn leave_group() -> ! {
    let of_daemon = getpgid(Some(getppid())).unwrap();
    // Refused where the daemon gives its games sessions of their own.
    println!("left its group: {:?}", setpgid(Pid::from_raw(0), of_daemon));
    ignore_all()
}

/// Stops itself by SIGSTOP when it is `ready`, or has `started`: nothing that can be ignored reaches it.
pub(crate) fn stop_itself(when: &str) -> ! {
    let _game = match when {
        "ready" => Game::ready(),
        _ => Game::started(),
    };
    println!("stops itself");
    raise(Signal::SIGSTOP).unwrap();
    // Only a SIGCONT leads here, which is never sent.
    println!("resumed by SIGCONT");
    loop {
        std::thread::park_timeout(Duration::MAX);
    }
}
