//! The process's output, which goes to Muster's log: events on stdout, problems on stderr.
//!
//! A closed log is no reason to end a match, so that a failed write is not an error here (which is why this is not
//! `println!`).

use std::fmt::Display;
use std::io::{Write, stderr, stdout};

/// Prints an event. The caller must escape text from outside.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(stdout(), "{line}");
}

/// Prints a problem.
pub(crate) fn warn(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
