//! The player's side of the messages in [`game_child::tictactoe`].

use std::collections::VecDeque;
use std::time::Duration;

use game_child::tictactoe::{Cell, FromServer, FromSide, Mark, Refusal, Standing, State};

use crate::{Assignment, Closed, Link, LinkEvent, Machine};

/// The pause before a move is repeated; it doubles each time up to [`REPEAT_MAX`].
const REPEAT_MIN: Duration = Duration::from_millis(100);
const REPEAT_MAX: Duration = Duration::from_millis(500);

/// A player: knows the newest state, repeats a move until a later state confirms it, and acknowledges states. At the
/// end of the game it sends the goodbye by itself. The owner chooses the moves, when [`is_my_turn`](Self::is_my_turn).
#[derive(Debug)]
pub struct Player {
    link: Link,
    state: Option<State>,
    pending: Option<Pending>,
    events: VecDeque<Event>,
    pong: Option<String>,
}

/// A move that the server has not confirmed.
#[derive(Debug)]
struct Pending {
    number: u8,
    cell: Cell,
    again_at: Duration,
    pause: Duration,
}

/// An event for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The game has admitted the player.
    Welcome {
        /// The player's slot, from 0.
        slot: usize,
        /// The number of players in the match.
        players: usize,
    },
    /// A side has made a move.
    Moved {
        /// The number of the move, from 1.
        number: usize,
        /// The side.
        mark: Mark,
        /// The cell.
        cell: Cell,
    },
    /// A new state; the moves that led to it have been reported before.
    State(State),
    /// The server refused the player's move.
    Refused {
        /// The move.
        cell: Cell,
        /// The reason.
        reason: Refusal,
    },
}

/// Why a move cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotPlay {
    /// The game has not begun.
    #[error("the game has not begun")]
    NotBegun,
    /// The other side moves, or the last move has not been confirmed.
    #[error("it is not your turn")]
    NotYourTurn,
    /// The cell has a mark.
    #[error("cell {0} is taken")]
    Taken(Cell),
    /// The game is over.
    #[error("the game is over")]
    Over,
}

impl Player {
    /// A player that joins the assigned game.
    pub fn new(assignment: &Assignment) -> Self {
        Self::on(Link::new(assignment))
    }

    /// A player on an existing link, which may be established already.
    pub fn on(link: Link) -> Self {
        Self { link, state: None, pending: None, events: VecDeque::new(), pong: None }
    }

