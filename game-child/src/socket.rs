//! The game's UDP socket. On a machine with several addresses an answer must come from the address that the player
//! used: the player's machine, and every NAT in between, drops packets from another one.
//!
//! A socket that is bound to one address does so by itself. For one that is bound to all addresses the kernel
//! reports where each datagram arrived, and takes for each answer the address to send from; ip(7), `IP_PKTINFO`,
//! and ipv6(7), `IPV6_PKTINFO`.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
};

use crate::limits::SENDERS_MAX;

/// The socket.
pub(crate) struct GameSocket {
    socket: UdpSocket,
    /// Set if it is bound to all addresses.
    routes: Option<Routes>,
}

/// The local address that each sender used.
#[derive(Default)]
struct Routes {
    by_sender: HashMap<SocketAddr, Route>,
    /// Buffer for the kernel's report on a datagram.
    space: Vec<u8>,
}

/// An address of this machine, and for link-local ones the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    address: IpAddr,
    interface: u32,
    was_answered: bool,
}

impl GameSocket {
    pub(crate) fn new(socket: UdpSocket) -> Self {
        // If the kernel does not report the address, it chooses one for the answers, too.
        let is_reported = match socket.local_addr() {
            Ok(SocketAddr::V4(local)) if local.ip().is_unspecified() => {
                setsockopt(&socket, Ipv4PacketInfo, &true).is_ok()
            }
            Ok(SocketAddr::V6(local)) if local.ip().is_unspecified() => {
                setsockopt(&socket, Ipv6RecvPacketInfo, &true).is_ok()
            }
            Ok(_) | Err(_) => false,
        };
        let routes = is_reported.then(|| Routes {
            by_sender: HashMap::new(),
            space: nix::cmsg_space!(in_pktinfo, in6_pktinfo),
        });
        Self { socket, routes }
    }

    /// Receives a datagram, as [`UdpSocket::recv_from`] does.
    pub(crate) fn recv_from(&mut self, bytes: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let Some(routes) = &mut self.routes else { return self.socket.recv_from(bytes) };
        let mut parts = [IoSliceMut::new(bytes)];
        let (socket, space) = (self.socket.as_raw_fd(), Some(routes.space.as_mut_slice()));
        let received = recvmsg::<SockaddrStorage>(socket, &mut parts, space, MsgFlags::empty())?;
        let from = received.address.as_ref().and_then(socket_address);
        let from = from.ok_or(io::ErrorKind::InvalidData)?;
        let route = received.cmsgs()?.find_map(|message| Route::of(&message));
        let length = received.bytes;
        if let Some(route) = route {
            routes.note(from, route);
        }
        Ok((length, from))
    }

    /// Sends a datagram from the address that its receiver used, if any.
    pub(crate) fn send_to(&mut self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        let route = self.routes.as_mut().and_then(|routes| routes.by_sender.get_mut(&to));
        let Some(route) = route else { return self.socket.send_to(datagram, to) };
        route.was_answered = true;
        let (parts, address) = ([IoSlice::new(datagram)], SockaddrStorage::from(to));
        let send = |control: ControlMessage<'_>| {
            let (socket, none) = (self.socket.as_raw_fd(), MsgFlags::empty());
            sendmsg(socket, &parts, &[control], none, Some(&address))
        };
        let sent = match route.address {
            IpAddr::V4(local) => send(ControlMessage::Ipv4PacketInfo(&in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                ipi_addr: in_addr { s_addr: 0 },
            })),
            IpAddr::V6(local) => send(ControlMessage::Ipv6PacketInfo(&in6_pktinfo {
                ipi6_addr: in6_addr { s6_addr: local.octets() },
                ipi6_ifindex: if local.is_unicast_link_local() { route.interface } else { 0 },
            })),
        };
        match sent {
            Ok(sent) => Ok(sent),
            // The address is gone from this machine: send from any.
            Err(_) => self.socket.send_to(datagram, to),
        }
    }

    /// Drops a datagram, if there is one; otherwise as [`UdpSocket::recv_from`].
    pub(crate) fn discard(&self) -> io::Result<()> {
        self.socket.recv_from(&mut [0; 1]).map(drop)
    }
}

impl AsFd for GameSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Routes {
    fn note(&mut self, from: SocketAddr, route: Route) {
        if let Some(known) = self.by_sender.get_mut(&from) {
            (known.address, known.interface) = (route.address, route.interface);
            return;
        }
        if self.by_sender.len() >= SENDERS_MAX {
            self.by_sender.retain(|_, route| route.was_answered);
        }
        if self.by_sender.len() >= SENDERS_MAX {
            // Players send again soon.
            self.by_sender.clear();
        }
        self.by_sender.insert(from, route);
    }
}

impl Route {
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
    fn an_answer_comes_from_the_address_that_the_player_used() {
        for (bind, asked) in
            [("0.0.0.0:0", "127.0.0.7"), ("0.0.0.0:0", "127.0.0.1"), ("127.0.0.9:0", "127.0.0.9")]
        {
            let mut game = GameSocket::new(UdpSocket::bind(bind).unwrap());
            let port = game.socket.local_addr().unwrap().port();
            let player = UdpSocket::bind("127.0.0.1:0").unwrap();
            player.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
            // A connected socket receives from this address only.
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
    fn players_routes_survive_a_flood() {
        let mut routes = Routes::default();
        let sender = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let route = |last: u8| {
            let address = Ipv4Addr::new(127, 0, 0, last).into();
            Route { address, interface: 0, was_answered: false }
        };
        routes.note(sender(1), route(7));
        routes.by_sender.get_mut(&sender(1)).unwrap().was_answered = true;
        for port in 2..5000 {
            routes.note(sender(port), route(9));
            assert!(routes.by_sender.len() <= SENDERS_MAX);
        }
        assert_eq!(routes.by_sender[&sender(1)].address, route(7).address);
        routes.note(sender(1), route(8));
        assert_eq!(
            routes.by_sender[&sender(1)].address,
            route(8).address,
            "the player used another address"
        );
    }
}
