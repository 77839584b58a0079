//! The state of a fork, as a game's author finds it. This program is both the test and, started by itself as a
//! template, the game: so it has no test runner, whose threads would prevent forking.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod support;
mod templates;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::fd::AsRawFd;

use rustix::process::{
    PidfdFlags, PidfdGetfdFlags, dumpable_behavior, getpgrp, getpid, getppid, pidfd_getfd,
    pidfd_open,
};
use templates::{Fork, Template};

/// The names of the contract's variables.
const VARIABLES: [&str; 7] = [
    "MUSTER_GAME",
    "MUSTER_PORT",
    "MUSTER_MODE",
    "MUSTER_TEMPLATE",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("play") => play(&arguments[2]),
        Some("--list") => {}
        _ => {
            each_fork_is_a_process_of_its_own();
            no_two_forks_hash_alike();
            what_cannot_load_is_no_template();
        }
    }
}

/// The game: says how it finds itself, a line for each thing, and ends.
fn play(load: &str) {
    let loaded = game_child::template(|| {
        // Draws this thread's keys, as a load would that builds a map.
        let map = HashMap::from([("loaded", RandomState::new().hash_one(1))]);
        // Not written yet when the process is forked.
        print_now("half a line");
        // Finds a number that the forks do not need.
        let file = std::fs::File::open("/dev/null")?;
        match load {
            "fails" => Err(std::io::Error::other("no such asset")),
            "panics" => panic!("a broken asset"),
            "leaves a thread" => {
                std::thread::spawn(std::thread::park);
                Ok((map, file))
            }
            _ => Ok((map, file)),
        }
    });
    let (map, file) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    drop(file);
    let mut found = format!("loaded={}\nhash={}\n", map["loaded"], RandomState::new().hash_one(1));
    for name in VARIABLES {
        let value = game_child::variable(name).unwrap_or_else(|| "nothing".into());
        found.push_str(&format!("{name}={}\n", value.to_str().unwrap()));
    }
    let open = descriptors();
    let pid = |pid: rustix::process::Pid| pid.as_raw_nonzero().get();
    found.push_str(&format!("open={open:?}\ndumpable={:?}\n", dumpable_behavior().unwrap()));
    found.push_str(&format!("pid={}\ngroup={}\n", std::process::id(), pid(getpgrp())));
    found.push_str(&format!("parent={}\n", getppid().map_or(0, pid)));
    found.push_str(&format!("directory={}\n", std::env::current_dir().unwrap().display()));
    print_now(&found);
}

/// The descriptors of this process.
fn descriptors() -> Vec<i32> {
    let itself = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let is_open = |number: &i32| pidfd_getfd(&itself, *number, PidfdGetfdFlags::empty()).is_ok();
    (0..256).filter(|number| *number != itself.as_raw_fd()).filter(is_open).collect()
}

fn print_now(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).unwrap();
}

fn probe(load: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap().display().to_string();
    vec![program, "play".into(), load.into()]
}

/// The report of a fork about itself.
fn found(game: &mut Fork) -> HashMap<String, String> {
    game.assert_exits_well();
    let printed = game.printed();
    let fields = printed.lines().map(|line| line.split_once('=').expect(line));
    fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn each_fork_is_a_process_of_its_own() {
    // The parent of this test may have left some descriptors, which the shell inherited.
    let strays = descriptors().into_iter().filter(|number| *number > 4);
    let open: Vec<i32> = (0..=4).chain(strays).collect();
    let mut template = Template::loaded(&probe("well"));
    for directory in [std::env::temp_dir(), "/".into()] {
        let directory = directory.canonicalize().unwrap();
        let mut game = template.fork(&directory);
        let pid = game.pid.as_raw_nonzero().to_string();
        let port = game.address.port().to_string();
        let found = found(&mut game);
        let expected = [
            ("MUSTER_GAME", &*game.game),
            ("MUSTER_PORT", &port),
            ("MUSTER_MODE", "duel"),
            ("MUSTER_TEMPLATE", "nothing"),
            ("LISTEN_FDS", "1"),
            ("LISTEN_FDNAMES", "game"),
            ("LISTEN_PID", &pid),
            ("pid", &pid),
            ("group", &pid),
            ("parent", &std::process::id().to_string()),
            ("directory", directory.to_str().unwrap()),
            ("open", &format!("{open:?}")),
            ("dumpable", "NotDumpable"),
        ];
        for (key, value) in expected {
            assert_eq!(found[key], value, "{key} of {found:?}");
        }
    }
    assert_eq!(template.printed(), "half a line", "once, and by the template");
}

fn no_two_forks_hash_alike() {
    let mut template = Template::loaded(&probe("well"));
    let [first, second] = [0, 1].map(|_| found(&mut template.fork("/".as_ref())));
    assert_eq!(first["loaded"], second["loaded"], "drawn before the fork");
    assert_ne!(first["hash"], second["hash"]);
    assert_ne!(first["hash"], first["loaded"]);
}

fn what_cannot_load_is_no_template() {
    for (load, status, why) in [
        ("fails", 1, "cannot load: no such asset"),
        ("panics", 101, "a broken asset"),
        ("leaves a thread", 1, "this process has other threads"),
    ] {
        let mut template = Template::launch(&probe(load));
        assert_eq!(template.receive(), None, "{load}");
        assert_eq!(template.wait().code(), Some(status), "{load}");
        let printed = template.printed();
        assert!(printed.contains(why), "{load}: {printed}");
    }
}
