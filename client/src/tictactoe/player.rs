//! The player's side of the messages in [`game_child::tictactoe`].

use std::time::Duration;

use game_child::tictactoe::{Cell, FromServer, FromSide, Mark, Refusal, Standing, State};

use crate::limits::{REPEAT_MAX, REPEAT_MIN};
use crate::playing::{Io, Playing, Rules};
use crate::{Link, Machine as _};

/// A player: knows the newest state, repeats a move until a later state shows it, and acknowledges states. It leaves
/// at the end of the game. Its owner chooses the moves, when [`is_my_turn`](Self::is_my_turn).
pub type Player = Playing<TicTacToe>;

/// A player's knowledge of the game.
#[derive(Debug, Default)]
pub struct TicTacToe {
    state: Option<State>,
    pending: Option<Pending>,
}

/// A move that the server has not confirmed.
#[derive(Debug)]
struct Pending {
    number: u8,
    cell: Cell,
    again_at: Duration,
    pause: Duration,
}

/// An event of a player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The player has joined the game.
    Welcome {
        /// The player's slot, from 0.
        slot: usize,
        /// The number of players in the match.
        players: usize,
    },
    /// A side has moved, this one or the other.
    Moved {
        /// The number of the move, from 1.
        number: usize,
        /// The side.
        mark: Mark,
        /// The cell.
        cell: Cell,
    },
    /// There is a new state; the events of the moves that led to it precede it.
    State(State),
    /// The server refused the player's move.
    Refused {
        /// The cell.
        cell: Cell,
        /// Why.
        reason: Refusal,
    },
}

/// Why a move is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotPlay {
    /// The game has not started.
    #[error("the game has not started")]
    NotStarted,
    /// The other side moves, or the last move is not confirmed yet.
    #[error("it is not your turn")]
    NotYourTurn,
    /// The cell is not free.
    #[error("cell {0} is taken")]
    Taken(Cell),
    /// The game is over.
    #[error("the game is over")]
    Over,
}

impl Player {
    /// The newest state.
    pub fn state(&self) -> Option<&State> {
        self.rules.state.as_ref()
    }

    /// Whether it is this player's turn.
    pub fn is_my_turn(&self) -> bool {
        self.rules.may_play().is_ok()
    }

    /// Makes a move: it is repeated until the server confirms it.
    ///
    /// # Errors
    /// [`CannotPlay`] when the newest state does not allow it; nothing is sent then.
    pub fn play(&mut self, now: Duration, cell: Cell) -> Result<(), CannotPlay> {
        let number = self.rules.may_play()?;
        if self.state().is_some_and(|state| state.board.at(cell).is_some()) {
            return Err(CannotPlay::Taken(cell));
        }
        self.link.say(now, FromSide::Move { number, cell }.to_string());
        let again_at = now + REPEAT_MIN;
        self.rules.pending = Some(Pending { number, cell, again_at, pause: REPEAT_MIN });
        Ok(())
    }
}

impl TicTacToe {
    /// The number of the state that a move would answer.
    fn may_play(&self) -> Result<u8, CannotPlay> {
        let state = self.state.as_ref().ok_or(CannotPlay::NotStarted)?;
        match state.standing {
            Standing::Turn(mark) if mark == state.you && self.pending.is_none() => Ok(state.number),
            Standing::Turn(_) => Err(CannotPlay::NotYourTurn),
            Standing::Won(_) | Standing::Draw | Standing::Forfeit(_) | Standing::Abandoned => {
                Err(CannotPlay::Over)
            }
        }
    }

    fn handle_state(&mut self, now: Duration, state: State, io: &mut Io<'_, Event>) {
        let known = self.state.as_ref().map_or(0, |known| known.number);
        let is_end = state.standing.is_end();
        let number = known.max(state.number);
        // Also for an old state: the server does not know that this player has a newer one.
        io.link.say(now, FromSide::Ack { number }.to_string());
        if state.number <= known {
            return;
        }
        self.emit_moves(&state, io);
        self.pending.take_if(|pending| pending.number < state.number);
        io.emit(Event::State(state.clone()));
        self.state = Some(state);
        if is_end {
            self.pending = None;
            io.link.leave(now);
        }
    }

    /// The moves between two states: usually one, but a state can be lost.
    fn emit_moves(&self, new: &State, io: &mut Io<'_, Event>) {
        let old = self.state.as_ref().map(|state| state.board).unwrap_or_default();
        let appeared = |mark| {
            let is_new =
                move |cell: &Cell| old.at(*cell).is_none() && new.board.at(*cell) == Some(mark);
            Cell::ALL.into_iter().filter(is_new)
        };
        let first = Mark::BOTH[old.moves() % 2];
        let (firsts, mut seconds) = (appeared(first), appeared(first.other()));
        let mut number = old.moves();
        for cell in firsts {
            number += 1;
            io.emit(Event::Moved { number, mark: first, cell });
            let Some(cell) = seconds.next() else { break };
            number += 1;
            io.emit(Event::Moved { number, mark: first.other(), cell });
        }
    }

