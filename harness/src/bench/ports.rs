//! UDP ports for one daemon alone.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use crate::failure::Failure;

/// The ports from which blocks are taken: outside the range from which the kernel hands out its own.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// A block of consecutive UDP ports that nobody else who takes such blocks has.
///
/// It is held by listening with TCP on the same numbers, which the end-to-end tests do, too: the two can run at
/// the same time. Players never come by TCP to a game's port.
#[derive(Debug)]
pub(crate) struct PortBlock {
    range: RangeInclusive<u16>,
    _held: Vec<TcpListener>,
}

impl PortBlock {
    /// Takes a block of `size` ports, each of which was free a moment ago.
    pub(crate) fn take(size: u16) -> Result<Self, Failure> {
        let block = (FIRST..=LAST - size).step_by(usize::from(size)).find_map(|first| {
            let range = first..=first + size - 1;
            let held = range.clone().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
            let held = held.collect::<Result<Vec<_>, _>>().ok()?;
            let is_free = |port: u16| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
            range.clone().all(is_free).then_some(Self { range, _held: held })
        });
        block.ok_or(Failure::NoPorts(size))
    }

    /// The ports.
    pub(crate) fn range(&self) -> &RangeInclusive<u16> {
        &self.range
    }
}
