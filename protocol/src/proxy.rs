//! The PROXY protocol, versions 1 and 2: a proxy or a load balancer sends the address of the client in a header.
//!
//! It follows <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. A connection begins with one header.
//! Version 1 is a line of text, version 2 is binary:
//!
//! ```text
//! PROXY TCP4 198.51.100.7 203.0.113.5 51234 7000\r\n
//! \r\n\r\n\0\r\nQUIT\n  version and command  family  length (2 bytes)  addresses  TLVs
//! ```
//!
//! The existing crates require the whole header in contiguous memory; a header of version 2 can have 64 KiB, of which
//! only the addresses matter. [`Header::read`] needs at most [`HEADER_MAX`] bytes and returns the number of bytes to
//! skip.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use crate::limits::PROXY_HEADER_MAX as HEADER_MAX;

/// The beginning of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The beginning of version 1.
const WORD: &[u8] = b"PROXY ";

/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;

const IPV4_BYTES: usize = 4 + 4 + 2 + 2;
const IPV6_BYTES: usize = 16 + 16 + 2 + 2;

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The client's address. `None` for the proxy's own connections, such as health checks, and for families without IP
    /// addresses.
    pub source: Option<IpAddr>,
    /// The length in bytes, including the part that was not read.
    pub length: usize,
}

/// The reason why a connection does not begin with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// It begins like neither version.
    #[error("it does not begin with a PROXY header")]
    Missing,
    /// No end of the line within [`HEADER_MAX`] bytes.
    #[error("its PROXY line has no end within {HEADER_MAX} bytes")]
    TooLong,
    /// A line of version 1 is malformed.
    #[error("its PROXY line cannot be read")]
    Line,
    /// The version after the signature is not 2.
    #[error("its PROXY header is of version {0}, not 2")]
    Version(u8),
    /// The command is unknown.
    #[error("its PROXY header has the unknown command {0}")]
    Command(u8),
    /// The header is too short for the addresses of its family.
    #[error("its PROXY header is too short for its addresses")]
    TooShort,
}

impl Header {
    /// Reads a header from the first bytes of a connection. `None` if more bytes are needed.
    ///
    /// # Errors
    /// [`BadHeader`] as soon as the bytes cannot be the beginning of a header.
    pub fn read(said: &[u8]) -> Result<Option<Self>, BadHeader> {
        let begins = |whole: &[u8]| {
            let length = said.len().min(whole.len());
            said[..length] == whole[..length]
        };
        if begins(SIGNATURE) {
            return Self::read_binary(said);
        }
        if begins(WORD) {
            return Self::read_line(said);
        }
        Err(BadHeader::Missing)
    }

    fn read_binary(said: &[u8]) -> Result<Option<Self>, BadHeader> {
        let Some(&[version, family, high, low]) = said.get(SIGNATURE.len()..FIXED_BYTES) else {
            return Ok(None);
        };
        if version >> 4 != 2 {
            return Err(BadHeader::Version(version >> 4));
        }
        let is_local = match version & 0xf {
            0 => true,
            1 => false,
            command => return Err(BadHeader::Command(command)),
        };
        let rest = usize::from(u16::from_be_bytes([high, low]));
        let length = FIXED_BYTES + rest;
        // The specification says to ignore the addresses of LOCAL and of unknown families.
        let bytes = match family >> 4 {
            1 if !is_local => IPV4_BYTES,
            2 if !is_local => IPV6_BYTES,
            _ => return Ok(Some(Self { source: None, length })),
        };
        if rest < bytes {
            return Err(BadHeader::TooShort);
        }
        let Some(addresses) = said.get(FIXED_BYTES..FIXED_BYTES + bytes) else { return Ok(None) };
        let source = match (addresses.first_chunk::<16>(), addresses.first_chunk::<4>()) {
            (Some(address), _) if bytes == IPV6_BYTES => IpAddr::V6(Ipv6Addr::from(*address)),
            (_, Some(address)) => IpAddr::V4(Ipv4Addr::from(*address)),
            (_, None) => return Err(BadHeader::TooShort),
        };
        Ok(Some(Self { source: Some(source), length }))
    }