    fn handle_refusal(&mut self, refused: (u8, Cell), reason: Refusal, io: &mut Io<'_, Event>) {
        let is_mine = |pending: &mut Pending| (pending.number, pending.cell) == refused;
        if self.pending.take_if(is_mine).is_some() {
            io.emit(Event::Refused { cell: refused.1, reason });
        }
    }
}

impl Rules for TicTacToe {
    type Event = Event;

    fn welcome(slot: usize, players: usize) -> Event {
        Event::Welcome { slot, players }
    }

    fn handle_words(&mut self, now: Duration, words: &str, io: &mut Io<'_, Event>) {
        match FromServer::parse(words) {
            Some(FromServer::State(state)) => self.handle_state(now, state, io),
            Some(FromServer::No { refused: Some(refused), reason }) => {
                self.handle_refusal(refused, reason, io);
            }
            Some(FromServer::No { refused: None, .. }) | None => {}
        }
    }

    fn handle_timeout(&mut self, now: Duration, link: &mut Link) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| now >= pending.again_at) {
            pending.pause = (pending.pause * 2).min(REPEAT_MAX);
            pending.again_at = now + pending.pause;
            let words = FromSide::Move { number: pending.number, cell: pending.cell };
            link.say(now, words.to_string());
        }
    }

    fn handle_leave(&mut self) {
        self.pending = None;
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.pending.as_ref().map(|pending| pending.again_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Closed;
    use crate::playing::tests::{sent, welcomed};

    const NOW: Duration = Duration::from_millis(5);

    fn player() -> Player {
        let mut player = welcomed(NOW);
        assert_eq!(player.poll_event(), Some(Event::Welcome { slot: 0, players: 2 }));
        player
    }

    fn events(player: &mut Player) -> Vec<Event> {
        std::iter::from_fn(|| player.poll_event()).collect()
    }

    #[test]
    fn a_move_is_repeated_until_a_later_state_arrives() {
        let mut player = player();
        assert_eq!(player.play(NOW, Cell::ALL[0]), Err(CannotPlay::NotStarted));
        player.handle_datagram(NOW, b"STATE 1 ......... you=X turn=X x=ada o=bob");
        assert!(player.is_my_turn());
        assert!(matches!(events(&mut player)[..], [Event::State(_)]));
        player.play(NOW, Cell::ALL[4]).unwrap();
        assert_eq!(sent(&mut player), ["ACK 1", "MOVE 1 5"]);
        assert_eq!(player.play(NOW, Cell::ALL[0]), Err(CannotPlay::NotYourTurn));

        player.handle_datagram(NOW, b"STATE 1 ......... you=X turn=X x=ada o=bob");
        player.handle_timeout(player.next_deadline().unwrap());
        assert_eq!(sent(&mut player), ["ACK 1", "MOVE 1 5"]);
        assert_eq!(events(&mut player), [], "a copy is no event");

        player.handle_datagram(NOW, b"STATE 2 ....X.... you=X turn=O last=5 x=ada o=bob");
        assert_eq!(sent(&mut player), ["ACK 2"]);
        assert!(!player.is_my_turn() && player.rules.pending.is_none());
    }

    #[test]
    fn an_old_state_changes_nothing_and_the_newest_one_is_acknowledged() {
        let mut player = player();
        player.handle_datagram(NOW, b"STATE 3 O...X.... you=X turn=X last=1");
        events(&mut player);
        sent(&mut player);
        player.handle_datagram(NOW, b"STATE 2 ....X.... you=X turn=O last=5");
        assert_eq!(sent(&mut player), ["ACK 3"]);
        assert_eq!(events(&mut player), []);
        assert_eq!(player.state().unwrap().number, 3);
    }

    #[test]
    fn the_moves_of_a_lost_state_are_events_in_their_order() {
        let mut player = player();
        player.handle_datagram(NOW, b"STATE 3 O...X.... you=X turn=X last=1");
        let [first, second, Event::State(_)] = &events(&mut player)[..] else { panic!() };
        assert_eq!(*first, Event::Moved { number: 1, mark: Mark::X, cell: Cell::ALL[4] });
        assert_eq!(*second, Event::Moved { number: 2, mark: Mark::O, cell: Cell::ALL[0] });
    }

    #[test]
    fn only_the_refusal_of_the_pending_move_is_an_event() {
        let mut player = player();
        player.handle_datagram(NOW, b"STATE 1 ......... you=X turn=X");
        player.play(NOW, Cell::ALL[4]).unwrap();
        events(&mut player);
        player.handle_datagram(NOW, b"NO 1 6 taken");
        player.handle_datagram(NOW, b"NO 2 5 taken");
        assert!(!player.is_my_turn());
        player.handle_datagram(NOW, b"NO 1 5 taken");
        let refused = Event::Refused { cell: Cell::ALL[4], reason: Refusal::Taken };
        assert_eq!(events(&mut player), [refused]);
        assert!(player.is_my_turn());
    }

    #[test]
    fn the_end_is_acknowledged_and_then_the_player_leaves() {
        let mut player = player();
        player.handle_datagram(NOW, b"STATE 2 ......... you=X end=forfeit winner=X");
        assert_eq!(sent(&mut player), ["ACK 2", "BYE"]);
        player.handle_datagram(NOW, b"BYE");
        assert_eq!(player.closed(), Some(Closed::Left));
    }
}
