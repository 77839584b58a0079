//! The claim on the games' users: if games of two daemons on one host ran as the same users, they could reach each
//! other.
//!
//! The users are numbers that no authority assigns. So each daemon claims its numbers by listening on abstract Unix
//! sockets (unix(7)) that are named after them: the kernel frees those when the daemon ends, however it ends. The name
//! alone proves nothing, as every local user can bind it: only a claim of root counts. Daemons in different network
//! namespaces do not see each other's claims.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use launcher::DEFAULT_FIRST_USER as FIRST_USER;

use crate::config::Config;

/// The number of users in a claim, for each of which there is one socket.
const USERS_PER_CLAIM: u32 = 1 << 16;

/// The distance between two blocks of users that can be chosen.
const BLOCK: u32 = 1 << 17;
const _: () = assert!(launcher::USERS <= BLOCK && BLOCK.is_multiple_of(USERS_PER_CLAIM));

/// The largest number of blocks that are tried, starting with the default.
const BLOCKS_MAX: u32 = 256;

/// How often, and with which pause, a socket is checked again that does not listen yet, or no longer.
const LOOKS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// A claim on users, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Claim(
    #[expect(dead_code, reason = "held until it is dropped")] Vec<UnixListener>,
);

/// Another daemon has claimed the users.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot have users {first} to {last} for games: another muster{} has some of them; set \
     confinement.first_user to the begin of another block, or leave it out to have a free one chosen",
    .holder.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
)]
pub(crate) struct Taken {
    first: u32,
    last: u32,
    holder: Option<i32>,
}

impl Claim {
    /// Claims the configured users; if the configuration has none, the first free block. `None` if this daemon cannot
    /// change users.
    ///
    /// # Errors
    /// When another daemon has claimed them.
    pub(crate) fn take(config: &mut Config) -> Result<Option<Self>, Taken> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        let configured = config.first_user;
        if configured != FIRST_USER {
            return Self::of(configured).map(Some);
        }
        let in_use = users_of_processes();
        let mut refused = None;
        for first in (0..BLOCKS_MAX).map(|number| FIRST_USER + number * BLOCK) {
            let is_free =
                !in_use.iter().any(|user| (first..first + launcher::USERS).contains(user));
            match is_free.then(|| Self::of(first)) {
                Some(Ok(claim)) => {
                    if first != configured {
                        log::info!(
                            "users of games begin at {first}: those at {configured} are in use"
                        );
                    }
                    config.first_user = first;
                    return Ok(Some(claim));
                }
                Some(Err(taken)) => refused = Some(taken),
                None => {}
            }
        }
        // Processes that run as these users can be harmed only by games that are in the same position.
        refused.map_or_else(|| Self::of(configured).map(Some), Err)
    }

    /// Claims the users of before an upgrade or a crash again, as games run as these users. `None` if there are none,
    /// or another daemon has claimed them meanwhile, which is logged.
    pub(crate) fn retake(first: u32) -> Option<Self> {
        let is_root = nix::unistd::geteuid().is_root();
        let claimed = is_root.then(|| Self::of(first))?;
        claimed.inspect_err(|taken| log::warn!("{taken}; running games keep them")).ok()
    }

    fn of(first: u32) -> Result<Self, Taken> {
        let last = first + launcher::USERS - 1;
        let parts = first / USERS_PER_CLAIM..=last / USERS_PER_CLAIM;
        let listeners: Result<Vec<_>, Option<i32>> = parts.map(listen).collect();
        let listeners = listeners.map_err(|holder| Taken { first, last, holder })?;
        Ok(Self(listeners.into_iter().flatten().collect()))
    }
}

fn name_of(part: u32) -> String {
    format!("muster/users/{}", u64::from(part) * u64::from(USERS_PER_CLAIM))
}

/// Binds a name. `None` if another user than root has it, or no socket is available; then there is no claim.
///
/// # Errors
/// The pid of the daemon that has it, if known.
fn listen(part: u32) -> Result<Option<UnixListener>, Option<i32>> {
    let name = name_of(part);
    let mut last = None;
    for _ in 0..LOOKS {
        let address = SocketAddr::from_abstract_name(&name);
        match address.and_then(|address| UnixListener::bind_addr(&address)) {
            Ok(listener) => return Ok(Some(listener)),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => {
                log::warn!("cannot claim users of games by the socket @{name}: {error}");
                return Ok(None);
            }
        }
        match holder_of(&name) {
            Ok((pid, 0)) => return Err(Some(pid)),
            Ok((pid, user)) => {
                log::warn!(
                    "process {pid} of user {user} has bound the socket @{name}, which is used to claim users of games"
                );
                return Ok(None);
            }
            // Its backlog is full.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(None),
            // It does not listen yet, or is gone.
            Err(error) => last = Some(error),
        }
        thread::sleep(PAUSE);
    }
    let why = last.map(|error| error.to_string()).unwrap_or_default();
    log::warn!(
        "cannot find the owner of the socket @{name}, which is used to claim users of games: {why}"
    );
    Ok(None)
}

/// The process that listens under a name, and its user; unix(7), `SO_PEERCRED`.
fn holder_of(name: &str) -> io::Result<(i32, u32)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
    let holder = socket_peercred(&socket)?;
    Ok((holder.pid.as_raw_nonzero().get(), holder.uid.as_raw()))
}

/// The users of all processes on this machine. A process that a dead daemon left, or one in a container, must not have
/// the user of a game.
fn users_of_processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |entry: &fs::DirEntry| {
        entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit)
    };
    let of_processes = entries.filter(is_process).filter_map(|entry| entry.metadata().ok());
    of_processes.map(|metadata| metadata.uid()).filter(|user| *user >= FIRST_USER).collect()
}

/// Whether a daemon with `configured` may have chosen `first`.
pub(crate) fn is_choice(configured: u32, first: u32) -> bool {
    let is_block = || first >= FIRST_USER && (first - FIRST_USER).is_multiple_of(BLOCK);
    configured == first || (configured == FIRST_USER && is_block())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_chosen_instead_of_the_default_is_not_a_change() {
        assert!(is_choice(2_000, 2_000) && is_choice(FIRST_USER, FIRST_USER + 3 * BLOCK));
        assert!(!is_choice(2_000, FIRST_USER) && !is_choice(FIRST_USER, 2_000));
    }
}
