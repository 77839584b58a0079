//! What a game is.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::datagram::DATAGRAM_MAX;
use serde_json::{Map, Value};

use crate::PLAYERS_MAX;

/// The most words that wait to be sent. Words beyond are lost, as they could be on the way.
const OUTBOX_MAX: usize = 4 * PLAYERS_MAX;

/// A game: rules over words, for players by slot.
///
/// All times are durations since the match started. Players are the slots from 0 on, at most
/// [`PLAYERS_MAX`] of them. Words are UTF-8 without control characters and can be hostile; they come only from
/// players who said a valid hello.
///
/// A game of one method, which tells everyone what anyone says:
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
    /// A player came in, or is back: tell it all that it has to know.
    fn handle_joined(&mut self, _now: Duration, _slot: usize, _outbox: &mut Outbox) {}

    /// A player asked for a sign of life, and got it.
    fn handle_ping(&mut self, _now: Duration, _slot: usize) {}

    /// A player said something of the game's own.
    fn handle_words(&mut self, now: Duration, slot: usize, words: &str, outbox: &mut Outbox);

    /// A player is lost, and may come back for a while: [`handle_joined`](Self::handle_joined) follows, or
    /// [`handle_left`](Self::handle_left). What is said to it meanwhile is not sent.
    fn handle_away(&mut self, _now: Duration, _slot: usize, _outbox: &mut Outbox) {}

    /// A player who came in went away: it said so, was silent for too long, or did not come back in time. Where Muster
    /// lets players rejoin, it may come in again.
    fn handle_left(&mut self, _now: Duration, _slot: usize, _outbox: &mut Outbox) {}

    /// The time to come in has passed and this player did not. It still may, as long as others play.
    fn handle_absent(&mut self, _now: Duration, _slot: usize, _outbox: &mut Outbox) {}

    /// The match is ended from outside: the last chance to say how it stands. Nothing that is said now can be
    /// said again.
    fn handle_stop(&mut self, _now: Duration, _outbox: &mut Outbox) {}

    /// The deadline that [`next_deadline`](Self::next_deadline) gave has passed. The next one must be later.
    fn handle_timeout(&mut self, _now: Duration, _outbox: &mut Outbox) {}

    /// A tick is due.
    fn handle_tick(&mut self, _now: Duration, _tick: Tick, _outbox: &mut Outbox) {}

    /// How long a tick is, for a game that moves on by itself: the first one is due so long after the game has
    /// begun to want them, the others follow at that pace, counted from the first and never from when one was
    /// handled. A game that wants none, or none now, sleeps until something happens.
    fn tick_period(&self) -> Option<Duration> {
        None
    }

    /// When to be woken if nothing else happens. Ticks come without.
    fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// Whether the result stands and will not change any more. It is then told to Muster.
    fn is_decided(&self) -> bool {
        self.is_over()
    }

    /// Whether all is done and said, so that the process can end. It also ends when all players have left.
    fn is_over(&self) -> bool {
        false
    }

    /// How the match ended, for whoever keeps results; asked once, when it is decided or over.
    fn result(&self, _now: Duration) -> Map<String, Value> {
        Map::new()
    }
}

/// A tick, as it is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// When it was due. What has passed since then is its lateness.
    pub due: Duration,
    /// How many ticks after this one have come due meanwhile, too. They will not be handled.
    pub missed: u64,
}

/// Words on their way to players.
#[derive(Debug, Default)]
pub struct Outbox {
    words: VecDeque<(usize, String)>,
}

impl Outbox {
    /// Sends words to a player, if it is there. Datagrams can be lost: what must arrive is sent again until it
    /// is answered. Words longer than [`DATAGRAM_MAX`] bytes are not sent.
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
