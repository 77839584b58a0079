//! The player's side of the messages in [`game_child::arena`].

use std::collections::VecDeque;
use std::time::Duration;

use game_child::arena::{Direction, FromArena, HISTORY, Input, MOVES_MAX, Setup, Snapshot, Update};

use crate::playing::{Io, Playing, Rules};
use crate::{Link, Machine as _};

/// A player: knows the newest snapshot, and sends a move once a tick. It leaves at the end of the game. Its owner
/// chooses the direction, with [`steer`](Player::steer).
pub type Player = Playing<Arena>;

/// A player's knowledge of the game.
#[derive(Debug, Default)]
pub struct Arena {
    setup: Option<Setup>,
    /// The newest snapshots, the newest last: the bases of updates.
    history: VecDeque<Snapshot>,
    direction: Direction,
    /// The last moves, the newest last, and the number of all moves.
    moves: VecDeque<Direction>,
    number: u32,
    /// The number of the last move that the game has received.
    acknowledged: u32,
    /// When to send the next move; `None` before the setup and the first snapshot, and after the last snapshot.
    move_at: Option<Duration>,
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
    /// The constants of this match; occurs once.
    Setup(Setup),
    /// The world after another tick, or several.
    Snapshot(Snapshot),
}

impl Player {
    /// The constants of this match, once they have arrived.
    pub fn setup(&self) -> Option<&Setup> {
        self.rules.setup.as_ref()
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.rules.history.back()
    }

    /// Sets the direction from the next tick on.
    pub fn steer(&mut self, direction: Direction) {
        self.rules.direction = direction;
    }

    /// The direction of the player.
    pub fn direction(&self) -> Direction {
        self.rules.direction
    }
}

impl Arena {
    fn handle_setup(&mut self, setup: Setup, io: &mut Io<'_, Event>) {
        if self.setup.is_none() {
            self.setup = Some(setup.clone());
            io.emit(Event::Setup(setup));
        }
    }

