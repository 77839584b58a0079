//! A game that makes the attempts that it is asked to: a datagram names one thing that no game should be able to do,
//! with the necessary information. It answers `done` or `denied`, and the result or the reason.
//!
//! The test knows more than a hostile game would: pids, paths, ports. An attempt that is denied with that information
//! is denied in any case.

mod files;
pub(crate) mod greed;
mod network;
mod processes;
mod programs;
mod rights;

use std::io;

use nix::sys::signal::{SigSet, Signal};

use crate::contract::Game;

/// The result, or the reason for the denial.
pub(crate) type Outcome = io::Result<String>;

/// Tries what datagrams name, until one says `end`.
pub(crate) fn answer() {
    let open = processes::open_descriptors();
    // Its own writing too much is to be an error, and what others send to everybody is to be seen to arrive.
    SigSet::from_iter([Signal::SIGXFSZ, Signal::SIGURG]).thread_block().unwrap();
    let game = Game::started();
    let mut datagram = [0; 1200];
    loop {
        let (length, from) = game.socket.recv_from(&mut datagram).unwrap();
        let words = String::from_utf8_lossy(&datagram[..length]).into_owned();
        let words: Vec<&str> = words.split(' ').collect();
        let outcome = match words[..] {
            ["end"] => return,
            ["descriptors"] => Ok(format!("{open:?}")),
            ["option", name] => network::set_option(&game.socket, name),
            ["interface", name] => network::ask_for_interface(&game.socket, name),
            ["send", port] => network::send(&game.socket, port.parse().unwrap()),
            ref words => attempt(words),
        };
        let answer = match outcome {
            Ok(what) => format!("done {what}"),
            Err(why) => format!("denied {why}"),
        };
        game.socket.send_to(answer.as_bytes(), from).unwrap();
    }
}

pub(crate) fn attempt(words: &[&str]) -> Outcome {
    match *words {
        ["read", path] => files::read(path),
        ["list", path] => files::list(path),
        ["write", path] => files::write(path),
        ["create", path] => files::create(path),
        ["move", path] => files::rename(path),
        ["chmod", path] => files::change_mode(path),
        ["fill", path, bytes] => files::fill(path, bytes.parse().unwrap()),
        ["watch", path] => files::watch(path),
        ["device", path] => files::make_device(path),

        ["exec", program, ref arguments @ ..] => programs::exec(program, arguments),
        ["exec-memory", program] => programs::exec_from_memory(program),
        ["spawn", program, ref arguments @ ..] => programs::spawn(program, arguments),
        ["thread"] => programs::thread(),

        ["socket", kind] => network::socket(kind),
        ["tcp", port] => network::connect_tcp(port.parse().unwrap()),
        ["udp", port] => network::send_from_new_socket(port.parse().unwrap()),
        ["unix", path] => network::connect_unix(path),
        ["datagrams", path] => network::send_by_pair(path),
        ["pair", kind] => network::pair(kind),
        ["abstract", name] => network::connect_abstract(name),

        ["signal", pid] => processes::signal(pid.parse().unwrap()),
        ["signal-own"] => processes::signal_own(),
        ["join-group", pid] => processes::join_group(pid.parse().unwrap()),
        ["signal-all"] => processes::signal_all(),
        ["trace", pid] => processes::trace(pid.parse().unwrap()),
        ["peek", pid, address] => processes::peek(pid.parse().unwrap(), address.parse().unwrap()),
        ["descriptor", pid, number] => {
            processes::take_descriptor(pid.parse().unwrap(), number.parse().unwrap())
        }
        ["limit", pid] => processes::limit(pid.parse().unwrap()),
        ["slow", pid] => processes::slow(pid.parse().unwrap()),
        ["pin", pid] => processes::pin(pid.parse().unwrap()),

        ["become-root"] => rights::become_root(),
        ["raise-limit"] => rights::raise_limit(),
        ["unshare", what] => rights::unshare(what),
        ["enter", path] => rights::enter(path),
        ["mount", path] => rights::mount(path),
        ["chroot", path] => rights::chroot(path),
        ["queue", name] => rights::open_queue(name),
        ["memory", bytes] => rights::take_memory(bytes.parse().unwrap()),
        ["spin"] => rights::take_time(),
        ["open", count] => rights::open_files(count.parse().unwrap()),

        _ => panic!("no such probe: {words:?}"),
    }
}
