//! The meaning of a player's datagram, whatever the transport.

use std::borrow::Cow;

/// The meaning of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival<'a> {
    /// A player has shown a token for the first time.
    Entered,
    /// A hello of a player who has joined: the answer to the first one was lost, or is late.
    HelloAgain,
    /// A player sends a ping, with the text to return.
    Ping(Cow<'a, str>),
    /// A player leaves.
    Bye,
    /// A message of the game.
    Words(Cow<'a, str>),
}
