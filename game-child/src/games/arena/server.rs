//! Arena: the server's side of the [messages](super).
//!
//! Everything happens at a fixed tick. Messages of players wait for it: a tick takes one move of each player, advances
//! the world, and sends each player its state, as the difference from the newest snapshot that the player has
//! acknowledged. Nothing is repeated; what was lost is part of the next message. The end of the game is a snapshot like
//! the others: the process stays until all players have acknowledged it, or for [`END_MAX`].

use std::collections::VecDeque;
use std::time::Duration;

use super::{
    Direction, FromArena, HISTORY, Input, MOVES_MAX, PLAYERS_MAX, Setup, Snapshot, Standing, Update,
};
use serde_json::{Map, Value, json};

use super::histogram::Histogram;
use super::limits::{DURATION_MAX, END_MAX, LIVELY_MAX, POINTS_MAX, WAITING_MAX};
use super::world::{World, seed_of};
use crate::{BadStart, Game, Match, Outbox, Tick};

/// How often the setup is sent, until the first move of a player shows that it arrived.
const SETUP_PERIOD: Duration = Duration::from_millis(100);

/// The period of snapshots for a player who sends nothing.
const IDLE_PERIOD: Duration = Duration::from_millis(100);

/// The number of moves of a player that usually wait; a tick drops one of more.
const WAITING_USUAL: usize = 2;

/// The rate of ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rate {
    /// 30 times in a second.
    #[default]
    Hz30,
    /// 60 times in a second.
    Hz60,
}

impl Rate {
    /// Ticks per second.
    pub const fn hz(self) -> u16 {
        match self {
            Self::Hz30 => 30,
            Self::Hz60 => 60,
        }
    }

    /// The length of a tick.
    pub const fn period(self) -> Duration {
        Duration::from_nanos(1_000_000_000 / self.hz() as u64)
    }
}

/// The options of a game.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The rate of ticks.
    pub rate: Rate,
    /// The longest duration of the game; at most [`DURATION_MAX`].
    pub duration: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self { rate: Rate::default(), duration: Duration::from_secs(60) }
    }
}

/// A game of arena for 2 to 16 players.
///
/// Its result is e.g.
/// `{"outcome":"finished","winner":1,"winner_name":"bob","scores":[12,30],"ticks":812, "ticks_missed":0,"lateness_us":{"p50":9,"p99":71,"max":180},"duration_ms":27070}`;
/// the outcome is `finished` (enough points, or the time is up), `abandoned` (all players left, or none joined) or
/// `stopped` (from outside). Ticks count from when the first player joined.
pub struct Arena {
    rules: Rules,
    names: Vec<String>,
    world: World,
    players: Vec<Player>,
    /// The number of the last tick, including missed ones.
    number: u32,
    /// The snapshots after the last ticks, the newest last: the bases of updates.
    history: VecDeque<Snapshot>,
    lateness_us: Histogram,
    ticks_missed: u64,
    began: Option<Duration>,
    end: Option<End>,
    /// Whether the end was sent for long enough.
    end_sent: bool,
}

struct End {
    at: Duration,
    /// The number of the first snapshot that shows it.
    number: u32,
}

/// The server's state of one player.
struct Player {
    presence: Presence,
    /// Moves that no tick has taken, the oldest first.
    waiting: VecDeque<Direction>,
    direction: Direction,
    /// The number of the newest received move; 0 is none.
    input: u32,
    /// The number of the newest snapshot that the player has; 0 is none.
    acknowledged: u32,
    input_at: Duration,
    sent_at: Duration,
    setup_sent_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Expected,
    Present,
    Absent,
    Gone,
}

impl Arena {
    /// A game for the players of a match.
    ///
    /// # Errors
    /// When the match is not one of 2 to 16 players.
    pub fn new(setup: &Match, rules: Rules) -> Result<Self, BadStart> {
        let players = setup.names().len();
        if !(2..=PLAYERS_MAX).contains(&players) {
            let wanted = format!("2 to {PLAYERS_MAX}");
            return Err(BadStart::Players { given: players, wanted });
        }
        let ticks_max =
            rules.duration.min(DURATION_MAX).as_millis() * u128::from(rules.rate.hz()) / 1000;
        let ticks_max = u32::try_from(ticks_max).unwrap_or(u32::MAX).max(1);
        let seed = seed_of(setup.id());
        Ok(Self {
            rules,
            names: setup.names().to_vec(),
            world: World::new(rules.rate.hz(), players, ticks_max, POINTS_MAX, seed),
            players: (0..players).map(|_| Player::new()).collect(),
            number: 0,
            history: VecDeque::with_capacity(HISTORY as usize),
            lateness_us: Histogram::default(),
            ticks_missed: 0,
            began: None,
            end: None,
            end_sent: false,
        })
    }