    fn read_line(said: &[u8]) -> Result<Option<Self>, BadHeader> {
        let within = &said[..said.len().min(HEADER_MAX)];
        let Some(end) = within.windows(2).position(|pair| pair == b"\r\n") else {
            return if said.len() < HEADER_MAX { Ok(None) } else { Err(BadHeader::TooLong) };
        };
        let line = str::from_utf8(&said[..end]).map_err(|_| BadHeader::Line)?;
        let length = end + 2;
        let words: Vec<&str> = line.split(' ').collect();
        let source = match *words.as_slice() {
            ["PROXY", "UNKNOWN", ..] => return Ok(Some(Self { source: None, length })),
            ["PROXY", family, source, destination, from, to] => {
                let address = |text: &str| match family {
                    "TCP4" => text.parse().map(IpAddr::V4).ok(),
                    "TCP6" => text.parse().map(IpAddr::V6).ok(),
                    _ => None,
                };
                let is_port = |text: &str| {
                    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
                };
                let whole = address(destination).is_some() && is_port(from) && is_port(to);
                address(source).filter(|_| whole).ok_or(BadHeader::Line)?
            }
            _ => return Err(BadHeader::Line),
        };
        Ok(Some(Self { source: Some(source), length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header of version 2.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, rest].concat()
    }

    fn ipv4() -> Vec<u8> {
        [
            &[198, 51, 100, 7][..],
            &[203, 0, 113, 5],
            &51234_u16.to_be_bytes(),
            &7000_u16.to_be_bytes(),
        ]
        .concat()
    }

    fn ipv6() -> Vec<u8> {
        let source: Ipv6Addr = "2001:db8::7".parse().unwrap();
        [&source.octets()[..], &[0; 16], &[0; 4]].concat()
    }

    fn source(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Headers, and the address in each of them.
    fn headers() -> Vec<(Vec<u8>, Option<IpAddr>)> {
        let line = |text: &str| format!("{text}\r\n").into_bytes();
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let with_tlvs = [ipv4(), vec![0x20; 60_000]].concat();
        vec![
            // The examples of the specification, section 2.1.
            (
                line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535"),
                source("255.255.255.255"),
            ),
            (line(&format!("PROXY TCP6 {longest} {longest} 65535 65535")), source(longest)),
            (line("PROXY UNKNOWN"), None),
            (line(&format!("PROXY UNKNOWN {longest} {longest} 65535 65535")), None),
            (line("PROXY TCP4 198.51.100.7 203.0.113.5 51234 7000"), source("198.51.100.7")),
            (line("PROXY TCP6 2001:db8::7 2001:db8::1 1 2"), source("2001:db8::7")),
            (binary(0x21, 0x11, &ipv4()), source("198.51.100.7")),
            (binary(0x21, 0x21, &ipv6()), source("2001:db8::7")),
            (binary(0x21, 0x11, &with_tlvs), source("198.51.100.7")),
            // Health checks; a Unix socket; unspecified and unknown families.
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &ipv4()), None),
            (binary(0x20, 0x11, &[]), None),
            (binary(0x21, 0x31, &[0; 216]), None),
            (binary(0x21, 0x00, &[]), None),
            (binary(0x21, 0xf1, &[1, 2, 3]), None),
        ]
    }

    #[test]
    fn headers_are_read_however_they_are_split() {
        for (header, source) in headers() {
            let said = [&header[..], b"READY name=ada\n"].concat();
            let whole = Header { source, length: header.len() };
            assert_eq!(Header::read(&said), Ok(Some(whole)), "{header:?}");
            assert_eq!(Header::read(&said[..said.len().min(HEADER_MAX)]), Ok(Some(whole)));
            for end in 0..header.len().min(HEADER_MAX) {
                let read = Header::read(&header[..end]);
                assert!(
                    read == Ok(None) || read == Ok(Some(whole)),
                    "{header:?} up to {end}: {read:?}"
                );
            }
        }
        assert_eq!(headers()[3].0.len(), HEADER_MAX, "the longest line of the specification");
    }

    #[test]
    fn invalid_headers_are_refused_at_once() {
        for (said, problem) in [
            (&b"READY name=ada\n"[..], BadHeader::Missing),
            (b"PRO\n", BadHeader::Missing),
            (b"\r\n\r\n\0\r\nQUIX", BadHeader::Missing),
            (b"\n", BadHeader::Missing),
            (b"PROXY\r\n", BadHeader::Missing),
            (b"PROXY \r\n", BadHeader::Line),
            (b"PROXY TCP4\r\n", BadHeader::Line),
            (b"PROXY TCP4 198.51.100.7 203.0.113.5 51234\r\n", BadHeader::Line),
            (b"PROXY TCP4 198.51.100.7 203.0.113.5 51234 65536\r\n", BadHeader::Line),
            (b"PROXY TCP4 198.51.100.7 203.0.113.5 +1 2\r\n", BadHeader::Line),
            (b"PROXY TCP4 198.51.100.7 203.0.113.5  2\r\n", BadHeader::Line),
            (b"PROXY TCP4 198.51.100.300 203.0.113.5 1 2\r\n", BadHeader::Line),
            (b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n", BadHeader::Line),
            (b"PROXY TCP6 198.51.100.7 203.0.113.5 1 2\r\n", BadHeader::Line),
            (b"PROXY UDP4 198.51.100.7 203.0.113.5 1 2\r\n", BadHeader::Line),
            (b"PROXY TCP4 198.51.100.7 203.0.113.5 1 2 3\r\n", BadHeader::Line),
            (b"PROXY \xff\r\n", BadHeader::Line),
            (&[b'P', b'R', b'O', b'X', b'Y', b' ', b'U'].repeat(20), BadHeader::TooLong),
            (&binary(0x11, 0x11, &ipv4()), BadHeader::Version(1)),
            (&binary(0x22, 0x11, &ipv4()), BadHeader::Command(2)),
            (&binary(0x21, 0x11, &ipv4()[1..]), BadHeader::TooShort),
            (&binary(0x21, 0x21, &ipv4()), BadHeader::TooShort),
        ] {
            assert_eq!(Header::read(said), Err(problem), "{:?}", String::from_utf8_lossy(said));
        }
    }
}
