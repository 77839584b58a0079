//! Files, sockets and a message queue that hostile games try to reach.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_unlink};
use nix::sys::stat::Mode;
use tempfile::TempDir;

use crate::hostile_game;

/// Targets of a confined game's attacks. Dropping the value removes them.
#[derive(Debug)]
pub struct AttackTargets {
    /// A directory that everyone may read and write, with files that everyone may read and write: a `secret`, a
    /// `socket`, a socket for `datagrams`; and `mine`, which only its owner may read.
    pub directory: TempDir,
    /// A copy of the hostile game, used by one test alone.
    pub program: PathBuf,
    /// A TCP server.
    pub tcp: TcpListener,
    /// A UDP server.
    pub udp: UdpSocket,
    /// The abstract name of a listening Unix socket.
    pub abstract_name: String,
    queue: Queue,
    _listeners: [UnixListener; 2],
    _datagrams: UnixDatagram,
}

/// A POSIX message queue of the host, mq_overview(7).
#[derive(Debug)]
struct Queue {
    name: String,
    _open: MqdT,
}

impl AttackTargets {
    /// Creates all targets.
    pub fn create() -> Self {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o777);
        let secret = directory.path().join("secret");
        fs::write(&secret, "a secret\n").unwrap();
        set_mode(&secret, 0o666);
        let mine = directory.path().join("mine");
        fs::write(&mine, "root's alone\n").unwrap();
        set_mode(&mine, 0o600);
        let program = directory.path().join("hostile-game");
        // A separate process copies it: a file that is open for writing cannot be executed.
        let status = Command::new("cp").arg(hostile_game()).arg(&program).status();
        assert!(status.unwrap().success());
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        set_mode(&path, 0o777);
        let path = directory.path().join("datagrams");
        let datagrams = UnixDatagram::bind(&path).unwrap();
        set_mode(&path, 0o777);
        let abstract_name = directory.path().to_str().unwrap().replace('/', "-");
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        Self {
            program,
            tcp: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            udp: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            queue: Queue::make(&format!("/{abstract_name}")),
            _listeners: [listener, UnixListener::bind_addr(&address).unwrap()],
            _datagrams: datagrams,
            abstract_name,
            directory,
        }
    }

    /// The path of a file in the directory.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// The name of the message queue.
    pub fn queue(&self) -> &str {
        &self.queue.name
    }
}

impl Queue {
    fn make(name: &str) -> Self {
        let flags = MQ_OFlag::O_RDWR | MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL;
        let size = MqAttr::new(0, 1, 100, 0);
        let _open = mq_open(name, flags, Mode::from_bits_truncate(0o666), Some(&size)).unwrap();
        Self { name: name.to_owned(), _open }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let _ = mq_unlink(self.name.as_str());
    }
}

/// Sets the permissions of a file.
pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