    /// The world after the last tick; `None` before the first one.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.history.back()
    }

    /// Advances the world by a tick.
    fn step(&mut self) {
        let directions: Vec<Direction> = self.players.iter_mut().map(Player::take_move).collect();
        self.world.step(&directions);
    }

    /// Notes the end. Its number is that of the next snapshot: the first one that shows it.
    fn notice_end(&mut self, now: Duration, number: u32) {
        if self.end.is_none() && self.world.standing().is_end() {
            self.end = Some(End { at: now, number });
        }
    }

    fn remember(&mut self, snapshot: Snapshot) {
        debug_assert!(self.history.back().is_none_or(|newest| newest.number < snapshot.number));
        if self.history.len() == HISTORY as usize {
            self.history.pop_front();
        }
        self.history.push_back(snapshot);
    }

    /// Sends a player the messages that are due.
    fn tell(&mut self, now: Duration, slot: usize, snapshot: &Snapshot, outbox: &mut Outbox) {
        let player = &self.players[slot];
        let is_lively = player.input > 0 && now <= player.input_at + LIVELY_MAX;
        let is_due = is_lively || now >= player.sent_at + IDLE_PERIOD;
        let is_end = self.end.as_ref().is_some_and(|end| end.number == snapshot.number);
        if player.presence != Presence::Present || !(is_due || is_end) {
            return;
        }
        if player.input == 0 && now >= player.setup_sent_at + SETUP_PERIOD {
            self.tell_setup(now, slot, outbox);
        }
        let player = &mut self.players[slot];
        player.sent_at = now;
        // If everything has changed since the base, the update is longer by the digits of the base's number: cheaper
        // than building both to choose.
        let base = base(&self.history, snapshot.number, player.acknowledged);
        let update = Update::new(snapshot, base, player.input);
        outbox.send(slot, FromArena::Update(Box::new(update)).to_string());
    }

    fn tell_setup(&mut self, now: Duration, slot: usize, outbox: &mut Outbox) {
        let setup = Setup {
            hz: self.rules.rate.hz().into(),
            points: POINTS_MAX,
            you: slot,
            names: self.names.clone(),
        };
        outbox.send(slot, FromArena::Setup(setup).to_string());
        self.players[slot].setup_sent_at = now;
    }

    fn set_presence(&mut self, slot: usize, presence: Presence) {
        self.players[slot].presence = presence;
        let is_awaited = |player: &Player| player.presence == Presence::Expected;
        if !self.players.iter().any(is_awaited) {
            self.world.begin();
        }
    }

    fn outcome(&self) -> &'static str {
        match self.world.standing() {
            Standing::Waiting | Standing::Playing => "abandoned",
            Standing::Finished { .. } | Standing::Stopped => self.world.standing().word(),
        }
    }
}

/// The snapshot with a number, if both sides still have it.
fn base(history: &VecDeque<Snapshot>, newest: u32, number: u32) -> Option<&Snapshot> {
    if newest.saturating_sub(number) >= HISTORY {
        return None;
    }
    history.iter().find(|snapshot| snapshot.number == number)
}

impl Player {
    fn new() -> Self {
        Self {
            presence: Presence::Expected,
            waiting: VecDeque::with_capacity(WAITING_MAX),
            direction: Direction::Stand,
            input: 0,
            acknowledged: 0,
            input_at: Duration::ZERO,
            sent_at: Duration::ZERO,
            setup_sent_at: Duration::ZERO,
        }
    }

    /// Takes the new moves. Moves that arrived before, copies and reordered ones are known already.
    fn handle_input(&mut self, now: Duration, newest: u32, input: &Input) {
        self.input_at = now;
        // A snapshot that does not exist cannot have arrived.
        if input.ack <= newest {
            self.acknowledged = self.acknowledged.max(input.ack);
        }
        for (number, direction) in input.moves() {
            if number > self.input {
                self.input = number;
                self.waiting.push_back(direction);
            }
        }
        debug_assert!(self.waiting.len() <= WAITING_MAX + MOVES_MAX);
        while self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
        }
    }

    /// The move for a tick. Without a new one the player continues as before.
    fn take_move(&mut self) -> Direction {
        if self.waiting.len() > WAITING_USUAL {
            self.waiting.pop_front();
        }
        self.direction = self.waiting.pop_front().unwrap_or(self.direction);
        self.direction
    }
}

