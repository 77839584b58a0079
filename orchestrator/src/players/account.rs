//! The account of an address: the unit in which Muster counts what somebody uses.
//!
//! One IPv4 address is one account. Of an IPv6 address the first 64 bits are: whoever has one address of a /64 has all of
//! them (RFC 4291, section 2.5.4; RFC 6177), so that a bound by single addresses would bound nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use brain::Account;

use crate::address::canonical;

/// The first 64 bits of IPv4 addresses among the accounts, as in `::ffff:0:0/96` (RFC 4291, section 2.5.5.2). No prefix that
/// is assigned begins with them.
const V4: u64 = 0xffff_0000_0000;

/// The account of `::1`. It stands alone in its /64, whose number would be that of [`Account::UNKNOWN`].
const V6_LOOPBACK: u64 = 1;

/// Whom what comes from an address is charged to. An IPv4 address that is mapped into IPv6 is the same as by itself.
pub(crate) fn account_of(address: IpAddr) -> Account {
    match canonical(address) {
        IpAddr::V4(address) => Account(V4 | u64::from(address.to_bits())),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Account(V6_LOOPBACK),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments().map(u64::from);
            Account(a << 48 | b << 32 | c << 16 | d)
        }
    }
}

/// An account for people: the address, or the prefix.
pub(crate) struct Shown(pub(crate) Account);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Account(number) = self.0;
        match u32::try_from(number ^ V4) {
            Ok(bits) => Ipv4Addr::from_bits(bits).fmt(f),
            Err(_) if number == V6_LOOPBACK => Ipv6Addr::LOCALHOST.fmt(f),
            Err(_) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(number) << 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_an_address_or_a_prefix_of_64_bits() {
        let account = |text: &str| account_of(text.parse().unwrap());
        for (one, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1"),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"),
            ("::1", "::1"),
        ] {
            assert_eq!(account(one), account(other), "{one} {other}");
        }
        let all =
            ["192.0.2.1", "192.0.2.2", "0.0.0.1", "::1", "2001:db8:1:2::1", "2001:db8:1:3::1"];
        for (index, one) in all.iter().enumerate() {
            assert!(account(one) != Account::UNKNOWN, "{one}");
            for other in &all[index + 1..] {
                assert!(account(one) != account(other), "{one} {other}");
            }
        }
    }

    #[test]
    fn an_account_is_shown_as_what_it_stands_for() {
        let shown = |text: &str| Shown(account_of(text.parse().unwrap())).to_string();
        for (address, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:255.255.255.255", "255.255.255.255"),
            ("::1", "::1"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(shown(address), expected);
        }
    }
}
