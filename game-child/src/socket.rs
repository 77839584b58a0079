//! The game's UDP socket. On a machine with several addresses an answer leaves from the one that was asked: a player's
//! machine, and every NAT on the way, throws away what comes from another.
//!
//! A socket that is bound to one address does so by itself. For one on all addresses the kernel tells with each datagram
//! where it arrived, and is told with each answer where it leaves; ip(7), `IP_PKTINFO`, and ipv6(7), `IPV6_PKTINFO`.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};

/// Senders whose way in is remembered. Beyond, those who were never answered are forgotten first: nobody who floods.
const SENDERS_MAX: usize = 1024;

/// The socket.
pub(crate) struct GameSocket {
    socket: UdpSocket,
    /// Where it listens on all addresses.
    ways: Option<Ways>,
}

/// By which address each sender came.
#[derive(Default)]
struct Ways {
    by_sender: HashMap<SocketAddr, Way>,
    /// Room for what the kernel tells of a datagram.
    space: Vec<u8>,
}

/// An address of this machine, and where that is not enough (link-local ones) the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    address: IpAddr,
    interface: u32,
    was_answered: bool,
}

impl GameSocket {
    pub(crate) fn new(socket: UdpSocket) -> Self {
        // Where the kernel does not tell, the way out is for it to choose, as it is for most games.
        let is_told = match socket.local_addr() {
            Ok(SocketAddr::V4(local)) if local.ip().is_unspecified() => {
                setsockopt(&socket, Ipv4PacketInfo, &true).is_ok()
            }
            Ok(SocketAddr::V6(local)) if local.ip().is_unspecified() => {
                setsockopt(&socket, Ipv6RecvPacketInfo, &true).is_ok()
            }
            Ok(_) | Err(_) => false,
        };
        let ways = is_told.then(|| Ways {
            by_sender: HashMap::new(),
            space: nix::cmsg_space!(in_pktinfo, in6_pktinfo),
        });
        Self { socket, ways }
    }

    /// Receives a datagram, as [`UdpSocket::recv_from`] does.
    pub(crate) fn recv_from(&mut self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let Some(ways) = &mut self.ways else { return self.socket.recv_from(bytes) };
        let mut parts = [IoSliceMut::new(bytes)];
        let (socket, space) = (self.socket.as_raw_fd(), Some(ways.space.as_mut_slice()));
        let received = recvmsg::<SockaddrStorage>(socket, &mut parts, space, MsgFlags::empty())?;
        let from = received.address.as_ref().and_then(socket_address);
        let from = from.ok_or(io::ErrorKind::InvalidData)?;
        let way = received.cmsgs()?.find_map(|message| Way::of(&message));
        let length = received.bytes;
        if let Some(way) = way {
            ways.note(from, way);
        }
        Ok((length, from))
    }

    /// Sends a datagram, by the way by which its receiver came, if it did.
    pub(crate) fn send_to(&mut self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        let way = self.ways.as_mut().and_then(|ways| ways.by_sender.get_mut(&to));
        let Some(way) = way else { return self.socket.send_to(datagram, to) };
        way.was_answered = true;
        let (parts, address) = ([IoSlice::new(datagram)], SockaddrStorage::from(to));
        let send = |control: ControlMessage<'_>| {
            let (socket, none) = (self.socket.as_raw_fd(), MsgFlags::empty());
            sendmsg(socket, &parts, &[control], none, Some(&address))
        };
        let sent = match way.address {
            IpAddr::V4(local) => send(ControlMessage::Ipv4PacketInfo(&in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                ipi_addr: in_addr { s_addr: 0 },
            })),
            IpAddr::V6(local) => send(ControlMessage::Ipv6PacketInfo(&in6_pktinfo {
                ipi6_addr: in6_addr { s6_addr: local.octets() },
                ipi6_ifindex: if local.is_unicast_link_local() { way.interface } else { 0 },
            })),
        };
        match sent {
            Ok(sent) => Ok(sent),
            // The address is gone from this machine: by whatever way there is.
            Err(_) => self.socket.send_to(datagram, to),
        }
    }

    /// Throws a datagram away, if there is one; else as [`UdpSocket::recv_from`].
    pub(crate) fn discard(&self) -> io::Result<()> {
        self.socket.recv_from(&mut [0; 1]).map(drop)
    }
}

impl AsFd for GameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Ways {
    fn note(&mut self, from: SocketAddr, way: Way) {
        if let Some(known) = self.by_sender.get_mut(&from) {
            (known.address, known.interface) = (way.address, way.interface);
            return;
        }
        if self.by_sender.len() >= SENDERS_MAX {
            self.by_sender.retain(|_, way| way.was_answered);
        }
        if self.by_sender.len() >= SENDERS_MAX {
            // Whoever plays says something again soon.
            self.by_sender.clear();
        }
        self.by_sender.insert(from, way);
    }
}

impl Way {
    fn of(message: &ControlMessageOwned) -> Option<Self> {
        let (address, interface) = match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                (Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into(), 0)
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                (Ipv6Addr::from(info.ipi6_addr.s6_addr).into(), info.ipi6_ifindex)
            }
            _ => return None,
        };
        Some(Self { address, interface, was_answered: false })
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|it| SocketAddrV4::from(*it).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|it| SocketAddrV6::from(*it).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of 127.0.0.0/8 are addresses of this machine.
    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        for (bind, asked) in
            [("0.0.0.0:0", "127.0.0.7"), ("0.0.0.0:0", "127.0.0.1"), ("127.0.0.9:0", "127.0.0.9")]
        {
            let mut game = GameSocket::new(UdpSocket::bind(bind).unwrap());
            let port = game.socket.local_addr().unwrap().port();
            let player = UdpSocket::bind("127.0.0.1:0").unwrap();
            player.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
            // Connected, it hears nobody else.
            player.connect((asked, port)).unwrap();
            player.send(b"hello").unwrap();
            let mut bytes = [0; 16];
            let (length, from) = game.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..length], from), (&b"hello"[..], player.local_addr().unwrap()));
            assert_eq!(game.send_to(b"welcome", from).unwrap(), 7);
            assert_eq!(player.recv(&mut bytes).unwrap(), 7, "{bind} {asked}");
        }
    }

    #[test]
    fn players_are_remembered_through_a_flood() {
        let mut ways = Ways::default();
        let sender = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let way = |last: u8| {
            let address = Ipv4Addr::new(127, 0, 0, last).into();
            Way { address, interface: 0, was_answered: false }
        };
        ways.note(sender(1), way(7));
        ways.by_sender.get_mut(&sender(1)).unwrap().was_answered = true;
        for port in 2..5000 {
            ways.note(sender(port), way(9));
            assert!(ways.by_sender.len() <= SENDERS_MAX);
        }
        assert_eq!(ways.by_sender[&sender(1)].address, way(7).address);
        ways.note(sender(1), way(8));
        assert_eq!(ways.by_sender[&sender(1)].address, way(8).address, "it came by another way");
    }
}
