//! Starting the daemon with what is stored: first the keeper's part, then that of the new process.
//!
//! sd_listen_fds(3) wants the descriptors at 3 and up, and the process's own pid in its environment. So the new process
//! is this binary under another name: it closes what it inherited, receives the descriptors over its standard
//! input, which the kernel puts at the lowest free numbers, and then becomes the daemon, whose pid it has already.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::stored::{STORED_MAX, Stored};
use service::notify::outbox::{DESCRIPTORS_MAX, NOTIFY_SOCKET};
use service::store::{FIRST_GIVEN, ROOM_VARIABLE};

/// The name by which this binary knows that it is to become a daemon that is kept. The keeper of one version starts the
/// daemon of the next: what is agreed on here does not change.
pub const NAME: &str = "muster-kept";

/// Starts a daemon. Gives its pid, and what that means, whoever has that number later.
pub(crate) fn start(
    stored: &Stored,
    notify: &Path,
    silence: Duration,
) -> io::Result<(i32, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let mut command = Command::new(program());
    command.arg0(NAME).args(arguments(std::env::args_os().skip(1)));
    // Ctrl-C is for the keeper, which passes it on: the daemon takes a second one for an order to hurry.
    command.process_group(0).stdin(Stdio::from(its));
    command.env(NOTIFY_SOCKET, notify).env("WATCHDOG_USEC", silence.as_micros().to_string());
    command.env(ROOM_VARIABLE, STORED_MAX.to_string());
    command.env_remove("MUSTER_KEEP").env("LISTEN_FDS", stored.len().to_string());
    command.env("LISTEN_FDNAMES", stored.names()).env_remove("LISTEN_PID");
    let mut child = command.spawn()?;
    // Its end of the socket.
    drop(command);
    for part in stored.descriptors().chunks(DESCRIPTORS_MAX) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(part));
        // If it is gone already, that is heard of soon.
        let _ = rustix::io::retry_on_intr(|| {
            sendmsg(&ours, &[IoSlice::new(b"+")], &mut control, SendFlags::NOSIGNAL)
        });
    }
    let pid = i32::try_from(child.id()).unwrap_or_default();
    let process = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => Ok((pid, process)),
        Err(error) => {
            // Nobody would watch over it.
            child.kill()?;
            child.wait()?;
            Err(error.into())
        }
    }
}

/// This program's file, so that what was installed in its place is what is started; where it was removed, what runs.
fn program() -> PathBuf {
    static FIRST: OnceLock<Option<PathBuf>> = OnceLock::new();
    let first = FIRST.get_or_init(|| std::env::current_exe().ok());
    first.clone().filter(|path| path.is_file()).unwrap_or_else(|| "/proc/self/exe".into())
}

/// What the keeper was told but for the word that made it one.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let is_keep = |word: &OsString| {
        word.to_str().is_some_and(|word| word == "--keep" || word.starts_with("--keep="))
    };
    given.filter(|word| !is_keep(word)).collect()
}

/// Becomes the daemon, in a process that was started under this name. `None`: it was not.
pub fn run_as(name: &OsStr) -> Option<ExitCode> {
    (name == NAME).then(|| {
        let error = match become_daemon() {
            Ok(never) => match never {},
            Err(error) => error,
        };
        eprintln!("muster: cannot become a daemon that is kept: {error}");
        ExitCode::FAILURE
    })
}

fn become_daemon() -> io::Result<std::convert::Infallible> {
    close_inherited();
    let count = process::variable("LISTEN_FDS").and_then(|count| count.to_str()?.parse().ok());
    receive(count.ok_or_else(|| io::Error::other("it is a part of muster serve --keep"))?)?;
    let pid = std::process::id().to_string();
    // By its path, as what executes itself anew looks for it under its name.
    let mut command = Command::new(program());
    command.args(std::env::args_os().skip(1)).stdin(Stdio::null());
    command.env("LISTEN_PID", &pid).env("WATCHDOG_PID", &pid);
    Err(command.exec())
}

/// What a careless parent left open is nobody's business here, and stands where the descriptors are to be.
fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Collected first: the list is itself a descriptor.
    let numbers: Vec<i32> = numbers.collect();
    for number in numbers {
        // An error is for one of the standard streams, or the list.
        drop(process::take_inherited(number));
    }
}

/// Receives the descriptors at 3 and up, and leaves them there.
fn receive(count: usize) -> io::Result<()> {
    let keeper = io::stdin();
    let mut next = FIRST_GIVEN;
    while usize::try_from(next - FIRST_GIVEN).is_ok_and(|received| received < count) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0];
        let mut parts = [IoSliceMut::new(&mut word)];
        // Without CMSG_CLOEXEC: they are for the program that comes after this one.
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(keeper.as_fd(), &mut parts, &mut control, RecvFlags::empty())
        })?;
        if received.bytes == 0 {
            return Err(io::Error::other("the keeper is gone"));
        }
        for attached in control.drain() {
            let RecvAncillaryMessage::ScmRights(descriptors) = attached else { continue };
            for descriptor in descriptors {
                if descriptor.as_raw_fd() != next {
                    return Err(io::Error::other("a descriptor is not where it should be"));
                }
                // Owned by the program that comes after this one.
                let _ = descriptor.into_raw_fd();
                next += 1;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_told_what_the_keeper_was_but_not_to_keep() {
        let words = |line: &str| -> Vec<OsString> { line.split(' ').map(Into::into).collect() };
        for line in ["serve --keep --log info", "serve --log info --keep=2s"] {
            assert_eq!(arguments(words(line).into_iter()), words("serve --log info"));
        }
    }
}
