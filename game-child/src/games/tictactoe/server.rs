//! Tic-tac-toe: the server's side of the [messages](super).
//!
//! The server sends each side its whole state, with a number, and repeats it with growing pauses until that side has
//! acknowledged it. A move answers the state with one number, so that a copy of it, however late, is recognized. The
//! end of the game is a state like the others; the process stays until both sides have it, or for [`END_MAX`].

use std::time::Duration;

use super::{Board, Cell, FromServer, FromSide, IllegalMove, Mark, Refusal, Standing, State};
use protocol::NAME_MAX;
use serde_json::{Map, Value, json};

use super::limits::{END_MAX, REPEAT_MAX, REPEAT_MIN};
use crate::{BadStart, Game, Match, Outbox};

/// A game of tic-tac-toe between the players of slots 0 (X) and 1 (O).
///
/// Its result is e.g. `{"outcome":"won","winner":0,"winner_name":"ada","moves":[5,1,3,2,7],"duration_ms":8200}`; the
/// outcome is `won`, `draw`, `forfeit` (the other side left, or never joined) or `abandoned` (no player joined, or the
/// match was stopped), and cells are 1 to 9.
pub struct TicTacToe {
    names: [String; 2],
    board: Board,
    moves: Vec<Cell>,
    end: Option<End>,
    sides: [Side; 2],
    /// Whether the end was sent for long enough.
    end_sent: bool,
}

struct End {
    standing: Standing,
    at: Duration,
}

/// The server's state of one side.
struct Side {
    presence: Presence,
    /// The highest number of a state that the side has acknowledged.
    acknowledged: u8,
    sent_at: Duration,
    /// When to repeat the state; `None` if there is no need.
    repeat_at: Option<Duration>,
    pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Expected,
    Present,
    Gone,
}

impl TicTacToe {
    /// A game for the players of a match.
    ///
    /// # Errors
    /// When the match is not one of two players.
    pub fn new(setup: &Match) -> Result<Self, BadStart> {
        let [x, o] = setup.names() else {
            return Err(BadStart::Players { given: setup.names().len(), wanted: "2".into() });
        };
        Ok(Self {
            names: [shortened(x), shortened(o)],
            board: Board::default(),
            moves: Vec::with_capacity(Cell::ALL.len()),
            end: None,
            sides: Mark::BOTH.map(|_| Side {
                presence: Presence::Expected,
                acknowledged: 0,
                sent_at: Duration::ZERO,
                repeat_at: None,
                pause: REPEAT_MIN,
            }),
            end_sent: false,
        })
    }

    /// The current board.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The state of the game.
    pub fn standing(&self) -> Standing {
        match (&self.end, self.board.turn(), self.board.winner()) {
            (Some(end), ..) => end.standing,
            (None, Some(mark), _) => Standing::Turn(mark),
            (None, None, Some(mark)) => Standing::Won(mark),
            (None, None, None) => Standing::Draw,
        }
    }

    /// The number of the state: one more with each move, and one more for an end that was not caused by a move.
    fn number(&self) -> u8 {
        let end =
            usize::from(matches!(self.standing(), Standing::Forfeit(_) | Standing::Abandoned));
        let number = self.moves.len() + 1 + end;
        u8::try_from(number).unwrap_or(u8::MAX)
    }

    fn state_for(&self, you: Mark) -> State {
        State {
            number: self.number(),
            board: self.board,
            you,
            standing: self.standing(),
            last: self.moves.last().copied(),
            names: self.names.clone(),
        }
    }

    fn tell(&mut self, now: Duration, mark: Mark, outbox: &mut Outbox) {
        outbox.send(mark.slot(), FromServer::State(self.state_for(mark)).to_string());
        let side = &mut self.sides[mark.slot()];
        side.sent_at = now;
        side.repeat_at = Some(now + side.pause);
        side.pause = (side.pause * 2).min(REPEAT_MAX);
    }

    /// Sends a new state to all present players.
    fn tell_all(&mut self, now: Duration, outbox: &mut Outbox) {
        for mark in Mark::BOTH {
            let side = &mut self.sides[mark.slot()];
            side.pause = REPEAT_MIN;
            if side.presence == Presence::Present {
                self.tell(now, mark, outbox);
            }
        }
    }

    fn acknowledge(&mut self, mark: Mark, number: u8) {
        let current = self.number();
        let side = &mut self.sides[mark.slot()];
        if number <= current {
            side.acknowledged = side.acknowledged.max(number);
        }
        if side.acknowledged == current {
            side.repeat_at = None;
        }
    }

    /// A side repeats its move, so it has not received the state that followed: send that soon, but not more often than
    /// any other repetition.
    fn hasten(&mut self, mark: Mark) {
        let side = &mut self.sides[mark.slot()];
        let soon = side.sent_at + REPEAT_MIN;
        side.repeat_at = side.repeat_at.map(|at| at.min(soon));
    }

