//! UDP ports for one test alone.

use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The ports from which blocks are taken: outside the range from which the kernel hands out its own.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// A block of consecutive UDP ports that no other test has, in this process or another.
///
/// It is held by Unix sockets with names in the abstract, one for each port: the kernel gives a name to one alone, and lets
/// go when the holder dies, however it dies. The ports themselves are free, for UDP and for TCP.
#[derive(Debug)]
pub struct PortBlock {
    range: RangeInclusive<u16>,
    _held: Vec<UnixListener>,
}

impl PortBlock {
    /// Takes a block of `size` ports, each of which was free a moment ago.
    ///
    /// # Panics
    /// When no block is free.
    pub fn take(size: u16) -> Self {
        // Tests that start together look in different places first.
        let spread = u16::try_from(std::process::id() % 97).unwrap() * 64;
        let firsts = (FIRST..=LAST - size).step_by(usize::from(size));
        let count = firsts.clone().count();
        let skip = usize::from(spread) % count;
        let block = firsts.clone().skip(skip).chain(firsts.take(skip)).find_map(|first| {
            // Every number is held: blocks of different sizes do not start at the same ports.
            let range = first..=first + size - 1;
            let held = range.clone().map(|port| {
                let name = SocketAddr::from_abstract_name(format!("muster-test-port-{port}"))?;
                UnixListener::bind_addr(&name)
            });
            let _held = held.collect::<Result<Vec<_>, _>>().ok()?;
            let free = |port: u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            range.clone().all(free).then_some(Self { range, _held })
        });
        block.expect("no block of UDP ports is free")
    }

    /// The ports.
    pub fn range(&self) -> RangeInclusive<u16> {
        self.range.clone()
    }
}
