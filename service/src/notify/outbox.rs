//! Messages to the service manager, in the protocol of sd_notify(3): datagrams of `NAME=value` lines, with descriptors
//! attached, to the Unix socket that `NOTIFY_SOCKET` names.
//!
//! Nothing here blocks. Messages that the other side has no room for wait here, in order, and are sent by
//! [`Outbox::flush`].

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};
use sd_notify::NotifyState;

/// The variable that names the socket.
pub const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The largest number of descriptors in a message; unix(7), `SCM_MAX_FD`.
pub const DESCRIPTORS_MAX: usize = 253;

/// The largest number of pending messages. A service manager that does not read for that long has failed.
const UNSENT_MAX: usize = 1024;

/// When to retry if the other side had no room.
pub const RETRY_AFTER: Duration = Duration::from_millis(20);

/// The connection to the service manager. Without one, all messages are dropped.
#[derive(Debug)]
pub struct Outbox {
    way: Option<(UnixDatagram, SocketAddrUnix)>,
    unsent: VecDeque<Message>,
}

#[derive(Debug)]
struct Message {
    text: String,
    descriptors: Vec<OwnedFd>,
}

impl Outbox {
    /// Finds the service manager in the environment: a path, or `@` and an abstract name.
    pub fn open() -> Self {
        let address = process::variable(NOTIFY_SOCKET);
        let way = address.as_ref().and_then(|address| {
            let way = way_to(address.as_bytes());
            let found = way.inspect_err(|error| {
                log::warn!("cannot notify {NOTIFY_SOCKET}={}: {error}", address.display());
            });
            found.ok()
        });
        Self { way, unsent: VecDeque::new() }
    }

    /// Whether there is a service manager.
    pub fn has_manager(&self) -> bool {
        self.way.is_some()
    }

    /// Sends a message, or keeps it until there is room for it.
    ///
    /// # Errors
    /// When the service manager is gone, or has had no room for too long.
    pub fn send(
        &mut self,
        states: &[NotifyState<'_>],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let Some((socket, address)) = &self.way else { return Ok(()) };
        let mut text = String::new();
        for state in states {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{state}");
        }
        if self.unsent.is_empty() {
            match send_now(socket, address, &text, descriptors) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
        if self.unsent.len() == UNSENT_MAX {
            return Err(io::Error::other("the service manager does not read its messages"));
        }
        let copies = descriptors.iter().map(|descriptor| descriptor.try_clone_to_owned());
        let descriptors = copies.collect::<io::Result<_>>()?;
        self.unsent.push_back(Message { text, descriptors });
        Ok(())
    }

    /// Sends pending messages, as far as there is room.
    ///
    /// # Errors
    /// As for [`send`](Self::send); messages that cannot be sent are dropped.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some((socket, address)) = &self.way else { return Ok(()) };
        while let Some(message) = self.unsent.front() {
            let descriptors: Vec<_> = message.descriptors.iter().map(OwnedFd::as_fd).collect();
            match send_now(socket, address, &message.text, &descriptors) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                sent => {
                    self.unsent.pop_front();
                    sent?;
                }
            }
        }
        Ok(())
    }

    /// Whether messages are pending, to be sent after [`RETRY_AFTER`].
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }
}

fn way_to(address: &[u8]) -> io::Result<(UnixDatagram, SocketAddrUnix)> {
    let address = match address {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        [b'/', ..] => SocketAddrUnix::new(address)?,
        _ => return Err(io::Error::new(ErrorKind::InvalidInput, "neither a path nor @name")),
    };
    Ok((UnixDatagram::unbound()?, address))
}

fn send_now(
    socket: &UnixDatagram,
    address: &SocketAddrUnix,
    text: &str,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(ErrorKind::InvalidInput, "too many descriptors for a message"));
    }
    let parts = [IoSlice::new(text.as_bytes())];
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent =
        rustix::io::retry_on_intr(|| sendmsg_addr(socket, address, &parts, &mut control, flags));
    match sent {
        Ok(_) => Ok(()),
        // unix(7): too many descriptors are in flight to a receiver that does not accept them.
        Err(Errno::TOOMANYREFS | Errno::NOBUFS) => Err(ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    }
}
