//! The listener: new connections, and running out of descriptors.

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

/// The backlog of the listening socket, which `net.core.somaxconn` can reduce.
const BACKLOG: i32 = 4096;

/// The number of keep-alive probes before a silent connection counts as lost.
const KEEPALIVE_PROBES: u32 = 4;

/// When to retry after the kernel had no memory for a connection.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The largest amount that is read from a refused client, so that closing does not reset its connection.
const UNREAD_MAX: usize = 4096;

/// The size of the kernel's buffers for a client in each direction, in bytes; the kernel doubles it for its bookkeeping
/// (socket(7)). Without it each buffer grows to megabytes for a client that does not read its answers, or is not read
/// because of that; all of them share one pool with the host's other connections. Lines are short: a client that reads
/// needs no more.
const KERNEL_BUFFER: usize = 64 * 1024;

/// The listening socket. Polling is edge-triggered, with one event for any number of connections, so it remembers that
/// there may be more.
pub(crate) struct Listener {
    /// `None` if its address is unavailable, and is retried.
    socket: Option<TcpListener>,
    address: SocketAddr,
    lost_timeout: Duration,
    backoff: Backoff,
    /// A spare descriptor, which is closed when there is no other one: so a client can be refused, which would
    /// otherwise wait in the backlog for ever.
    reserve: Option<File>,
    has_more: bool,
    retry_at: Option<Instant>,
    /// Whether the log has a warning that no connections can be accepted.
    is_stuck: bool,
}

impl Listener {
    /// Listens on an address. Port 0 lets the kernel choose. A connection on which nothing arrives for `lost_timeout`,
    /// not even an acknowledgement, is lost.
    ///
    /// # Errors
    /// When the address is unavailable.
    pub(crate) fn bind(address: SocketAddr, lost_timeout: Duration) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Connections of the previous run may linger for a minute; they must not prevent a start.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Self::take(socket.into(), lost_timeout)
    }

    /// Takes a TCP socket that listens already. Otherwise like [`bind`](Self::bind).
    ///
    /// # Errors
    /// When the socket's options cannot be set.
    pub(crate) fn take(socket: OwnedFd, lost_timeout: Duration) -> io::Result<Self> {
        let socket = prepared(socket, lost_timeout)?;
        let address = socket.local_addr()?;
        Ok(Self { socket: Some(socket), ..Self::absent(address, lost_timeout) })
    }

    /// A listener whose address is unavailable. [`bind_again`](Self::bind_again) retries.
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

    /// Retries to bind an unavailable address, if it is time. Returns whether it listens now.
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

    /// The socket, for the program that takes over.
    pub(crate) fn socket(&self) -> Option<&TcpListener> {
        self.socket.as_ref()
    }

    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        match &mut self.socket {
            Some(socket) => registry.register(socket, tokens::LISTENER, Interest::READABLE),
            None => Ok(()),
        }
    }

    /// The address, bound or not.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Handles an event of the listening socket.
    pub(crate) fn set_has_more(&mut self) {
        self.has_more = true;
    }

    /// Whether connections may be pending and can be accepted now.
    pub(crate) fn is_ready(&self) -> bool {
        self.has_more && self.retry_at.is_none()
    }

    /// When to retry, while the kernel has no memory, or the address is unavailable.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at.or(self.backoff.retry_at())
    }

    /// Notes that a descriptor was closed, or that time has passed: a retry may succeed.
    pub(crate) fn retry(&mut self, now: Instant, a_descriptor_was_closed: bool) {
        if a_descriptor_was_closed || self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        if self.reserve.is_none() {
            self.reserve = open_reserve();
        }
    }

    /// Accepts one connection. If there is none, [`is_ready`](Self::is_ready) says whether to call it again.
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
                    // The kernel needs a descriptor before it looks for a connection, so only now it reports that there
                    // is none.
                    Err(error) => self.has_more = error.kind() != io::ErrorKind::WouldBlock,
                }
                self.reserve = open_reserve();
            }
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                if !std::mem::replace(&mut self.is_stuck, true) {
                    log::warn!("cannot accept a connection: {error}; retrying");
                }
                self.retry_at = Some(now + RETRY_AFTER);
            }
            // The connection ended before it was accepted, or a similar error; accept(2) says to retry.
            _ => log::debug!("a connection ended before it was accepted: {error}"),
        }
        None
    }
}

/// Sets the options that accepted sockets inherit, which saves system calls for each of them.
fn prepared(socket: OwnedFd, lost_timeout: Duration) -> io::Result<TcpListener> {
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    // Accepted sockets inherit the buffer sizes, which do not grow once they are set (tcp(7), socket(7)).
    socket.set_send_buffer_size(KERNEL_BUFFER)?;
    socket.set_recv_buffer_size(KERNEL_BUFFER)?;
    // The kernel counts in seconds, from one.
    let interval = (lost_timeout / (KEEPALIVE_PROBES + 1)).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new()
        .with_time(interval)
        .with_interval(interval)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // While data is unacknowledged the kernel sends no probes; this time-out covers that.
    socket.set_tcp_user_timeout(Some(lost_timeout))?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Refuses a client with 429.
pub(crate) fn turn_away(mut stream: TcpStream) {
    let reply = Reply::error(ErrorCode::TooMany, "too many connections", Some(super::RETRY_MS));
    // An empty send buffer accepts a line at once; if not, the client is gone.
    let _ = stream.write_all(format!("{reply}\n").as_bytes());
    let _ = SockRef::from(&stream).shutdown(Shutdown::Write);
    let _ = stream.read(&mut [0; UNREAD_MAX]);
}

fn open_reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
