//! Sockets besides the one that a game is born with.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::Outcome;

pub(super) fn socket(kind: &str) -> Outcome {
    let (domain, kind, protocol) = match kind {
        "tcp" => (Domain::IPV4, Type::STREAM, None),
        "tcp6" => (Domain::IPV6, Type::STREAM, None),
        "udp" => (Domain::IPV4, Type::DGRAM, None),
        "mptcp" => (Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)),
        "sctp" => (Domain::IPV4, Type::STREAM, Some(Protocol::SCTP)),
        "ping" => (Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4)),
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
pub(super) fn send_from_new_socket(port: u16) -> Outcome {
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

/// To a socket that the file system shows, from one of a pair.
pub(super) fn send_by_pair(path: &str) -> Outcome {
    let (one, _other) = Socket::pair(Domain::UNIX, Type::DGRAM, None)?;
    let length = one.send_to(b"hello", &SockAddr::unix(path)?)?;
    Ok(format!("sent {length} bytes"))
}

/// A pair that reaches no other socket.
pub(super) fn pair(kind: &str) -> Outcome {
    let kind = match kind {
        "stream" => Type::STREAM.nonblocking(),
        "packets" => Type::SEQPACKET,
        _ => panic!("no such pair: {kind}"),
    };
    Socket::pair(Domain::UNIX, kind, None)?;
    Ok("made it".to_owned())
}

/// Sets an option of the socket that it was born with.
pub(super) fn set_option(socket: &UdpSocket, name: &str) -> Outcome {
    let socket = SockRef::from(socket);
    match name {
        "device" => socket.bind_device(Some(b"lo"))?,
        "share" => socket.set_reuse_port(true)?,
        "group" => {
            socket.join_multicast_v4(&Ipv4Addr::new(239, 1, 2, 3), &Ipv4Addr::LOCALHOST)?;
        }
        "broadcast" => socket.set_broadcast(true)?,
        "buffer" => socket.set_recv_buffer_size(1 << 16)?,
        _ => panic!("no such option: {name}"),
    }
    Ok("set it".to_owned())
}

/// Asks for a network interface of the host, by a socket.
pub(super) fn ask_for_interface(socket: &UdpSocket, name: &str) -> Outcome {
    let index = rustix::net::netdevice::name_to_index(socket, name)?;
    Ok(format!("number {index}"))
}

fn say_hello(mut stream: UnixStream) -> io::Result<String> {
    stream.write_all(b"hello")?;
    Ok("connected".to_owned())
}
