//! The limits of the protocols.

/// The longest line that a client may send, in bytes without the line end.
pub const CLIENT_LINE_MAX: usize = 512;

/// The longest line that Muster sends to a client, in bytes without the line end.
pub const SERVER_LINE_MAX: usize = 8192;

/// The longest line on a game's control channel, in bytes without the line end.
pub const CONTROL_LINE_MAX: usize = 64 * 1024;

/// The longest player name, in bytes, after decoding.
pub const NAME_MAX: usize = 64;

/// The longest packet on a template's channel, in bytes.
pub const TEMPLATE_PACKET_MAX: usize = 64 * 1024;

/// The longest part of a received word that an error text repeats, in characters.
pub(crate) const QUOTE_MAX: usize = 32;

/// The longest datagram that a reference game reads or sends, in bytes: fits every path without fragments.
pub const DATAGRAM_MAX: usize = 1200;

/// The number of bytes that [`proxy::Header::read`](crate::proxy::Header::read) needs at most: a line of version 1 with
/// its end. The part of version 2 up to the end of IPv6 addresses is shorter.
pub const PROXY_HEADER_MAX: usize = 107;
