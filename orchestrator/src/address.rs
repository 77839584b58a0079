//! Addresses: one form for comparing them, and which of them a player can connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name that DNS holds, without the dot at its end; RFC 1035.
const NAME_MAX: usize = 253;

/// The longest part of a name between two dots; RFC 1035.
const LABEL_MAX: usize = 63;

/// The form in which addresses are compared, counted, stored and logged: an IPv4 address that is mapped into IPv6
/// (`::ffff:192.0.2.1`) is that IPv4 address.
pub(crate) const fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Why nobody can connect to an address, if so.
pub(crate) fn unreachable(address: IpAddr) -> Option<&'static str> {
    let address = canonical(address);
    if address.is_unspecified() {
        return Some("stands for all addresses of a machine and leads to none of them");
    }
    if address.is_multicast() {
        return Some("is a multicast address");
    }
    match address {
        IpAddr::V4(address) if address.octets()[0] == 0 => Some("is no address of a machine"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("is the broadcast address"),
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Some("is a link-local address, which leads nowhere without the zone of each player")
        }
        // ::/96 without ::1: IPv4-compatible addresses, which RFC 4291 has given up.
        IpAddr::V6(address)
            if !address.is_loopback() && address.segments()[..6] == [0, 0, 0, 0, 0, 0] =>
        {
            Some("is an IPv4-compatible IPv6 address, which is not used any more")
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Checks what players are told as the games' host, and returns it in the form in which they are told: an IP address that
/// can be connected to, or a name that can be resolved.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn public_host(host: &str) -> Result<String, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return match unreachable(address) {
            Some(why) => Err(format!(
                "nobody can connect to {host}, which {why}; it must be the address, or the name, by which players \
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
    // What ends in a number is read as an IPv4 address by resolvers, in forms like 127.1 too; inet_aton(3).
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_players_can_be_told() {
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
}
