//! A match over an unreliable network: players, their bots, the game, and the time. No socket, no clock: every run
//! follows from its seed, and a seed that fails fails again.

use std::net::SocketAddr;
use std::time::Duration;

use client::{Assignment, Machine};
use game_child::{Game, Match, Session};
use protocol::{FromGame, Seat};
use serde_json::{Map, Value};

use super::{Network, Over, To, address, token};

/// No match takes nearly as long, however bad the network.
const TIME_MAX: Duration = Duration::from_secs(120);

/// How the players of a game play, and what a test observes.
pub(crate) trait Play {
    type Game: Game;
    type Machine: Machine;
    /// A player's decisions, and what they have seen.
    type Bot;

    fn machine(assignment: &Assignment) -> Self::Machine;

    /// Handles a player's events, and decides. `now` is the time on the player's own clock.
    fn act(&mut self, now: Duration, slot: usize, player: &mut Self::Machine, bot: &mut Self::Bot);

    /// The game has changed.
    fn observe(&mut self, _game: &Self::Game) {}

    /// The game sends a datagram.
    fn observe_datagram(&mut self, _datagram: &[u8]) {}
}

pub(crate) struct World<P: Play> {
    pub(crate) now: Duration,
    pub(crate) network: Network,
    /// The longest pause of the game's process, which stops now and then. `None`: it never does.
    pub(crate) pause_ms_max: Option<u64>,
    pub(crate) game: Session<P::Game>,
    pub(crate) players: Vec<Seated<P>>,
    pub(crate) play: P,
    pub(crate) messages: Vec<FromGame>,
    over: Over,
}

pub(crate) struct Seated<P: Play> {
    pub(crate) player: P::Machine,
    pub(crate) bot: P::Bot,
    /// When this player falls silent.
    pub(crate) vanishes_at: Option<Duration>,
    /// When the player returns, as a program that knows nothing of the match.
    pub(crate) returns_at: Option<Duration>,
    address: SocketAddr,
    /// When the player's own clock started.
    pub(crate) born: Duration,
}

/// The match 17 for players with these names.
pub(crate) fn match_of(over: Over, names: impl IntoIterator<Item = String>) -> Match {
    let seats = names.into_iter().enumerate();
    let seats = seats.map(|(slot, name)| Seat { slot, name, token: token(slot) });
    over.of(Match::new("17".into(), seats.collect(), 10_000, 600_000).unwrap())
}

impl<P: Play> World<P> {
    pub(crate) fn new(
        over: Over,
        network: Network,
        game: Session<P::Game>,
        play: P,
        bot: impl Fn(usize) -> P::Bot,
    ) -> Self {
        let players = game.setup().names().len();
        let seated = |slot| Seated {
            player: P::machine(&over.assignment(slot, players)),
            bot: bot(slot),
            vanishes_at: None,
            returns_at: None,
            address: address(slot),
            born: Duration::ZERO,
        };
        let players = (0..players).map(seated).collect();
        let (now, pause_ms_max, messages) = (Duration::ZERO, None, Vec::new());
        Self { now, network, pause_ms_max, game, players, play, messages, over }
    }

    /// Everything that happens at this moment: events, decisions, datagrams.
    pub(crate) fn settle(&mut self) {
        self.play.observe(self.game.game());
        for (slot, seated) in self.players.iter_mut().enumerate() {
            let now = self.now - seated.born;
            self.play.act(now, slot, &mut seated.player, &mut seated.bot);
            while let Some(datagram) = seated.player.poll_transmit() {
                self.network.send(self.now, To::Game { from: seated.address }, &datagram);
            }
        }
        while let Some((to, datagram)) = self.game.poll_transmit() {
            self.play.observe_datagram(&datagram);
            // Datagrams to a player's previous address are lost.
            if let Some(slot) = self.players.iter().position(|seated| seated.address == to) {
                self.network.send(self.now, To::Player(slot), &datagram);
            }
        }
        self.messages.extend(std::iter::from_fn(|| self.game.poll_message()));
    }

    fn has_vanished(&self, slot: usize) -> bool {
        self.players[slot].vanishes_at.is_some_and(|at| self.now >= at)
    }