impl Game for Arena {
    fn handle_joined(&mut self, now: Duration, slot: usize, outbox: &mut Outbox) {
        self.began.get_or_insert(now);
        // A returning player starts counting again, and has no snapshot as a base.
        self.players[slot] = Player::new();
        self.world.enter(slot);
        self.set_presence(slot, Presence::Present);
        self.tell_setup(now, slot, outbox);
    }

    fn handle_words(&mut self, now: Duration, slot: usize, words: &str, _outbox: &mut Outbox) {
        if let Some(input) = Input::parse(words) {
            self.players[slot].handle_input(now, self.number, &input);
        }
    }

    /// An absent player is not on the map, and keeps the points.
    fn handle_away(&mut self, now: Duration, slot: usize, outbox: &mut Outbox) {
        self.handle_left(now, slot, outbox);
    }

    fn handle_left(&mut self, _now: Duration, slot: usize, _outbox: &mut Outbox) {
        self.world.leave(slot);
        self.set_presence(slot, Presence::Gone);
    }

    fn handle_absent(&mut self, _now: Duration, slot: usize, _outbox: &mut Outbox) {
        self.set_presence(slot, Presence::Absent);
    }

    /// The next tick never comes: a last snapshot is sent at once.
    fn handle_stop(&mut self, now: Duration, outbox: &mut Outbox) {
        self.world.stop();
        self.number += 1;
        self.notice_end(now, self.number);
        let snapshot = self.world.snapshot(self.number);
        for slot in 0..self.players.len() {
            self.tell(now, slot, &snapshot, outbox);
        }
        self.remember(snapshot);
    }

    /// The world also advances by the missed ticks: a second is a second, however busy the machine is.
    fn handle_tick(&mut self, now: Duration, tick: Tick, outbox: &mut Outbox) {
        if self.end.as_ref().is_some_and(|end| now >= end.at + END_MAX) {
            self.end_sent = true;
            return;
        }
        if self.end.is_none() {
            let lateness_us = now.saturating_sub(tick.due).as_micros();
            self.lateness_us.record(u64::try_from(lateness_us).unwrap_or(u64::MAX));
            self.ticks_missed += tick.missed;
        }
        let ticks = 1 + u32::try_from(tick.missed).unwrap_or(u32::MAX - 1);
        self.number = self.number.saturating_add(ticks);
        for _ in 0..ticks {
            if self.world.standing() != Standing::Playing {
                break;
            }
            self.step();
        }
        self.notice_end(now, self.number);
        let snapshot = self.world.snapshot(self.number);
        for slot in 0..self.players.len() {
            self.tell(now, slot, &snapshot, outbox);
        }
        self.remember(snapshot);
    }

    fn tick_period(&self) -> Option<Duration> {
        self.began.filter(|_| !self.end_sent).map(|_| self.rules.rate.period())
    }

    fn is_decided(&self) -> bool {
        self.end.is_some()
    }

    fn is_over(&self) -> bool {
        let Some(end) = &self.end else { return false };
        let has_it = |player: &Player| {
            player.presence != Presence::Present || player.acknowledged >= end.number
        };
        self.end_sent || self.players.iter().all(has_it)
    }

    fn result(&self, now: Duration) -> Map<String, Value> {
        let winner = match self.world.standing() {
            Standing::Finished { winner } => winner,
            Standing::Waiting | Standing::Playing | Standing::Stopped => None,
        };
        let end = self.end.as_ref().map_or(now, |end| end.at);
        let duration_ms = self.began.map_or(0, |began| end.saturating_sub(began).as_millis());
        let lateness_us = json!({
            "p50": self.lateness_us.percentile(50),
            "p99": self.lateness_us.percentile(99),
            "max": self.lateness_us.max(),
        });
        Map::from_iter([
            ("outcome".to_owned(), json!(self.outcome())),
            ("winner".to_owned(), json!(winner)),
            ("winner_name".to_owned(), json!(winner.map(|slot| &self.names[slot]))),
            ("scores".to_owned(), json!(self.world.scores())),
            ("ticks".to_owned(), json!(self.lateness_us.count())),
            ("ticks_missed".to_owned(), json!(self.ticks_missed)),
            ("lateness_us".to_owned(), lateness_us),
            ("duration_ms".to_owned(), json!(u64::try_from(duration_ms).unwrap_or(u64::MAX))),
        ])
    }
}
