//! Programs, processes and threads besides the game's own.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::fexecve;

use super::Outcome;

/// Becomes another program, which is to say `executed` in the log. Returns when it cannot.
pub(super) fn exec(program: &str, arguments: &[&str]) -> Outcome {
    Err(Command::new(program).args(arguments).exec())
}

/// Becomes a program that is no file.
pub(super) fn exec_from_memory(program: &str) -> Outcome {
    let file: File = memfd_create(c"game", MFdFlags::MFD_CLOEXEC)?.into();
    (&file).write_all(&fs::read(program)?)?;
    let words = [c"echo".to_owned(), c"executed".to_owned()];
    let nothing: [&CStr; 0] = [];
    match fexecve(&file, &words as &[CString], &nothing)? {}
}

pub(super) fn spawn(program: &str, arguments: &[&str]) -> Outcome {
    let output = Command::new(program).args(arguments).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}

pub(super) fn thread() -> Outcome {
    let thread = std::thread::Builder::new().spawn(|| "ran")?;
    Ok(thread.join().unwrap().to_owned())
}
