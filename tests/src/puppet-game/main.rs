//! A game for tests that follows orders, which a test sends in datagrams to its port.
//!
//! By itself it sends `ready` at its start, `started` when it receives players, and exits on `stop`. With the argument
//! `held` it sends `started` only on order; with `stubborn` it ignores `stop`. It prints the messages of Muster,
//! `received …`, so that the test finds them in the log. Its orders are `say JSON`, which it sends to Muster,
//! `boast BYTES` of a result, `burn MILLISECONDS` of the processor, `hold BYTES` of memory, and `exit STATUS`.

#![forbid(unsafe_code)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use protocol::{FromGame, GAME_CONTROL_FD, GAME_SOCKET_FD};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

fn main() {
    let has_argument = |word: &str| std::env::args().any(|argument| argument == word);
    let (is_held, is_stubborn) = (has_argument("held"), has_argument("stubborn"));
    let socket = UdpSocket::from(inherited(GAME_SOCKET_FD));
    socket.set_nonblocking(false).unwrap();
    let mut control = UnixStream::from(inherited(GAME_CONTROL_FD));
    control.set_nonblocking(false).unwrap();
    say(&mut control, &FromGame::Ready.to_line());
    let hearing = control.try_clone().unwrap();
    std::thread::spawn(move || hear(hearing, is_held, is_stubborn));
    let mut datagram = [0; 1024];
    let mut held: Vec<u8> = Vec::new();
    loop {
        let length = socket.recv(&mut datagram).unwrap();
        let order = String::from_utf8_lossy(&datagram[..length]);
        match order.split_once(' ') {
            Some(("say", line)) => say(&mut control, &format!("{line}\n")),
            Some(("burn", millis)) => burn(millis.parse().unwrap()),
            Some(("boast", bytes)) => {
                let text = "x".repeat(bytes.parse().unwrap());
                say(&mut control, &format!("{{\"type\":\"result\",\"text\":\"{text}\"}}\n"));
            }
            Some(("hold", bytes)) => held.resize(bytes.parse().unwrap(), 1),
            Some(("exit", status)) => std::process::exit(status.parse().unwrap()),
            // Anybody may send datagrams to a game; a player's hello, for example.
            _ => {}
        }
    }
}

fn hear(mut control: UnixStream, is_held: bool, is_stubborn: bool) -> ! {
    let lines = BufReader::new(control.try_clone().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        eprintln!("received {line}");
        if line.contains("\"type\":\"start\"") && !is_held {
            say(&mut control, &FromGame::Started.to_line());
        }
        if line.contains("\"type\":\"stop\"") && !is_stubborn {
            std::process::exit(0);
        }
    }
    // Muster is gone, and with it the test: nothing is to be left behind.
    std::process::exit(0);
}

/// Uses the processor for this many milliseconds.
fn burn(millis: i64) {
    let spent = || getrusage(UsageWho::RUSAGE_SELF).unwrap().user_time().num_milliseconds();
    let end = spent() + millis;
    while spent() < end {
        std::hint::black_box((0..100_000).sum::<u64>());
    }
}

fn say(control: &mut UnixStream, line: &str) {
    // Muster may be gone, so errors are ignored.
    let _ = control.write_all(line.as_bytes());
}

/// A duplicate of a descriptor that is known by its number alone; pidfd_getfd(2).
fn inherited(number: i32) -> OwnedFd {
    let this_process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(&this_process, number, PidfdGetfdFlags::empty()).unwrap()
}
