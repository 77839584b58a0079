//! The start of a match, played through in vain while nobody waits for it.
//!
//! What a process does for the first time takes longest: code comes from its file a page at a time, the clock has to be
//! found (vdso(7)), and the processor is asked what it can do, for the search for line ends, which in a virtual
//! machine is a trap to the host at each step. A warm game has time for that before its players come, and so has a
//! template.

use protocol::{CONTROL_LINE_MAX, LineBuffer, Seat, Secret, ToGame};

use crate::clock::Clock;
use crate::session::Match;

/// Takes in a match, as far as it goes without anybody to play it.
pub(crate) fn rehearse() {
    let seat = |slot: usize| {
        let token = Secret::from_bytes([u8::try_from(slot).unwrap_or_default(); Secret::BYTES]);
        Seat { slot, name: "nobody".into(), token }
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
