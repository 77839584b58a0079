//! The door: new connections, and what happens when there is no descriptor left for one.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use protocol::{ErrorCode, Reply};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::backoff::Backoff;
use crate::clock::Instant;
use crate::tokens;

/// Connections that wait in the kernel to be accepted; the kernel takes its own bound where that is lower.
const BACKLOG: i32 = 4096;

/// How often the kernel asks whether the other side is still there, in a time without a sign of life after which
/// it is taken for lost.
const KEEPALIVE_PROBES: u32 = 4;

/// When to try again after the kernel had no memory for a connection.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// What is read of a client that is turned away, so that the close does not reset its connection.
const UNREAD_MAX: usize = 4096;

/// What the kernel may hold for a client in each direction, in bytes; it counts its own bookkeeping with them and doubles the
/// number for that (socket(7)). Without it each of those buffers grows to megabytes, for a client that does not read its
/// answers or is not read because of that; all of them are of one pool, in which a host's other connections have their
/// share. Lines are short: no client that reads needs more.
const KERNEL_BUFFER: usize = 64 * 1024;

/// The listening socket. Its edge comes once for any number of connections, so it remembers by itself that
/// there may be more.
pub(crate) struct Listener {
    /// `None`: its address could not be had, and is tried again.
    socket: Option<TcpListener>,
    address: SocketAddr,
    lost_timeout: Duration,
    backoff: Backoff,
    /// Kept open to be closed when there is no other descriptor: then one client can be told that there are
    /// too many, where it would otherwise wait in the backlog for good.
    reserve: Option<File>,
    has_more: bool,
    retry_at: Option<Instant>,
    /// Whether the operator was told that nobody can be let in.
    is_stuck: bool,
}

impl Listener {
    /// Listens on an address. Port 0 lets the kernel choose. A connection from whose other side nothing comes
    /// for `lost_timeout`, not even an acknowledgement, is lost.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) fn bind(address: SocketAddr, lost_timeout: Duration) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Connections of the last run may linger for a minute; they must not keep this one from starting.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::take(socket.into(), lost_timeout)
    }

    /// Takes a TCP socket that listens already. As [`bind`](Self::bind) in all else.
    ///
    /// # Errors
    /// When the socket does not take its options.
    pub(crate) fn take(socket: OwnedFd, lost_timeout: Duration) -> io::Result<Self> {
        let socket = prepared(socket, lost_timeout)?;
        let address = socket.local_addr()?;
        Ok(Self { socket: Some(socket), ..Self::absent(address, lost_timeout) })
    }

    /// A listener for which its address cannot be had now. It is tried again by [`bind_again`](Self::bind_again).
    pub(crate) fn absent(address: SocketAddr, lost_timeout: Duration) -> Self {
        Self {
            socket: None,
            address,
            lost_timeout,
            backoff: Backoff::default(),
            reserve: open_reserve(),
            has_more: false,
            retry_at: None,
            is_stuck: false,
        }
    }

    /// Tries again to have the address, where it could not be had and it is time. Whether it is there now.
    pub(crate) fn bind_again(&mut self, registry: &Registry, now: Instant) -> bool {
        if self.socket.is_some() || self.backoff.retry_at().is_some() && !self.backoff.take_due(now)
        {
            return false;
        }
        let bound = Self::bind(self.address, self.lost_timeout).and_then(|mut bound| {
            bound.register(registry)?;
            Ok(bound)
        });
        match bound {
            Ok(bound) => {
                *self = bound;
                true
            }
            Err(error) => {
                log::debug!("cannot listen on {} yet: {error}", self.address);
                self.backoff.fail(now);
                false
            }
        }
    }

    /// The socket, for the program that goes on with it.
    pub(crate) fn socket(&self) -> Option<&TcpListener> {
        self.socket.as_ref()
    }

    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.socket {
            Some(socket) => registry.register(socket, tokens::LISTENER, Interest::READABLE),
            None => Ok(()),
        }
    }

    /// Where it listens, or is to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The poll said that somebody is at the door.
    pub(crate) fn set_has_more(&mut self) {
        self.has_more = true;
    }

    /// Whether somebody may be at the door and nothing speaks against looking now.
    pub(crate) fn is_ready(&self) -> bool {
        self.has_more && self.retry_at.is_none()
    }

    /// When to look again, while the kernel has no room, or the address is not to be had.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at.or(self.backoff.retry_at())
    }

    /// A descriptor was closed, or time has passed: what failed may work now.
    pub(crate) fn retry(&mut self, now: Instant, a_descriptor_was_closed: bool) {
        if a_descriptor_was_closed || self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        if self.reserve.is_none() {
            self.reserve = open_reserve();
        }
    }

    /// Opens the door once. Where that leads to no connection, [`is_ready`](Self::is_ready) says whether to try
    /// again.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<(TcpStream, SocketAddr)> {
        let socket = self.socket.as_ref()?;
        let error = match socket.accept() {
            Ok(connection) => {
                self.is_stuck = false;
                return Some(connection);
            }
            Err(error) => error,
        };
        match error.raw_os_error() {
            _ if error.kind() == io::ErrorKind::WouldBlock => self.has_more = false,
            Some(libc::EMFILE | libc::ENFILE) if self.reserve.is_some() => {
                self.reserve = None;
                match socket.accept() {
                    Ok((stream, _)) => turn_away(stream),
                    // The kernel wants a descriptor before it looks who is there: only now it says nobody.
                    Err(error) => self.has_more = error.kind() != io::ErrorKind::WouldBlock,
                }
                self.reserve = open_reserve();
            }
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                if !std::mem::replace(&mut self.is_stuck, true) {
                    log::warn!("cannot accept: {error}; trying again until it works");
                }
                self.retry_at = Some(now + RETRY_AFTER);
            }
            // The connection ended before it was accepted, or something like it; accept(2) says to go on.
            _ => log::debug!("a connection was gone before it was accepted: {error}"),
        }
        None
    }
}

/// Sets what accepted sockets inherit, which saves the calls for each of them.
fn prepared(socket: OwnedFd, lost_timeout: Duration) -> io::Result<TcpListener> {
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    // Accepted sockets inherit the sizes, too, and keep them: what is set does not grow by itself (tcp(7), socket(7)).
    socket.set_send_buffer_size(KERNEL_BUFFER)?;
    socket.set_recv_buffer_size(KERNEL_BUFFER)?;
    // The kernel counts in seconds, and takes none for zero.
    let interval = (lost_timeout / (KEEPALIVE_PROBES + 1)).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new()
        .with_time(interval)
        .with_interval(interval)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // While something is not acknowledged the kernel does not ask; this holds then, too.
    socket.set_tcp_user_timeout(Some(lost_timeout))?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Tells a client that there are too many, without taking it in.
pub(crate) fn turn_away(mut stream: TcpStream) {
    let reply =
        Reply::error(ErrorCode::TooMany, "too many connections", Some(crate::server::RETRY_MS));
    // An empty send buffer takes a line at once; a client for which it does not is gone.
    let _ = stream.write_all(format!("{reply}\n").as_bytes());
    let _ = SockRef::from(&stream).shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; UNREAD_MAX]);
}

fn open_reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
