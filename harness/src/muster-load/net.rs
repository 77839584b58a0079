//! Sockets of players: none of them ever blocks, and none keeps a port longer than it has to.

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
    // A game may be elsewhere than Muster.
    let source =
        source.filter(|source| source.is_ipv4() == game.is_ipv4() && game.ip().is_loopback());
    let socket = socket(game, Type::DGRAM, Protocol::UDP, source)?;
    socket.connect(&game.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Ends a connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    // Where it fails, the connection is gone already.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

/// The addresses of hosts, each looked up once: a look-up can block.
#[derive(Debug, Default)]
pub(crate) struct Hosts(BTreeMap<String, Option<IpAddr>>);

/// How many names are looked up: there is one, as a rule.
const HOSTS_MAX: usize = 100;

impl Hosts {
    /// The address of a game; `None` where its host has none.
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

/// "Everywhere" is here, too.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}
