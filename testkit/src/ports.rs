//! UDP ports for one daemon under test.

use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The ports from which blocks are taken: outside the range from which the kernel hands out its own.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// A block of consecutive UDP ports that no other test or benchmark has, in this process or another.
///
/// Each port is reserved by a Unix socket with an abstract name, unix(7): the kernel gives a name to one socket only,
/// and releases it when the process dies. The ports themselves are free, for UDP and for TCP.
#[derive(Debug)]
pub struct PortBlock {
    range: RangeInclusive<u16>,
    _reservations: Vec<UnixListener>,
}

impl PortBlock {
    /// Takes a block of `size` ports, each of which was free a moment ago. `None`: no block is free.
    pub fn try_take(size: u16) -> Option<Self> {
        // Processes that start together begin their search at different ports.
        let spread = std::process::id() as usize % 97 * 64;
        let firsts = (FIRST..=LAST - size).step_by(usize::from(size));
        let skip = spread % firsts.len();
        firsts.clone().skip(skip).chain(firsts.take(skip)).find_map(|first| {
            // Every port is reserved: blocks of different sizes do not start at the same ports.
            let range = first..=first + size - 1;
            let reservations = range.clone().map(|port| {
                let name = SocketAddr::from_abstract_name(format!("muster-test-port-{port}"))?;
                UnixListener::bind_addr(&name)
            });
            let _reservations = reservations.collect::<Result<Vec<_>, _>>().ok()?;
            let is_free = |port: u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            range.clone().all(is_free).then_some(Self { range, _reservations })
        })
    }

    /// Takes a block of `size` ports, each of which was free a moment ago.
    ///
    /// # Panics
    /// When no block is free.
    pub fn take(size: u16) -> Self {
        Self::try_take(size).expect("no block of UDP ports is free")
    }

    /// The ports.
    pub fn range(&self) -> RangeInclusive<u16> {
        self.range.clone()
    }
}
