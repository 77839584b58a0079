//! Executes the start of a match once while no player waits for it.
//!
//! The first execution is the slowest: code is read from its file a page at a time, the clock must be located
//! (vdso(7)), and the search for line ends queries the processor's features, which in a virtual machine traps to
//! the host. A warm game has time for that before its players arrive, and so has a template.

use protocol::{CONTROL_LINE_MAX, LineBuffer, Seat, Secret, ToGame};

use crate::clock::Clock;
use crate::session::Match;

/// Parses and sets up a match as far as possible without players.
pub(crate) fn warm_up() {
    let seat = |slot: usize| {
        let token = Secret::from_bytes([u8::try_from(slot).unwrap_or_default(); Secret::BYTES]);
        Seat { slot, name: "warm-up".into(), token }
    };
    let players = vec![seat(0), seat(1)];
    let (hello_ms, max_ms) = (1, 1);
    let start = ToGame::Start {
        match_id: "0".into(),
        players,
        hello_ms,
        max_ms,
        teams: Vec::new(),
        netcode: None,
    }
    .to_line();
    let mut lines = LineBuffer::new(CONTROL_LINE_MAX);
    lines.extend(start.as_bytes());
    drop(Clock::new());
    while let Ok(Some(line)) = lines.next_line() {
        if let Ok(ToGame::Start { match_id, players, hello_ms, max_ms, .. }) = ToGame::parse(&line)
            && let Ok(setup) = Match::new(match_id, players, hello_ms, max_ms)
        {
            drop(setup.transport());
        }
    }
}
