//! The player's side of the messages in [`game_child::arena`].

use std::collections::VecDeque;
use std::time::Duration;

use game_child::arena::{Direction, FromArena, HISTORY, Input, MOVES_MAX, Setup, Snapshot, Update};

use crate::{Assignment, Closed, Link, LinkEvent, Machine};

/// The largest number of queued events. Beyond it the oldest are dropped, as they are outdated.
const EVENTS_MAX: usize = 256;

/// A player: knows the state of the world, and sends a move once a tick. At the end of the game it sends the goodbye by
/// itself. The owner chooses the direction with [`steer`](Self::steer).
#[derive(Debug)]
pub struct Player {
    link: Link,
    setup: Option<Setup>,
    /// The newest snapshots, the newest last: the bases of updates.
    history: VecDeque<Snapshot>,
    direction: Direction,
    /// The last moves, the newest last, and the number of all moves.
    moves: VecDeque<Direction>,
    number: u32,
    /// The number of the last move that the game has received.
    confirmed: u32,
    /// When to send the next move; `None` before setup and snapshot have arrived, and after the last snapshot.
    move_at: Option<Duration>,
    events: VecDeque<Event>,
    pong: Option<String>,
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
    /// The constants of the match. Occurs once.
    Setup(Setup),
    /// A new state of the world, one or several ticks later.
    Snapshot(Snapshot),
}

impl Player {
    /// A player that joins the assigned game.
    pub fn new(assignment: &Assignment) -> Self {
        Self::on(Link::new(assignment))
    }

    /// A player on an existing link, which may be established already.
    pub fn on(link: Link) -> Self {
        Self {
            link,
            setup: None,
            history: VecDeque::with_capacity(HISTORY as usize),
            direction: Direction::Stand,
            moves: VecDeque::with_capacity(MOVES_MAX),
            number: 0,
            confirmed: 0,
            move_at: None,
            events: VecDeque::new(),
            pong: None,
        }
    }

    /// The constants of the match, once they have arrived.
    pub fn setup(&self) -> Option<&Setup> {
        self.setup.as_ref()
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.history.back()
    }

    /// Sets the direction from the next tick on.
    pub fn steer(&mut self, direction: Direction) {
        self.direction = direction;
    }

    /// The current direction.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Sends a ping, whose answer is returned by [`poll_pong`](Self::poll_pong); see [`Link::ping`].
    pub fn ping(&mut self, now: Duration, text: &str) {
        self.link.ping(now, text);
    }

    /// The text of the latest answer to a ping, once.
    pub fn poll_pong(&mut self) -> Option<String> {
        self.pong.take()
    }

    fn handle_link_events(&mut self, now: Duration) {
        while let Some(event) = self.link.poll_event() {
            self.handle_link_event(now, event);
        }
    }

    fn handle_link_event(&mut self, now: Duration, event: LinkEvent) {
        match event {
            LinkEvent::Welcome { slot, players } => self.tell(Event::Welcome { slot, players }),
            LinkEvent::Pong(text) => self.pong = Some(text),
            LinkEvent::Words(words) => match FromArena::parse(&words) {
                Some(FromArena::Setup(setup)) => self.handle_setup(setup),
                Some(FromArena::Update(update)) => self.handle_update(now, &update),
                None => {}
            },
        }
    }

    fn handle_setup(&mut self, setup: Setup) {
        if self.setup.is_none() {
            self.setup = Some(setup.clone());
            self.tell(Event::Setup(setup));
        }
    }

