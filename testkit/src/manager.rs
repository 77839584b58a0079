//! A fake service manager: the socket that the daemon notifies; sd_notify(3).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

use crate::SOON;

/// Descriptors in a message, at most; unix(7), `SCM_MAX_FD`.
const DESCRIPTORS_MAX: usize = 253;

/// A fake service manager.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    address: String,
    _directory: TempDir,
}

/// A notification.
#[derive(Debug)]
pub struct Message {
    /// The time at which it was read.
    pub at: Instant,
    /// Its lines, `NAME=value`.
    pub lines: Vec<String>,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

impl Manager {
    /// A manager whose socket has a path.
    pub fn at_path() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::new(socket, path.to_str().unwrap().to_owned(), directory)
    }

    /// A manager whose socket has an abstract name.
    pub fn abstract_name() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let name = directory.path().to_str().unwrap();
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Self::new(socket, format!("@{name}"), directory)
    }

    fn new(socket: UnixDatagram, address: String, directory: TempDir) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { socket, address, _directory: directory }
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits for a message with this line, and skips those before it.
    ///
    /// # Panics
    /// When there is no such message in time.
    pub fn wait_for(&self, line: &str) -> Message {
        self.wait_for_any(line, |lines| lines.iter().any(|it| it == line))
    }

    /// Waits for a message with a line that begins with `prefix`, and gives the rest of the line.
    ///
    /// # Panics
    /// When there is no such message in time.
    pub fn wait_for_value(&self, prefix: &str) -> String {
        let has = |lines: &[String]| lines.iter().any(|it| it.starts_with(prefix));
        let message = self.wait_for_any(prefix, has);
        message.lines.iter().find_map(|line| line.strip_prefix(prefix)).unwrap().to_owned()
    }

    fn wait_for_any(&self, what: &str, is_wanted: impl Fn(&[String]) -> bool) -> Message {
        let deadline = Instant::now() + SOON;
        let mut skipped = Vec::new();
        loop {
            match self.next() {
                Some(message) if is_wanted(&message.lines) => return message,
                Some(message) => skipped.push(message.lines),
                None => {}
            }
            assert!(Instant::now() < deadline, "no {what} in {skipped:?}");
        }
    }

    /// The next message, if one arrives within a moment.
    pub fn next(&self) -> Option<Message> {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        let received = recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC);
        let received = match received.map_err(io::Error::from) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            received => received.unwrap(),
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        let text = std::str::from_utf8(&text[..received.bytes]).unwrap();
        let lines = text.lines().map(str::to_owned).collect();
        Some(Message { at: Instant::now(), lines, descriptors })
    }
}
