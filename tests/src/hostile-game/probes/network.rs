//! Sockets besides the one that a game is born with.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};

use socket2::{Domain, Protocol, Socket, Type};

use super::Outcome;

pub(super) fn socket(kind: &str) -> Outcome {
    let (domain, kind, protocol) = match kind {
        "tcp" => (Domain::IPV4, Type::STREAM, None),
        "tcp6" => (Domain::IPV6, Type::STREAM, None),
        "udp" => (Domain::IPV4, Type::DGRAM, None),
        "unix" => (Domain::UNIX, Type::STREAM, None),
        "netlink" => (Domain::from(nix::libc::AF_NETLINK), Type::RAW, None),
        "raw" => (Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)),
        "packet" => (Domain::PACKET, Type::RAW, None),
        _ => panic!("no such socket: {kind}"),
    };
    Socket::new(domain, kind, protocol)?;
    Ok("made it".to_owned())
}

pub(super) fn connect_tcp(port: u16) -> Outcome {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    Ok("connected".to_owned())
}

/// From a socket of its own making; the answer says that it arrived.
pub(super) fn send_anew(port: u16) -> Outcome {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    send(&socket, port)
}

/// From the socket that it was born with.
pub(super) fn send(socket: &UdpSocket, port: u16) -> Outcome {
    let length = socket.send_to(b"hello", (Ipv4Addr::LOCALHOST, port))?;
    Ok(format!("sent {length} bytes"))
}

pub(super) fn connect_unix(path: &str) -> Outcome {
    say_hello(UnixStream::connect(path)?)
}

pub(super) fn connect_abstract(name: &str) -> Outcome {
    say_hello(UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?)
}

fn say_hello(mut stream: UnixStream) -> io::Result<String> {
    stream.write_all(b"hello")?;
    Ok("connected".to_owned())
}