    /// The newest state.
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }

    /// Whether this player is to move.
    pub fn is_my_turn(&self) -> bool {
        self.may_play().is_ok()
    }

    /// Makes a move, which is repeated until the server confirms it.
    ///
    /// # Errors
    /// [`CannotPlay`] if the newest state does not allow it; nothing is sent then.
    pub fn play(&mut self, now: Duration, cell: Cell) -> Result<(), CannotPlay> {
        let number = self.may_play()?;
        if self.state.as_ref().is_some_and(|state| state.board.at(cell).is_some()) {
            return Err(CannotPlay::Taken(cell));
        }
        self.link.say(now, FromSide::Move { number, cell }.to_string());
        let again_at = now + REPEAT_MIN;
        self.pending = Some(Pending { number, cell, again_at, pause: REPEAT_MIN });
        Ok(())
    }

    /// Sends a ping, whose answer is returned by [`poll_pong`](Self::poll_pong); see [`Link::ping`].
    pub fn ping(&mut self, now: Duration, text: &str) {
        self.link.ping(now, text);
    }

    /// The text of the latest answer to a ping, once.
    pub fn poll_pong(&mut self) -> Option<String> {
        self.pong.take()
    }

    /// Returns the link, for a game that turned out to be another one.
    pub fn into_link(self) -> Link {
        self.link
    }

    /// The number of the state that a move would answer.
    fn may_play(&self) -> Result<u8, CannotPlay> {
        let state = self.state.as_ref().ok_or(CannotPlay::NotBegun)?;
        match state.standing {
            Standing::Turn(mark) if mark == state.you && self.pending.is_none() => Ok(state.number),
            Standing::Turn(_) => Err(CannotPlay::NotYourTurn),
            Standing::Won(_) | Standing::Draw | Standing::Forfeit(_) | Standing::Abandoned => {
                Err(CannotPlay::Over)
            }
        }
    }

    fn handle_link_events(&mut self, now: Duration) {
        while let Some(event) = self.link.poll_event() {
            self.handle_link_event(now, event);
        }
    }

    fn handle_link_event(&mut self, now: Duration, event: LinkEvent) {
        match event {
            LinkEvent::Welcome { slot, players } => {
                self.events.push_back(Event::Welcome { slot, players });
            }
            LinkEvent::Pong(text) => self.pong = Some(text),
            LinkEvent::Words(words) => match FromServer::parse(&words) {
                Some(FromServer::State(state)) => self.handle_state(now, state),
                Some(FromServer::No { refused: Some(refused), reason }) => {
                    self.handle_refusal(refused, reason);
                }
                Some(FromServer::No { refused: None, .. }) | None => {}
            },
        }
    }

    fn handle_state(&mut self, now: Duration, state: State) {
        let known = self.state.as_ref().map_or(0, |known| known.number);
        let is_end = state.standing.is_end();
        let number = known.max(state.number);
        // An old state is acknowledged, too: its sender does not know that this player has a newer one.
        self.link.say(now, FromSide::Ack { number }.to_string());
        if state.number <= known {
            return;
        }
        self.tell_moves(&state);
        self.pending.take_if(|pending| pending.number < state.number);
        self.events.push_back(Event::State(state.clone()));
        self.state = Some(state);
        if is_end {
            self.pending = None;
            self.link.leave(now);
        }
    }

    /// Reports the moves between two states: usually one, but a state can be lost.
    fn tell_moves(&mut self, new: &State) {
        let old = self.state.as_ref().map(|state| state.board).unwrap_or_default();
        let appeared = |mark| {
            let is_new =
                move |cell: &Cell| old.at(*cell).is_none() && new.board.at(*cell) == Some(mark);
            Cell::ALL.into_iter().filter(is_new)
        };
        let first = Mark::BOTH[old.moves() % 2];
        let (mut firsts, mut seconds) = (appeared(first), appeared(first.other()));
        let mut number = old.moves();
        while let Some((mark, cell)) = firsts.next().map(|cell| (first, cell)) {
            number += 1;
            self.events.push_back(Event::Moved { number, mark, cell });
            let Some(cell) = seconds.next() else { break };
            number += 1;
            self.events.push_back(Event::Moved { number, mark: first.other(), cell });
        }
    }

    fn handle_refusal(&mut self, (number, cell): (u8, Cell), reason: Refusal) {
        let is_mine = |pending: &mut Pending| (pending.number, pending.cell) == (number, cell);
        if self.pending.take_if(is_mine).is_some() {
            self.events.push_back(Event::Refused { cell, reason });
        }
    }
}

impl Machine for Player {
    type Event = Event;

    fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {
        self.link.handle_datagram(now, datagram);
        self.handle_link_events(now);
    }

    fn handle_words(&mut self, now: Duration, words: &str) {
        self.link.handle_words(now, words);
        self.handle_link_events(now);
    }

    fn handle_refused(&mut self, now: Duration) {
        self.link.handle_refused(now);
    }

    fn handle_timeout(&mut self, now: Duration) {
        if let Some(pending) = self.pending.as_mut().filter(|pending| now >= pending.again_at) {
            pending.pause = (pending.pause * 2).min(REPEAT_MAX);
            pending.again_at = now + pending.pause;
            let words = FromSide::Move { number: pending.number, cell: pending.cell };
            self.link.say(now, words.to_string());
        }
        self.link.handle_timeout(now);
    }

    fn leave(&mut self, now: Duration) {
        self.pending = None;
        self.link.leave(now);
    }

