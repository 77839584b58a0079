//! Addresses: their canonical form, prefixes, and whether players can connect to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The longest DNS name, without the final dot; RFC 1035.
const NAME_MAX: usize = 253;

/// The longest label of a name; RFC 1035.
const LABEL_MAX: usize = 63;

/// The canonical form, in which addresses are compared, counted, stored and logged: an IPv4-mapped IPv6 address
/// (`::ffff:192.0.2.1`) becomes the IPv4 address.
pub(crate) const fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Why players cannot connect to an address, if so.
pub(crate) fn unreachable(address: IpAddr) -> Option<&'static str> {
    let address = canonical(address);
    if address.is_unspecified() {
        return Some("means all addresses of a machine, and cannot be connected to");
    }
    if address.is_multicast() {
        return Some("is a multicast address");
    }
    match address {
        IpAddr::V4(address) if address.octets()[0] == 0 => Some("is not an address of a machine"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("is the broadcast address"),
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Some("is a link-local address, which cannot be used without each player's zone")
        }
        // ::/96 without ::1: IPv4-compatible addresses, which are deprecated by RFC 4291.
        IpAddr::V6(address)
            if !address.is_loopback() && address.segments()[..6] == [0, 0, 0, 0, 0, 0] =>
        {
            Some("is an IPv4-compatible IPv6 address, which is deprecated")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Checks the games' host that players receive, and returns its normal form: an IP address that can be connected to, or
/// a name that can be resolved.
///
/// # Errors
/// The reason why it is invalid.
pub(crate) fn public_host(host: &str) -> Result<String, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return match unreachable(address) {
            Some(why) => Err(format!(
                "players cannot connect to {host}, which {why}; it must be the address, or the name, by which players \
                 reach this machine"
            )),
            None => Ok(canonical(address).to_string()),
        };
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_label = |label: &str| (1..=LABEL_MAX).contains(&label.len()) && label.chars().all(fits);
    if name.len() > NAME_MAX || !name.split('.').all(is_label) {
        return Err(format!(
            "must be an IP address without brackets, or a host's name, is {host:?}"
        ));
    }
    // Resolvers read names that end in a number as IPv4 addresses, also in forms like 127.1; inet_aton(3).
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if is_number {
        return Err(format!(
            "must be an IP address without brackets, or a host's name, is {host:?}: a name does not end in a \
             number, and an IPv4 address has four numbers from 0 to 255"
        ));
    }
    Ok(host.to_owned())
}

/// Whether players would be sent to their own machine: an address of the loopback interface, or a name that is reserved
/// for it; RFC 6761.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return canonical(address).is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// A prefix of addresses: `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    address: IpAddr,
    bits: u32,
}

impl Prefix {
    /// Whether it contains all addresses of a family.
    pub(crate) fn is_everybody(&self) -> bool {
        self.bits == 0
    }

    /// Whether it contains an address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        match (self.address, canonical(address)) {
            (IpAddr::V4(ours), IpAddr::V4(its)) => {
                let shift = Ipv4Addr::BITS - self.bits;
                ours.to_bits().checked_shr(shift) == its.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(ours), IpAddr::V6(its)) => {
                let shift = Ipv6Addr::BITS - self.bits;
                ours.to_bits().checked_shr(shift) == its.to_bits().checked_shr(shift)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| ())?)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| ())?;
        let address = canonical(written);
        let all = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let mapped = if written.is_ipv6() && address.is_ipv4() { Ipv6Addr::BITS - all } else { 0 };
        let bits = bits.map_or(Some(all), |bits| bits.checked_sub(mapped)).ok_or(())?;
        (bits <= all).then_some(Self { address, bits }).ok_or(())
    }
}

