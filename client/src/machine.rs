//! What all machines over UDP have in common.

use std::time::Duration;

use crate::link::Closed;

/// A player's side of a game: datagrams and the time go in, datagrams and events come out. All times are durations
/// since the machine was made.
pub trait Machine {
    /// What its owner learns from it.
    type Event;

    /// A datagram came from the game.
    fn handle_datagram(&mut self, now: Duration, datagram: &[u8]);

    /// Words that were heard before there was this machine, by the one that it goes on from.
    fn handle_words(&mut self, now: Duration, words: &str);

    /// The kernel said that nobody listens at the game's port.
    fn handle_refused(&mut self, now: Duration);

    /// The time of [`next_deadline`](Self::next_deadline) has come. Too early is harmless.
    fn handle_timeout(&mut self, now: Duration);

    /// Goes away politely: says goodbye until it is heard, or for a short while.
    fn leave(&mut self, now: Duration);

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before.
    fn next_deadline(&self) -> Option<Duration>;

    /// The next datagram to send.
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;

    /// The next event.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// How the link ended, once it has. Events may still wait.
    fn closed(&self) -> Option<Closed>;
}
