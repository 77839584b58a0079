//! The keeper's end of sd_notify(3): a datagram socket in a directory that only its own user can enter.

use std::fs::Permissions;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};
use tempfile::TempDir;

use service::notify::outbox::DESCRIPTORS_MAX;

/// The longest message in bytes, as in systemd.
const MESSAGE_MAX: usize = 4096;

/// The socket.
#[derive(Debug)]
pub(crate) struct Mailbox {
    socket: UnixDatagram,
    address: PathBuf,
    _directory: TempDir,
}

/// A received message.
#[derive(Debug)]
pub(crate) struct Message {
    /// The sender's pid, according to the kernel.
    pub(crate) pid: Option<i32>,
    pub(crate) descriptors: Vec<OwnedFd>,
    text: String,
}

/// The meaning of a message for the keeper.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word<'a> {
    Ready,
    Stopping,
    Watchdog,
    Store { name: &'a str },
    Remove { name: &'a str },
    Other,
}

impl Mailbox {
    /// # Errors
    /// When the directory or the socket cannot be created.
    pub(crate) fn open() -> io::Result<Self> {
        // A process that could write there could replace the socket, and would receive the games.
        let mut builder = tempfile::Builder::new();
        let directory = builder
            .prefix("muster-keeper-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(process::temporary_directory())?;
        let address = directory.path().join("notify");
        let socket = UnixDatagram::bind(&address)?;
        set_socket_passcred(&socket, true)?;
        Ok(Self { socket, address, _directory: directory })
    }

    /// The value for `NOTIFY_SOCKET`.
    pub(crate) fn address(&self) -> &Path {
        &self.address
    }

    /// The next pending message. A message that is too long is empty.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let mut text = [0; MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit();
            rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX), ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received =
            rustix::io::retry_on_intr(|| recvmsg(&self.socket, &mut parts, &mut control, flags));
        let received = received.ok()?;
        let mut message = Message { pid: None, descriptors: Vec::new(), text: String::new() };
        for attached in control.drain() {
            match attached {
                RecvAncillaryMessage::ScmRights(sent) => message.descriptors.extend(sent),
                RecvAncillaryMessage::ScmCredentials(sender) => {
                    message.pid = Some(sender.pid.as_raw_nonzero().get());
                }
                _ => {}
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            log::error!(
                "descriptors that the daemon stores were lost: the keeper has reached its limit of open descriptors; raise ulimit -n"
            );
        }
        if !received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            message.text = String::from_utf8_lossy(&text[..received.bytes]).into_owned();
        }
        Some(message)
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Message {
    /// The meaning of the message. The daemon only combines assignments that belong together.
    pub(crate) fn word(&self) -> Word<'_> {
        let has = |line: &str| self.text.lines().any(|it| it == line);
        let name = self.text.lines().find_map(|line| line.strip_prefix("FDNAME="));
        match name {
            Some(name) if has("FDSTOREREMOVE=1") => Word::Remove { name },
            Some(name) if has("FDSTORE=1") => Word::Store { name },
            _ if has("READY=1") => Word::Ready,
            _ if has("STOPPING=1") => Word::Stopping,
            _ if has("WATCHDOG=1") => Word::Watchdog,
            _ => Word::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_recognized_in_any_order() {
        let word = |text: &str| {
            let message = Message { pid: None, descriptors: Vec::new(), text: text.to_owned() };
            format!("{:?}", message.word())
        };
        assert_eq!(word("FDSTORE=1\nFDNAME=a\nFDPOLL=0\n"), "Store { name: \"a\" }");
        assert_eq!(word("FDNAME=a\nFDSTOREREMOVE=1"), "Remove { name: \"a\" }");
        assert_eq!(word("STATUS=READY=1\n"), "Other");
        assert_eq!(word("FDSTORE=1\n"), "Other", "a name is needed");
        assert_eq!(word("STATUS=x\nREADY=1\n"), "Ready");
        assert_eq!(word(""), "Other");
    }
}
