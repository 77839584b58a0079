//! Taking ownership of an inherited descriptor.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// The descriptors that were taken.
static TAKEN: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Takes a descriptor that this process has inherited, and sets close-on-exec.
///
/// Rust's library and careful crates open everything close-on-exec, and what came through the exec of this program
/// cannot be: that distinguishes the two. A descriptor that other code opened without the flag would be taken for
/// inherited, so call this at the start of `main`.
///
/// # Errors
/// When the number is not a descriptor, or a standard stream; was taken before; or was opened by this program.
pub fn take_inherited(number: i32) -> io::Result<OwnedFd> {
    if number < 3 {
        return Err(ErrorKind::InvalidInput.into());
    }
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: fcntl(2) with F_GETFD reads the flags of a number that may or may not be a descriptor.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::FD_CLOEXEC != 0 || !taken.insert(number) {
        return Err(ErrorKind::AlreadyExists.into());
    }
    // SAFETY: F_SETFD changes the flags of a descriptor that is open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: "the resource must be open and suitable for assuming ownership": it is open, no Rust value owns it,
    // because it came from outside, and it is not given out a second time.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Sets whether a program that this process executes next inherits a descriptor, under the same number.
///
/// # Errors
/// When the number is not a descriptor.
pub fn set_inherited(number: i32, is_inherited: bool) -> io::Result<()> {
    let flags = if is_inherited { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: fcntl(2) with F_SETFD changes what an exec does with a number that may or may not be a descriptor,
    // and nothing about the descriptor as this process uses it.
    match unsafe { libc::fcntl(number, libc::F_SETFD, flags) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn only_an_inherited_descriptor_is_taken_and_only_once() {
        let ours = io::pipe().unwrap().0;
        assert!(take_inherited(ours.as_raw_fd()).is_err(), "a value owns it");
        for number in [-1, 0, 2, 4000, i32::MAX] {
            assert!(take_inherited(number).is_err(), "{number}");
        }
        // SAFETY: dup(2) returns a number that no value owns, as an inherited one would be.
        let number = unsafe { libc::dup(ours.as_raw_fd()) };
        let taken = take_inherited(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert_eq!(take_inherited(number).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
}