/// The first port of a range that the kernel assigns to sockets without a port, except those that are reserved. The
/// texts are those of `/proc/sys/net/ipv4/ip_local_port_range` and `ip_local_reserved_ports`; ip(7).
pub(crate) fn first_ephemeral(
    range: &RangeInclusive<u16>,
    ephemeral: &str,
    reserved: &str,
) -> Option<u16> {
    let (first, last) = ephemeral.trim().split_once(char::is_whitespace)?;
    let ephemeral = first.parse::<u16>().ok()?..=last.trim().parse::<u16>().ok()?;
    let reserved: Vec<RangeInclusive<u16>> = reserved.trim().split(',').filter_map(span).collect();
    range
        .clone()
        .find(|port| ephemeral.contains(port) && !reserved.iter().any(|span| span.contains(port)))
}

/// `"3-5"`, or `"1"`.
fn span(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_public_hosts() {
        for host in [
            "192.0.2.1",
            "2001:db8::1",
            "::1",
            "127.0.0.7",
            "169.254.1.1",
            "play.example.org",
            "play.example.org.",
            "PLAY_1.example.org",
            "localhost",
            "1.example",
            "3com",
            "0xfog",
        ] {
            assert_eq!(public_host(host).as_deref(), Ok(host));
        }
        assert_eq!(public_host("::ffff:192.0.2.1").as_deref(), Ok("192.0.2.1"));
        for host in [
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:0.0.0.0",
            "::ffff:224.0.0.1",
            "::192.0.2.1",
            "255.255.255.255",
            "224.0.0.1",
            "239.1.2.3",
            "ff02::1",
            "fe80::1",
            "fe80::1%eth0",
            "192.0.2.300",
            "192.0.2",
            "192.0.2.1.",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.0X1",
            "example.42",
            "example.0x",
            "",
            ".",
            "a..b",
            ".a",
            "a b",
            " a",
            "a:7000",
            "[::1]",
            "*",
            "http://a",
            "пример.рф",
        ] {
            assert!(public_host(host).is_err(), "{host}");
        }
        assert!(public_host(&"a".repeat(64)).is_err());
        assert!(public_host(&"a.".repeat(127)).is_ok());
        assert!(public_host(&"a.".repeat(128)).is_err());
    }

    #[test]
    fn loopback_hosts() {
        for host in ["127.0.0.1", "127.9.9.9", "::1", "LocalHost", "localhost.", "a.localhost"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["192.0.2.1", "localhost.example.org", "2001:db8::1"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn prefixes_contain_matching_addresses() {
        let holds = |prefix: &str, address: &str| {
            prefix.parse::<Prefix>().unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("10.0.0.7", "10.0.0.7") && !holds("10.0.0.7", "10.0.0.8"));
        assert!(holds("10.0.0.7", "::ffff:10.0.0.7") && holds("::ffff:10.0.0.7", "10.0.0.7"));
        assert!(holds("10.0.0.0/8", "10.255.1.2") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.1.2.3/8", "10.9.9.9"), "bits after the prefix do not count");
        assert!(holds("0.0.0.0/0", "192.0.2.1") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "2001:db8::1") && !holds("::/0", "192.0.2.1"));
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::/32", "2001:db9::1"));
        assert!(
            holds("::ffff:10.0.0.0/104", "10.3.2.1") && !holds("::ffff:10.0.0.0/104", "11.0.0.1")
        );
        for text in
            ["", "10.0.0.0/33", "::1/129", "10.0.0.0/", "10.0.0.0/-1", "a", "::ffff:10.0.0.0/8"]
        {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn reserved_ports_are_not_assigned_by_the_kernel() {
        let first = |range, reserved| first_ephemeral(&range, "32768\t60999\n", reserved);
        assert_eq!(first(20000..=20099, "\n"), None);
        assert_eq!(first(32000..=33000, "\n"), Some(32768));
        assert_eq!(first(40000..=40007, "40000-40007\n"), None);
        assert_eq!(first(40000..=40007, "1,40000-40003,40005-40007"), Some(40004));
        assert_eq!(first(60999..=61010, "60999"), None);
        assert_eq!(first_ephemeral(&(1..=9), "nonsense", ""), None);
    }
}
