//! The interface of a game.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::datagram::DATAGRAM_MAX;
use serde_json::{Map, Value};

use crate::limits::OUTBOX_MAX;

/// The rules of a game, as messages to and from players by slot.
///
/// All times are durations since the match started. Players are the slots from 0 on, at most [`PLAYERS_MAX`](crate::PLAYERS_MAX) of
/// them. Messages are UTF-8 without control characters and can be hostile; they come only from players who sent a
/// valid hello.
///
/// A game with one method, which sends every message to all other players:
///
/// ```
/// use std::time::Duration;
/// use game_child::{Game, Outbox};
///
/// struct Chat {
///     players: usize,
/// }
///
/// impl Game for Chat {
///     fn handle_words(&mut self, _now: Duration, slot: usize, words: &str, outbox: &mut Outbox) {
///         for other in (0..self.players).filter(|other| *other != slot) {
///             outbox.send(other, words);
///         }
///     }
/// }
/// ```
///
/// and the whole of its `main`:
///
/// ```no_run
/// # struct Chat { players: usize }
/// # impl game_child::Game for Chat {
/// #     fn handle_words(&mut self, _: std::time::Duration, _: usize, _: &str, _: &mut game_child::Outbox) {}
/// # }
/// fn main() -> Result<(), game_child::RunError> {
///     let options = game_child::Options::default();
///     game_child::run(&options, |setup| Ok(Chat { players: setup.names().len() }))
/// }
/// ```
pub trait Game {
    /// A player joined or returned: send the state of the game.
    fn handle_joined(&mut self, _now: Duration, _slot: usize, _outbox: &mut Outbox) {}

    /// A player sent a ping, which was answered.
    fn handle_ping(&mut self, _now: Duration, _slot: usize) {}

    /// A player sent a message of the game.
    fn handle_words(&mut self, now: Duration, slot: usize, words: &str, outbox: &mut Outbox);

    /// A player lost the connection, and may return for a while: [`handle_joined`](Self::handle_joined) follows, or
    /// [`handle_left`](Self::handle_left). Messages to the player are dropped meanwhile.
    fn handle_away(&mut self, _now: Duration, _slot: usize, _outbox: &mut Outbox) {}

    /// A player left: they said so, were silent for too long, or did not return in time. Where Muster lets players
    /// rejoin, they may join again.
    fn handle_left(&mut self, _now: Duration, _slot: usize, _outbox: &mut Outbox) {}

    /// A player did not join in time. They still may, as long as others play.
    fn handle_absent(&mut self, _now: Duration, _slot: usize, _outbox: &mut Outbox) {}

    /// The match is stopped from outside: the last chance to send the state. Nothing that is sent now can be
    /// repeated.
    fn handle_stop(&mut self, _now: Duration, _outbox: &mut Outbox) {}

    /// The time of [`next_deadline`](Self::next_deadline) has passed. The next one must be later.
    fn handle_timeout(&mut self, _now: Duration, _outbox: &mut Outbox) {}

    /// A tick is due.
    fn handle_tick(&mut self, _now: Duration, _tick: Tick, _outbox: &mut Outbox) {}

    /// The length of a tick, for a real-time game: the first one is due this long after the game started to want
    /// them, and the others follow at that pace, counted from the first one, not from when one was handled. A game
    /// without ticks, or without any now, sleeps until something happens.
    fn tick_period(&self) -> Option<Duration> {
        None
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) if nothing else happens. Ticks do not depend on it.
    fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// Whether the result is final. It is then sent to Muster.
    fn is_decided(&self) -> bool {
        self.is_over()
    }

    /// Whether the process can end. It also ends when all players have left.
    fn is_over(&self) -> bool {
        false
    }

    /// The result of the match, for Muster's log and reports; called once, when it is decided or over.
    fn result(&self, _now: Duration) -> Map<String, Value> {
        Map::new()
    }
}

/// A tick that is being handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// When it was due. The time since then is its lateness.
    pub due: Duration,
    /// The number of ticks after this one that are due already. They are skipped.
    pub missed: u64,
}

/// Messages to players.
#[derive(Debug, Default)]
pub struct Outbox {
    words: VecDeque<(usize, String)>,
}

impl Outbox {
    /// Sends a message to a player, if they are present. Datagrams can be lost: what must arrive is repeated until
    /// it is answered. Messages longer than [`DATAGRAM_MAX`] bytes are dropped.
    pub fn send(&mut self, slot: usize, words: impl Into<String>) {
        let words = words.into();
        debug_assert!(words.len() <= DATAGRAM_MAX, "{} bytes in a datagram", words.len());
        if words.len() <= DATAGRAM_MAX && self.words.len() < OUTBOX_MAX {
            self.words.push_back((slot, words));
        }
    }

    pub(crate) fn pop(&mut self) -> Option<(usize, String)> {
        self.words.pop_front()
    }
}
