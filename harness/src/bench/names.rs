//! The names of the roles of this program, and how to start it in one of them; [`roles`](crate::roles) plays them.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::{io::IoSlice, mem::MaybeUninit};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// The benchmark itself.
pub(crate) const MEASURE: &str = "as-measure";
/// Answers one datagram on the UDP socket at descriptor 0, and exits.
pub(crate) const ANSWER: &str = "as-answer";
/// Starts a [`FORKER`] with the same descriptors, and reaps it and its forks until none is left.
pub(crate) const FORK_SERVER: &str = "as-fork-server";
/// Forks for each UDP socket that arrives over the Unix socket at descriptor 0; the copy is an [`ANSWER`], and a
/// child of this process's parent.
pub(crate) const FORKER: &str = "as-forker";
/// The server that visitors reach instead of Muster: `as-bare-server GAMES [CLIENTS]`; see
/// [`bare_server`](crate::bare_server).
pub(crate) const BARE_SERVER: &str = "as-bare-server";
/// A game without players: writes its number to descriptor 1, and exits. `as-brief NUMBER`.
pub(crate) const BRIEF: &str = "as-brief";
/// Starts a [`BRIEF_FORKER`] with the same descriptors, and reaps it and its forks until none is left.
pub(crate) const BRIEF_FORK_SERVER: &str = "as-brief-fork-server";
/// Forks for each number that arrives over the Unix socket at descriptor 0 with a socket; the copy is a [`BRIEF`].
pub(crate) const BRIEF_FORKER: &str = "as-brief-forker";
/// For each byte that arrives over the Unix socket at descriptor 0: sends one back there, then answers one datagram
/// on the UDP socket at descriptor 1.
pub(crate) const WAITING: &str = "as-waiting";
/// Ticks: `as-ticks HZ MILLISECONDS`; see [`roles`](crate::roles).
pub(crate) const TICKS: &str = "as-ticks";
/// A game of Muster that is over as soon as it has started.
pub(crate) const BRIEF_GAME: &str = "as-brief-game";

/// How many players a process of [`TICKS`] sends to.
pub(crate) const PEERS: usize = 2;

/// This program in a role. Not by its path: a rebuild may replace the file meanwhile.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments);
    command
}

/// Starts this program in a role, with its input and output.
pub(crate) fn start(
    arguments: &[&str],
    stdin: impl Into<OwnedFd>,
    stdout: impl Into<Stdio>,
) -> std::io::Result<Child> {
    command(arguments).stdin(stdin.into()).stdout(stdout).spawn()
}

/// Sends bytes with a socket to a fork server.
pub(crate) fn send_socket(
    requests: &UnixStream,
    bytes: &[u8],
    socket: BorrowedFd<'_>,
) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    ancillary.push(SendAncillaryMessage::ScmRights(&sockets));
    sendmsg(requests, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}
