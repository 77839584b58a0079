//! Lines on a game's control channel: hostile bytes never panic, and what is understood survives its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{FromGame, ToGame};

fuzz_target!(|line: &[u8]| {
    if let Ok(message) = FromGame::parse(line) {
        let text = message.to_line();
        assert_eq!(FromGame::parse(one_line(&text)).ok(), Some(message), "{text:?}");
    }
    if let Ok(message) = ToGame::parse(line) {
        let text = message.to_line();
        assert_eq!(ToGame::parse(one_line(&text)).ok(), Some(message), "{text:?}");
    }
});

/// A line without its end, which is the only one in it.
fn one_line(text: &str) -> &[u8] {
    let line = text.strip_suffix('\n').unwrap_or_default();
    assert!(!line.is_empty() && !line.contains('\n'), "{text:?}");
    line.as_bytes()
}