    /// Applies an update that is newer than the known state, and whose base is known. Others are late, copies, or
    /// invalid; the next one will do.
    fn handle_update(&mut self, now: Duration, update: &Update) {
        if self.snapshot().is_some_and(|newest| newest.number >= update.number) {
            return;
        }
        let has_number = |number| move |snapshot: &&Snapshot| snapshot.number == number;
        let base = update.base.and_then(|number| self.history.iter().find(has_number(number)));
        let Some(snapshot) = update.apply(base) else { return };
        self.remember(snapshot);
        self.confirmed = self.confirmed.max(update.input.min(self.number));
        self.tell(Event::Snapshot(snapshot));
        if snapshot.standing.is_end() {
            // The goodbye acknowledges the end.
            self.move_at = None;
            self.link.leave(now);
        } else if self.move_at.is_none() && self.setup.is_some() && self.link.is_inside() {
            // The first move acknowledges the setup.
            self.move_at = Some(now);
        }
    }

    /// Keeps the snapshots that can still be the base of an update.
    fn remember(&mut self, snapshot: Snapshot) {
        let is_too_old = |known: &Snapshot| snapshot.number - known.number >= HISTORY;
        while self.history.front().is_some_and(is_too_old) {
            self.history.pop_front();
        }
        self.history.push_back(snapshot);
        debug_assert!(self.history.len() <= HISTORY as usize);
    }

    /// Sends the next move, with the previous ones that the game may not have received.
    fn say_move(&mut self, now: Duration, due: Duration) {
        if self.moves.len() == MOVES_MAX {
            self.moves.pop_front();
        }
        self.moves.push_back(self.direction);
        self.number = self.number.saturating_add(1);
        let unconfirmed = usize::try_from(self.number - self.confirmed).unwrap_or(MOVES_MAX);
        let count = unconfirmed.clamp(1, self.moves.len());
        let moves = self.moves.range(self.moves.len() - count..).copied().collect();
        let ack = self.snapshot().map_or(0, |newest| newest.number);
        if let Some(input) = Input::new(self.number, ack, moves) {
            self.link.say(now, input.to_string());
        }
        // On schedule, unless that has passed: late moves are worthless.
        let period = self.setup.as_ref().map(|setup| Duration::from_secs(1) / setup.hz.max(1));
        self.move_at = period.map(|period| (due + period).max(now + period / 2));
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
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
        if let Some(due) = self.move_at.filter(|at| now >= *at) {
            self.say_move(now, due);
        }
        self.link.handle_timeout(now);
    }

    fn leave(&mut self, now: Duration) {
        self.move_at = None;
        self.link.leave(now);
    }

    fn next_deadline(&self) -> Option<Duration> {
        let link = self.link.next_deadline()?;
        Some(self.move_at.map_or(link, |at| link.min(at)))
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
    use game_child::arena::Standing;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const WHOLE: &str = "left=9 is=playing p0=300,300,0 p1=400,300,2 c0=1,1 c1=2,1 c2=3,1 c3=4,1 c4=5,1 c5=6,1 \
                         c6=7,1 c7=8,1";

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
        player.handle_datagram(ms(0), b"WELCOME 17 slot=0 players=2");
        player.handle_datagram(ms(0), b"ARENA hz=50 points=30 you=0 n0=ada n1=bob");
        player.handle_datagram(ms(0), format!("SNAP 1 0 in=0 {WHOLE}").as_bytes());
        player
    }

    fn said(player: &mut Player) -> Vec<String> {
        let said = std::iter::from_fn(|| player.poll_transmit());
        said.map(|datagram| String::from_utf8(datagram).unwrap()).collect()
    }

    fn number(player: &Player) -> u32 {
        player.snapshot().unwrap().number
    }

    #[test]
    fn a_move_is_sent_every_tick_with_those_that_may_be_lost() {
        let mut player = player();
        player.handle_timeout(ms(0));
        assert_eq!(said(&mut player), ["INPUT 1 1 5"]);
        assert_eq!(player.next_deadline(), Some(ms(20)));
        player.steer(Direction::Right);
        player.handle_timeout(ms(20));
        player.handle_timeout(ms(40));
        assert_eq!(said(&mut player), ["INPUT 2 1 56", "INPUT 3 1 566"]);
        player.handle_datagram(ms(41), b"SNAP 3 1 in=2 left=7 is=playing p0=310,,");
        player.handle_timeout(ms(60));
        assert_eq!(said(&mut player), ["INPUT 4 3 66"]);
        for tick in 4..20 {
            player.handle_timeout(ms(20 * tick));
        }
        assert_eq!(said(&mut player).last().unwrap(), "INPUT 20 3 66666666");
    }

