//! Starting the daemon with the stored descriptors: first the keeper's part, then that of the new process.
//!
//! sd_listen_fds(3) requires the descriptors at 3 and up, and the process's own pid in its environment. So the new
//! process is this binary under another name: it closes what it inherited, receives the descriptors over its standard
//! input, which the kernel puts at the lowest free numbers, and then executes the daemon, with the same pid.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, IntoRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use process::Pidfd;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::stored::{STORED_MAX, Stored};
use service::notify::outbox::{DESCRIPTORS_MAX, NOTIFY_SOCKET};
use service::store::{FIRST_GIVEN, ROOM_VARIABLE};

/// The name under which this binary becomes a daemon with a keeper. The keeper of one version starts the daemon of the
/// next one: this interface does not change.
pub const NAME: &str = "muster-kept";

/// Starts a daemon.
pub(crate) fn start(stored: &Stored, notify: &Path, silence: Duration) -> io::Result<Pidfd> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    let mut command = Command::new(program());
    command.arg0(NAME).args(arguments(std::env::args_os().skip(1)));
    // Ctrl-C is for the keeper, which passes it on: a daemon that received it twice would stop at once.
    command.process_group(0).stdin(Stdio::from(its));
    command.env(NOTIFY_SOCKET, notify).env("WATCHDOG_USEC", silence.as_micros().to_string());
    command.env(ROOM_VARIABLE, STORED_MAX.to_string());
    command.env_remove("MUSTER_KEEP").env("LISTEN_FDS", stored.len().to_string());
    command.env("LISTEN_FDNAMES", stored.names()).env_remove("LISTEN_PID");
    let mut child = command.spawn()?;
    // Closes our copy of the daemon's end of the socket.
    drop(command);
    for part in stored.descriptors().chunks(DESCRIPTORS_MAX) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(part));
        // If it is dead already, its exit will be reported soon.
        let _ = rustix::io::retry_on_intr(|| {
            sendmsg(&ours, &[IoSlice::new(b"+")], &mut control, SendFlags::NOSIGNAL)
        });
    }
    let pid = i32::try_from(child.id()).unwrap_or_default();
    match Pidfd::open(pid) {
        Ok(process) => Ok(process),
        Err(error) => {
            // Nothing would monitor it.
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// The path of this program's file, so that a newly installed version is started; if it was removed, the running file.
fn program() -> PathBuf {
    static FIRST: OnceLock<Option<PathBuf>> = OnceLock::new();
    let first = FIRST.get_or_init(|| std::env::current_exe().ok());
    first.clone().filter(|path| path.is_file()).unwrap_or_else(|| "/proc/self/exe".into())
}

/// The keeper's arguments without the option that made it a keeper.
fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let is_keep = |word: &OsString| {
        word.to_str().is_some_and(|word| word == "--keep" || word.starts_with("--keep="))
    };
    given.filter(|word| !is_keep(word)).collect()
}

/// Executes the daemon, if this process was started under [`NAME`]; `None` if not.
pub fn run_as(name: &OsStr) -> Option<ExitCode> {
    (name == NAME).then(|| {
        let error = match become_daemon() {
            Ok(never) => match never {},
            Err(error) => error,
        };
        eprintln!("muster: cannot become a daemon with a keeper: {error}");
        ExitCode::FAILURE
    })
}

fn become_daemon() -> io::Result<std::convert::Infallible> {
    close_inherited();
    let count = process::variable("LISTEN_FDS").and_then(|count| count.to_str()?.parse().ok());
    receive(
        count.ok_or_else(|| io::Error::other("this name is reserved for muster serve --keep"))?,
    )?;
    let pid = std::process::id().to_string();
    // By its path: an upgrade looks up the program by this name.
    let mut command = Command::new(program());
    command.args(std::env::args_os().skip(1)).stdin(Stdio::null());
    command.env("LISTEN_PID", &pid).env("WATCHDOG_PID", &pid);
    Err(command.exec())
}

/// Closes descriptors that a careless parent left open, at the numbers where the passed ones must be.
fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Collected first, as the iterator itself uses a descriptor.
    let numbers: Vec<i32> = numbers.collect();
    for number in numbers {
        // Errors are about a standard stream, or the iterator's descriptor.
        drop(process::take_inherited(number));
    }
}

/// Receives the descriptors at 3 and up, and leaves them open.
fn receive(count: usize) -> io::Result<()> {
    let keeper = io::stdin();
    let mut next = FIRST_GIVEN;
    while usize::try_from(next - FIRST_GIVEN).is_ok_and(|received| received < count) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0];
        let mut parts = [IoSliceMut::new(&mut word)];
        // Without `CMSG_CLOEXEC`: the daemon inherits them.
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(keeper.as_fd(), &mut parts, &mut control, RecvFlags::empty())
        })?;
        if received.bytes == 0 {
            return Err(io::Error::other("the keeper has exited"));
        }
        for attached in control.drain() {
            let RecvAncillaryMessage::ScmRights(descriptors) = attached else { continue };
            for descriptor in descriptors {
                if descriptor.as_raw_fd() != next {
                    return Err(io::Error::other("a descriptor has an unexpected number"));
                }
                // The daemon owns them.
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
    fn the_daemon_gets_the_keeper_s_arguments_without_keep() {
        let words = |line: &str| -> Vec<OsString> { line.split(' ').map(Into::into).collect() };
        for line in ["serve --keep --log info", "serve --log info --keep=2s"] {
            assert_eq!(arguments(words(line).into_iter()), words("serve --log info"));
        }
    }
}