    fn next_event_at(&self) -> Option<Duration> {
        let arrival = self.network.next_arrival();
        let game = (!self.game.is_over()).then(|| self.game.next_deadline());
        let players = (0..self.players.len()).filter(|slot| !self.has_vanished(*slot));
        let players = players.filter_map(|slot| {
            let seated = &self.players[slot];
            Some(seated.player.next_deadline()? + seated.born)
        });
        let returns = self.players.iter().filter_map(|seated| seated.returns_at);
        arrival.into_iter().chain(game).chain(players).chain(returns).min()
    }

    /// Players whose time it is return: Muster notifies the game, and the player has another token.
    fn bring_back(&mut self) {
        let players = self.players.len();
        for (slot, seated) in self.players.iter_mut().enumerate() {
            if seated.returns_at.take_if(|at| *at <= self.now).is_none() {
                continue;
            }
            let mut assignment = self.over.assignment(slot, players);
            if self.over == Over::Plain {
                assignment.token = token(slot + players).to_string();
            }
            seated.player = P::machine(&assignment);
            (seated.vanishes_at, seated.born) = (None, self.now);
            seated.address = address(slot + players);
            let player = Seat { slot, name: "back".into(), token: token(slot + players) };
            assert!(self.game.handle_rejoin(self.now, &player));
        }
    }

    fn deliver(&mut self) {
        while let Some(arrival) = self.network.receive(self.now) {
            match arrival {
                (To::Game { .. }, _) if self.game.is_over() => {}
                (To::Game { from }, datagram) => {
                    self.game.handle_datagram(self.now, from, &datagram);
                }
                (To::Player(slot), _) if self.has_vanished(slot) => {}
                (To::Player(slot), datagram) => {
                    let seated = &mut self.players[slot];
                    seated.player.handle_datagram(self.now - seated.born, &datagram);
                }
            }
            self.settle();
        }
    }

    /// Runs until nothing more will happen.
    pub(crate) fn run(&mut self) {
        self.settle();
        while let Some(at) = self.next_event_at() {
            self.now = self.now.max(at);
            assert!(self.now < TIME_MAX, "the game does not end");
            self.bring_back();
            self.deliver();
            if !self.game.is_over() && self.game.next_deadline() <= self.now {
                self.pause();
                self.game.handle_timeout(self.now);
            }
            for slot in 0..self.players.len() {
                let now = self.now - self.players[slot].born;
                let player = &mut self.players[slot].player;
                let is_due = player.next_deadline().is_some_and(|at| at <= now);
                if is_due && !self.has_vanished(slot) {
                    self.players[slot].player.handle_timeout(now);
                }
            }
            self.settle();
        }
        assert!(self.game.is_over());
    }

    fn pause(&mut self) {
        let dice = &mut self.network.dice;
        if let Some(max) = self.pause_ms_max.filter(|_| dice.below(30) == 0) {
            self.now += Duration::from_millis(dice.next() % (max + 1));
        }
    }

    pub(crate) fn result(&self) -> &Map<String, Value> {
        let mut results = self.messages.iter().filter_map(|message| match message {
            FromGame::Result { fields } => Some(fields),
            _ => None,
        });
        let result = results.next().expect("a result");
        assert!(results.next().is_none(), "one result");
        result
    }

    /// How often the game has sent a message to Muster.
    pub(crate) fn count(&self, message: &FromGame) -> usize {
        self.messages.iter().filter(|sent| *sent == message).count()
    }

    /// Datagrams of random bytes and of `words` in any order, from strangers, and from the addresses of the first
    /// two players and of the game, during the first seconds of the match.
    pub(crate) fn add_garbage(&mut self, datagrams: usize, words: &[&str]) {
        self.settle();
        let dice = |world: &mut Self, count: usize| world.network.dice.below(count);
        for _ in 0..datagrams {
            let count = dice(self, 8);
            let mut garbage = Vec::new();
            for _ in 0..count {
                garbage.extend(words[dice(self, words.len())].bytes());
            }
            let count = dice(self, 9);
            garbage.extend((0..count).map(|_| (self.network.dice.next() & 0xff) as u8));
            let to = match dice(self, 4) {
                0 => To::Game { from: address(dice(self, 2)) },
                1 => To::Player(dice(self, 2)),
                _ => To::Game { from: address(7) },
            };
            let at = Duration::from_millis(self.network.dice.next() % 3000);
            self.network.deliver(at, to, garbage);
        }
    }
}