    #[test]
    fn a_late_player_does_not_catch_up() {
        let mut player = player();
        player.handle_timeout(ms(0));
        player.handle_timeout(ms(500));
        assert_eq!(player.next_deadline(), Some(ms(510)));
        player.handle_timeout(ms(510));
        assert!(player.next_deadline() > Some(ms(519)));
    }

    #[test]
    fn only_newer_updates_with_a_known_base_are_applied() {
        let mut player = player();
        player.handle_datagram(ms(1), b"SNAP 5 1 in=0 left=5 is=playing p1=,,3");
        assert_eq!(player.snapshot().unwrap().runners[1].unwrap().score, 3);
        for datagram in [
            "SNAP 4 1 in=0 left=5 is=playing p1=,,1".to_owned(),
            "SNAP 5 1 in=0 left=5 is=playing p1=,,1".to_owned(),
            format!("SNAP 5 0 in=0 {WHOLE}"),
            "SNAP 6 2 in=0 left=5 is=playing p1=,,1".to_owned(),
            "SNAP 6 1 in=0 left=5 is=playing p7=,,1".to_owned(),
            "SNAP 6 1 in=0 left=5 is=playing p1=0,0,1".to_owned(),
            "SNAP 6 1".to_owned(),
        ] {
            player.handle_datagram(ms(2), datagram.as_bytes());
            assert_eq!(number(&player), 5, "{datagram}");
        }
        player.handle_datagram(ms(3), b"SNAP 65 1 in=0 left=5 is=playing");
        assert_eq!(number(&player), 65, "the oldest base that a game may name");
        player.handle_datagram(ms(4), b"SNAP 66 1 in=0 left=5 is=playing");
        assert_eq!(number(&player), 65, "forgotten");
        player.handle_datagram(ms(4), format!("SNAP 1000 0 in=9 {WHOLE}").as_bytes());
        assert_eq!((number(&player), player.history.len()), (1000, 1));
        assert_eq!(player.confirmed, 0, "moves that were never made cannot be received");
    }

    #[test]
    fn after_the_end_no_update_is_applied_and_the_player_leaves() {
        let mut player = player();
        player.handle_datagram(ms(1), b"SNAP 9 1 in=0 left=0 is=finished winner=1");
        let mut last = None;
        while let Some(event) = player.poll_event() {
            last = Some(event);
        }
        let Some(Event::Snapshot(end)) = last else { panic!("{last:?}") };
        assert_eq!(end.standing, Standing::Finished { winner: Some(1) });
        assert_eq!(said(&mut player), ["BYE"]);
        player.handle_timeout(ms(50));
        assert_eq!(said(&mut player), [] as [&str; 0], "no moves after the end");
    }

    #[test]
    fn queued_events_are_bounded() {
        let mut player = player();
        for number in 2..1000 {
            player.handle_datagram(ms(1), format!("SNAP {number} 0 in=0 {WHOLE}").as_bytes());
        }
        assert_eq!(std::iter::from_fn(|| player.poll_event()).count(), EVENTS_MAX);
        assert!(player.history.len() <= HISTORY as usize);
    }

    #[test]
    fn a_ping_is_sent_and_its_answer_is_returned_once() {
        let mut player = player();
        said(&mut player);
        player.ping(ms(1), "7");
        assert_eq!(said(&mut player), ["PING 7"]);
        assert_eq!(player.poll_pong(), None);
        player.handle_datagram(ms(1), b"PONG 7");
        assert_eq!((player.poll_pong().as_deref(), player.poll_pong()), (Some("7"), None));
    }
}
