//! A player of a game: the rules of one game over a link.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::EVENTS_MAX;
use crate::{Assignment, Closed, Link, LinkEvent, Machine};

/// The player's side of a game's messages. All times are durations since the machine was created.
pub trait Rules: Default {
    /// The events for the owner.
    type Event;

    /// The event of the welcome: the player's slot, from 0, and the number of players.
    fn welcome(slot: usize, players: usize) -> Self::Event;

    /// Handles a message of the game.
    fn handle_words(&mut self, now: Duration, words: &str, io: &mut Io<'_, Self::Event>);

    /// Handles the time of [`next_deadline`](Self::next_deadline). Calling it too early is harmless.
    fn handle_timeout(&mut self, now: Duration, link: &mut Link);

    /// Handles that the player leaves: nothing more is sent.
    fn handle_leave(&mut self);

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before.
    fn next_deadline(&self) -> Option<Duration>;
}

/// What rules use: the link, and the queue of events.
#[derive(Debug)]
pub struct Io<'a, E> {
    /// The link to the game.
    pub link: &'a mut Link,
    events: &'a mut VecDeque<E>,
}

impl<E> Io<'_, E> {
    /// Queues an event for the owner.
    pub fn emit(&mut self, event: E) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

/// A player of a game with these rules.
#[derive(Debug)]
pub struct Playing<R: Rules> {
    pub(crate) link: Link,
    pub(crate) rules: R,
    events: VecDeque<R::Event>,
    pong: Option<String>,
}

impl<R: Rules> Playing<R> {
    /// A player who joins the assigned game.
    pub fn new(assignment: &Assignment) -> Self {
        Self::on(Link::new(assignment))
    }

    /// A player who continues with a link that may have joined already.
    pub fn on(link: Link) -> Self {
        Self { link, rules: R::default(), events: VecDeque::new(), pong: None }
    }

    /// Sends a ping, whose answer [`poll_pong`](Self::poll_pong) returns; see [`Link::ping`].
    pub fn ping(&mut self, now: Duration, text: &str) {
        self.link.ping(now, text);
    }

    /// The text of the latest answer to a ping, once.
    pub fn poll_pong(&mut self) -> Option<String> {
        self.pong.take()
    }

    /// Continues with the link alone, for a game that is another one.
    pub fn into_link(self) -> Link {
        self.link
    }

    fn handle_link(&mut self, now: Duration) {
        while let Some(event) = self.link.poll_event() {
            let mut io = Io { link: &mut self.link, events: &mut self.events };
            match event {
                LinkEvent::Welcome { slot, players } => io.emit(R::welcome(slot, players)),
                LinkEvent::Pong(text) => self.pong = Some(text),
                LinkEvent::Words(words) => self.rules.handle_words(now, &words, &mut io),
            }
        }
    }
}

impl<R: Rules> Machine for Playing<R> {
    type Event = R::Event;

    fn handle_datagram(&mut self, now: Duration, datagram: &[u8]) {
        self.link.handle_datagram(now, datagram);
        self.handle_link(now);
    }

    fn handle_words(&mut self, now: Duration, words: &str) {
        self.link.handle_words(now, words);
        self.handle_link(now);
    }

    fn handle_refused(&mut self, now: Duration) {
        self.link.handle_refused(now);
    }

    fn handle_timeout(&mut self, now: Duration) {
        self.rules.handle_timeout(now, &mut self.link);
        self.link.handle_timeout(now);
    }

    fn leave(&mut self, now: Duration) {
        self.rules.handle_leave();
        self.link.leave(now);
    }

    fn next_deadline(&self) -> Option<Duration> {
        let link = self.link.next_deadline()?;
        Some(self.rules.next_deadline().map_or(link, |at| link.min(at)))
    }

    fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.link.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<R::Event> {
        self.events.pop_front()
    }

    fn closed(&self) -> Option<Closed> {
        self.link.closed()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tictactoe;

    /// A player of match 17 whom the game has welcomed as slot 0 of 2.
    pub(crate) fn welcomed<R: Rules>(now: Duration) -> Playing<R> {
        let mut player = Playing::new(&Assignment {
            match_id: "17".into(),
            host: "127.0.0.1".into(),
            port: 1,
            slot: 0,
            players: 2,
            token: "ab".repeat(16),
            transport: "plain".into(),
        });
        player.handle_datagram(now, b"WELCOME 17 slot=0 players=2");
        player
    }

    /// The datagrams that a player has sent.
    pub(crate) fn sent<R: Rules>(player: &mut Playing<R>) -> Vec<String> {
        let sent = std::iter::from_fn(|| player.poll_transmit());
        sent.map(|datagram| String::from_utf8(datagram).unwrap()).collect()
    }

    #[test]
    fn a_ping_is_sent_and_its_answer_is_returned_once() {
        let now = Duration::from_millis(1);
        let mut player: tictactoe::Player = welcomed(now);
        player.ping(now, "7");
        assert_eq!(sent(&mut player), ["PING 7"]);
        assert_eq!(player.poll_pong(), None);
        player.handle_datagram(now, b"PONG 7");
        assert_eq!((player.poll_pong().as_deref(), player.poll_pong()), (Some("7"), None));
    }
}
