//! Players' sockets: they never block, and keep ports no longer than necessary.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

pub(crate) use harness::sockets::connect;
use harness::sockets::socket;
use mio::net::{TcpStream, UdpSocket};
use socket2::{Protocol, Type};

/// A socket to a game.
pub(crate) fn to_game(game: SocketAddr, source: Option<IpAddr>) -> io::Result<UdpSocket> {
    // The game can be on another host than Muster.
    let source =
        source.filter(|source| source.is_ipv4() == game.is_ipv4() && game.ip().is_loopback());
    let socket = socket(game, Type::DGRAM, Protocol::UDP, source)?;
    socket.connect(&game.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Closes a connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    // If it fails, the connection is closed already.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

/// The addresses of hosts, each resolved once, as resolving can block.
#[derive(Debug, Default)]
pub(crate) struct Hosts(BTreeMap<String, Option<IpAddr>>);

/// The largest number of resolved names: usually there is one.
const HOSTS_MAX: usize = 100;

impl Hosts {
    /// The address of a game; `None` if its host has none.
    pub(crate) fn find(&mut self, host: &str, port: u16) -> Option<SocketAddr> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return Some((reachable(address), port).into());
        }
        if !self.0.contains_key(host) && self.0.len() < HOSTS_MAX {
            let found = (host, 0).to_socket_addrs().ok().and_then(|mut found| found.next());
            self.0.insert(host.to_owned(), found.map(|found| found.ip()));
        }
        self.0.get(host).copied().flatten().map(|address| (address, port).into())
    }
}

/// The unspecified address means this host.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}