    /// Applies an update that is newer than the last snapshot, and whose base is known. Any other one is late, a
    /// copy, or invalid; the next one will do.
    fn handle_update(&mut self, now: Duration, update: &Update, io: &mut Io<'_, Event>) {
        if self.history.back().is_some_and(|newest| newest.number >= update.number) {
            return;
        }
        let has_number = |number| move |snapshot: &&Snapshot| snapshot.number == number;
        let base = update.base.and_then(|number| self.history.iter().find(has_number(number)));
        let Some(snapshot) = update.apply(base) else { return };
        self.remember(snapshot);
        self.acknowledged = self.acknowledged.max(update.input.min(self.number));
        io.emit(Event::Snapshot(snapshot));
        if snapshot.standing.is_end() {
            // The goodbye tells the game that its end has arrived.
            self.move_at = None;
            io.link.leave(now);
        } else if self.move_at.is_none() && self.setup.is_some() && io.link.is_inside() {
            // The first move tells the game that its setup has arrived.
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

    /// Sends the next move, with those before it that the game may not have received.
    fn send_move(&mut self, now: Duration, due: Duration, link: &mut Link) {
        if self.moves.len() == MOVES_MAX {
            self.moves.pop_front();
        }
        self.moves.push_back(self.direction);
        self.number = self.number.saturating_add(1);
        let pending = usize::try_from(self.number - self.acknowledged).unwrap_or(MOVES_MAX);
        let count = pending.clamp(1, self.moves.len());
        let moves = self.moves.range(self.moves.len() - count..).copied().collect();
        let ack = self.history.back().map_or(0, |newest| newest.number);
        if let Some(input) = Input::new(self.number, ack, moves) {
            link.say(now, input.to_string());
        }
        // On schedule, unless that has passed already: late moves are worthless.
        let period = self.setup.as_ref().map(|setup| Duration::from_secs(1) / setup.hz.max(1));
        self.move_at = period.map(|period| (due + period).max(now + period / 2));
    }
}

impl Rules for Arena {
    type Event = Event;

    fn welcome(slot: usize, players: usize) -> Event {
        Event::Welcome { slot, players }
    }

    fn handle_words(&mut self, now: Duration, words: &str, io: &mut Io<'_, Event>) {
        match FromArena::parse(words) {
            Some(FromArena::Setup(setup)) => self.handle_setup(setup, io),
            Some(FromArena::Update(update)) => self.handle_update(now, &update, io),
            None => {}
        }
    }

    fn handle_timeout(&mut self, now: Duration, link: &mut Link) {
        if let Some(due) = self.move_at.filter(|at| now >= *at) {
            self.send_move(now, due, link);
        }
    }

    fn handle_leave(&mut self) {
        self.move_at = None;
    }

    fn next_deadline(&self) -> Option<Duration> {
        self.move_at
    }
}

#[cfg(test)]
mod tests {
    use game_child::arena::Standing;

    use super::*;
    use crate::playing::tests::{sent, welcomed};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const WHOLE: &str = "left=9 is=playing p0=300,300,0 p1=400,300,2 c0=1,1 c1=2,1 c2=3,1 c3=4,1 c4=5,1 c5=6,1 \
                         c6=7,1 c7=8,1";

    fn player() -> Player {
        let mut player: Player = welcomed(ms(0));
        player.handle_datagram(ms(0), b"ARENA hz=50 points=30 you=0 n0=ada n1=bob");
        player.handle_datagram(ms(0), format!("SNAP 1 0 in=0 {WHOLE}").as_bytes());
        player
    }

    fn number(player: &Player) -> u32 {
        player.snapshot().unwrap().number
    }

    #[test]
    fn a_move_is_sent_every_tick_with_those_that_the_game_may_not_have() {
        let mut player = player();
        player.handle_timeout(ms(0));
        assert_eq!(sent(&mut player), ["INPUT 1 1 5"]);
        assert_eq!(player.next_deadline(), Some(ms(20)));
        player.steer(Direction::Right);
        player.handle_timeout(ms(20));
        player.handle_timeout(ms(40));
        assert_eq!(sent(&mut player), ["INPUT 2 1 56", "INPUT 3 1 566"]);
        player.handle_datagram(ms(41), b"SNAP 3 1 in=2 left=7 is=playing p0=310,,");
        player.handle_timeout(ms(60));
        assert_eq!(sent(&mut player), ["INPUT 4 3 66"]);
        for tick in 4..20 {
            player.handle_timeout(ms(20 * tick));
        }
        assert_eq!(sent(&mut player).last().unwrap(), "INPUT 20 3 66666666");
    }

    #[test]
    fn a_late_player_does_not_send_moves_faster() {
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
        assert_eq!((number(&player), player.rules.history.len()), (1000, 1));
        assert_eq!(player.rules.acknowledged, 0, "moves that were never sent");
    }

    #[test]
    fn the_end_is_the_last_snapshot_and_the_player_leaves() {
        let mut player = player();
        player.handle_datagram(ms(1), b"SNAP 9 1 in=0 left=0 is=finished winner=1");
        let last = std::iter::from_fn(|| player.poll_event()).last();
        let Some(Event::Snapshot(end)) = last else { panic!("{last:?}") };
        assert_eq!(end.standing, Standing::Finished { winner: Some(1) });
        assert_eq!(sent(&mut player), ["BYE"]);
        player.handle_timeout(ms(50));
        assert_eq!(sent(&mut player), [] as [&str; 0], "no moves after the end");
    }

    #[test]
    fn events_that_the_owner_does_not_take_are_bounded() {
        let mut player = player();
        for number in 2..1000 {
            player.handle_datagram(ms(1), format!("SNAP {number} 0 in=0 {WHOLE}").as_bytes());
        }
        assert_eq!(std::iter::from_fn(|| player.poll_event()).count(), 256);
        assert!(player.rules.history.len() <= HISTORY as usize);
    }
}