    fn handle_move(
        &mut self,
        now: Duration,
        mark: Mark,
        number: u8,
        cell: Cell,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let answered = usize::from(number).checked_sub(1).ok_or(Refusal::TooLate)?;
        if let Some(made) = self.moves.get(answered).copied() {
            if Mark::BOTH[answered % 2] != mark {
                return Err(Refusal::NotYourTurn);
            }
            self.hasten(mark);
            return if made == cell { Ok(()) } else { Err(Refusal::TooLate) };
        }
        match self.standing() {
            _ if number > self.number() => return Err(Refusal::TooEarly),
            Standing::Turn(turn) if turn == mark => {}
            Standing::Turn(_) => return Err(Refusal::NotYourTurn),
            Standing::Won(_) | Standing::Draw | Standing::Forfeit(_) | Standing::Abandoned => {
                return Err(Refusal::Over);
            }
        }
        self.board.play(cell).map_err(|illegal| match illegal {
            IllegalMove::Taken => Refusal::Taken,
            IllegalMove::Over => Refusal::Over,
        })?;
        self.moves.push(cell);
        debug_assert_eq!(self.moves.len(), self.board.moves());
        if self.board.is_over() {
            self.end = Some(End { standing: self.standing(), at: now });
        }
        self.tell_all(now, outbox);
        Ok(())
    }

    /// Ends the game if a side is missing. While a side can still join, nothing is decided.
    fn judge(&mut self, now: Duration, outbox: &mut Outbox) {
        let standing = match self.sides.each_ref().map(|side| side.presence) {
            [Presence::Gone, Presence::Gone] => Standing::Abandoned,
            [Presence::Present, Presence::Gone] => Standing::Forfeit(Mark::X),
            [Presence::Gone, Presence::Present] => Standing::Forfeit(Mark::O),
            [Presence::Expected, _] | [_, Presence::Expected] => return,
            [Presence::Present, Presence::Present] => return,
        };
        self.finish(now, standing, outbox);
    }

    fn finish(&mut self, now: Duration, standing: Standing, outbox: &mut Outbox) {
        debug_assert!(standing.is_end());
        if self.end.is_none() {
            self.end = Some(End { standing, at: now });
            self.tell_all(now, outbox);
        }
    }

    fn set_presence(
        &mut self,
        now: Duration,
        slot: usize,
        presence: Presence,
        outbox: &mut Outbox,
    ) {
        let side = &mut self.sides[slot];
        side.presence = presence;
        side.repeat_at = None;
        self.judge(now, outbox);
    }
}

impl Game for TicTacToe {
    fn handle_joined(&mut self, now: Duration, slot: usize, outbox: &mut Outbox) {
        self.sides[slot].pause = REPEAT_MIN;
        self.set_presence(now, slot, Presence::Present, outbox);
        if let (Some(mark), None) = (Mark::of_slot(slot), self.sides[slot].repeat_at) {
            self.tell(now, mark, outbox);
        }
    }

    fn handle_words(&mut self, now: Duration, slot: usize, words: &str, outbox: &mut Outbox) {
        let Some(mark) = Mark::of_slot(slot) else { return };
        let (refused, done) = match FromSide::parse(words) {
            Ok(FromSide::Ack { number }) => {
                self.acknowledge(mark, number);
                (None, Ok(()))
            }
            Ok(FromSide::Move { number, cell }) => {
                // A side that answers a state has received it.
                self.acknowledge(mark, number);
                (Some((number, cell)), self.handle_move(now, mark, number, cell, outbox))
            }
            Err(refusal) => (None, Err(refusal)),
        };
        if let Err(reason) = done {
            outbox.send(slot, FromServer::No { refused, reason }.to_string());
        }
    }

    fn handle_left(&mut self, now: Duration, slot: usize, outbox: &mut Outbox) {
        self.set_presence(now, slot, Presence::Gone, outbox);
    }

    fn handle_absent(&mut self, now: Duration, slot: usize, outbox: &mut Outbox) {
        self.set_presence(now, slot, Presence::Gone, outbox);
    }

    fn handle_stop(&mut self, now: Duration, outbox: &mut Outbox) {
        self.finish(now, Standing::Abandoned, outbox);
    }

    fn handle_timeout(&mut self, now: Duration, outbox: &mut Outbox) {
        if self.end.as_ref().is_some_and(|end| now >= end.at + END_MAX) {
            self.end_sent = true;
            return;
        }
        for mark in Mark::BOTH {
            if self.sides[mark.slot()].repeat_at.is_some_and(|at| now >= at) {
                self.tell(now, mark, outbox);
            }
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let end = self.end.as_ref().filter(|_| !self.end_sent).map(|end| end.at + END_MAX);
        self.sides.iter().filter_map(|side| side.repeat_at).chain(end).min()
    }

    fn is_decided(&self) -> bool {
        self.end.is_some()
    }

    fn is_over(&self) -> bool {
        let number = self.number();
        let has_it = |side: &Side| side.presence == Presence::Gone || side.acknowledged == number;
        self.end.is_some() && (self.end_sent || self.sides.iter().all(has_it))
    }

    fn result(&self, now: Duration) -> Map<String, Value> {
        let end = self.end.as_ref();
        let standing = end.map_or(Standing::Abandoned, |end| end.standing);
        let winner = standing.winner().map(Mark::slot);
        let cells: Vec<u8> = self.moves.iter().map(|cell| cell.number()).collect();
        let duration_ms = end.map_or(now, |end| end.at).as_millis();
        let duration_ms = u64::try_from(duration_ms).unwrap_or(u64::MAX);
        Map::from_iter([
            ("outcome".to_owned(), json!(standing.end())),
            ("winner".to_owned(), json!(winner)),
            ("winner_name".to_owned(), json!(winner.map(|slot| &self.names[slot]))),
            ("moves".to_owned(), json!(cells)),
            ("duration_ms".to_owned(), json!(duration_ms)),
        ])
    }
}

/// A name that fits into a datagram with another one. Names from Muster do; games may be started without it.
fn shortened(name: &str) -> String {
    name[..name.floor_char_boundary(NAME_MAX)].to_owned()
}
