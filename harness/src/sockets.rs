//! Non-blocking sockets of players, from many addresses of this host: the ports of one address would run out.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// Begins to connect, from an address of this host if one is given.
///
/// # Errors
/// When the kernel has no room, or refuses at once.
pub fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = socket(target, Type::STREAM, Protocol::TCP, source)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// A socket for the address family of a target, bound to an address of this host if one is given.
///
/// # Errors
/// When there is no descriptor, or the address is none of this host's.
pub fn socket(
    target: SocketAddr,
    kind: Type,
    protocol: Protocol,
    source: Option<IpAddr>,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), kind.nonblocking(), Some(protocol))?;
    if let Some(source) = source {
        // The port is chosen when the socket is connected and need be free only towards that address; ip(7).
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    Ok(socket)
}
