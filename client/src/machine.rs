//! The common interface of all machines over UDP.

use std::time::Duration;

use crate::link::Closed;

/// A player's side of a game: datagrams and the time go in, datagrams and events come out. All times are durations
/// since the machine was created.
pub trait Machine {
    /// The events for the owner.
    type Event;

    /// Handles a datagram from the game.
    fn handle_datagram(&mut self, now: Duration, datagram: &[u8]);

    /// Handles a message that was received before this machine took over.
    fn handle_words(&mut self, now: Duration, words: &str);

    /// Handles the kernel's report that the game's port is closed.
    fn handle_refused(&mut self, now: Duration);

    /// Handles the time of [`next_deadline`](Self::next_deadline). Calling it too early is harmless.
    fn handle_timeout(&mut self, now: Duration);

    /// Leaves the game: repeats the goodbye until it is answered, or for a short time.
    fn leave(&mut self, now: Duration);

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before.
    fn next_deadline(&self) -> Option<Duration>;

    /// The next datagram to send.
    fn poll_transmit(&mut self) -> Option<Vec<u8>>;

    /// The next event.
    fn poll_event(&mut self) -> Option<Self::Event>;

    /// The reason why the link ended, once it has. Events may still be queued.
    fn closed(&self) -> Option<Closed>;
}