    fn next_deadline(&self) -> Option<Duration> {
        let link = self.link.next_deadline()?;
        Some(self.pending.as_ref().map_or(link, |pending| link.min(pending.again_at)))
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.link.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn closed(&self) -> Option<Closed> {
        self.link.closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_millis(5);

    fn player() -> Player {
        let mut player = Player::new(&Assignment {
            match_id: "17".into(),
            host: "127.0.0.1".into(),
            port: 1,
            slot: 0,
            players: 2,
            token: "ab".repeat(16),
            transport: "plain".into(),
        });
        player.handle_datagram(NOW, b"WELCOME 17 slot=0 players=2");
        assert_eq!(player.poll_event(), Some(Event::Welcome { slot: 0, players: 2 }));
        player
    }

    fn said(player: &mut Player) -> Vec<String> {
        let said = std::iter::from_fn(|| player.poll_transmit());
        said.map(|datagram| String::from_utf8(datagram).unwrap()).collect()
    }

    fn events(player: &mut Player) -> Vec<Event> {
        std::iter::from_fn(|| player.poll_event()).collect()
    }

    #[test]
    fn a_move_is_repeated_until_a_later_state_arrives() {
        let mut player = player();
        assert_eq!(player.play(NOW, Cell::ALL[0]), Err(CannotPlay::NotBegun));
        player.handle_datagram(NOW, b"STATE 1 ......... you=X turn=X x=ada o=bob");
        assert!(player.is_my_turn());
        assert!(matches!(events(&mut player)[..], [Event::State(_)]));
        player.play(NOW, Cell::ALL[4]).unwrap();
        assert_eq!(said(&mut player), ["ACK 1", "MOVE 1 5"]);
        assert_eq!(player.play(NOW, Cell::ALL[0]), Err(CannotPlay::NotYourTurn));

        player.handle_datagram(NOW, b"STATE 1 ......... you=X turn=X x=ada o=bob");
        player.handle_timeout(player.next_deadline().unwrap());
        assert_eq!(said(&mut player), ["ACK 1", "MOVE 1 5"]);
        assert_eq!(events(&mut player), [], "a copy is not reported");

        player.handle_datagram(NOW, b"STATE 2 ....X.... you=X turn=O last=5 x=ada o=bob");
        assert_eq!(said(&mut player), ["ACK 2"]);
        assert!(!player.is_my_turn() && player.pending.is_none());
    }

    #[test]
    fn an_old_state_changes_nothing_and_the_newest_one_is_acknowledged() {
        let mut player = player();
        player.handle_datagram(NOW, b"STATE 3 O...X.... you=X turn=X last=1");
        events(&mut player);
        said(&mut player);
        player.handle_datagram(NOW, b"STATE 2 ....X.... you=X turn=O last=5");
        assert_eq!(said(&mut player), ["ACK 3"]);
        assert_eq!(events(&mut player), []);
        assert_eq!(player.state().unwrap().number, 3);
    }

    #[test]
    fn the_moves_of_a_lost_state_are_reported_in_order() {
        let mut player = player();
        player.handle_datagram(NOW, b"STATE 3 O...X.... you=X turn=X last=1");
        let [first, second, Event::State(_)] = &events(&mut player)[..] else { panic!() };
        assert_eq!(*first, Event::Moved { number: 1, mark: Mark::X, cell: Cell::ALL[4] });
        assert_eq!(*second, Event::Moved { number: 2, mark: Mark::O, cell: Cell::ALL[0] });
    }

    #[test]
    fn only_the_refusal_of_the_pending_move_counts() {
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
        assert_eq!(said(&mut player), ["ACK 2", "BYE"]);
        player.handle_datagram(NOW, b"BYE");
        assert_eq!(player.closed(), Some(Closed::Left));
    }

    #[test]
    fn a_ping_is_sent_and_its_answer_is_returned_once() {
        let mut player = player();
        said(&mut player);
        player.ping(NOW, "7");
        assert_eq!(said(&mut player), ["PING 7"]);
        assert_eq!(player.poll_pong(), None);
        player.handle_datagram(NOW, b"PONG 7");
        assert_eq!((player.poll_pong().as_deref(), player.poll_pong()), (Some("7"), None));
    }
}
