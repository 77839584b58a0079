//! A program that should not take over from Muster: it does to the state what its own file is called. Only for tests.

#![forbid(unsafe_code)]

use std::io::Read as _;

fn main() {
    let own = std::env::current_exe().unwrap();
    let mut state = String::new();
    std::io::stdin().read_to_string(&mut state).unwrap();
    match own.file_name().and_then(|name| name.to_str()) {
        Some("panics") => panic!("a state of {} bytes is too much for me", state.len()),
        Some("hangs") => loop {
            std::thread::park();
        },
        Some("lies") => println!("all is well"),
        other => panic!("unknown behaviour {other:?}"),
    }
}
