//! What the process says in Muster's log: a few lines, on stdout what happens, on stderr what is wrong.
//!
//! A log that nobody reads any more is no reason to end a match, so that failing to write is not an error here
//! (which is why this is not `println!`).

use std::fmt::Display;
use std::io::{Write, stderr, stdout};

/// Something worth knowing. Whatever comes from outside must be made visible by the caller.
pub(crate) fn note(line: impl Display) {
    let _ = writeln!(stdout(), "{line}");
}

/// Something that is not as it should be.
pub(crate) fn warn(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
