//! One match of a game: who is in, who has gone, what is answered, what Muster is told. No socket, no clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::{FromGame, Seat, Secret, netcode};

use crate::PLAYERS_MAX;
use crate::game::{Game, Outbox, Tick};
use crate::netcode::Netcode;
use crate::plain::Plain;
use crate::transport::{Arrival, Transport};

/// What Muster's `start` message says, made sure of.
#[derive(Debug, Clone)]
pub struct Match {
    id: String,
    names: Vec<String>,
    tokens: Vec<Secret>,
    hello_max: Duration,
    length_max: Duration,
    /// `None`: the transport is `plain`.
    netcode: Option<netcode::Netcode>,
}

/// Why a match cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadStart {
    /// Not as many players as the game is for.
    #[error("{given} players; this game is for {wanted} (the mode's `players`)")]
    Players {
        /// How many were named.
        given: usize,
        /// How many the game is for.
        wanted: String,
    },
    /// The slots are not 0, 1, 2 and so on, each once.
    #[error("its players' slots are not 0 to one less than their number, each once")]
    Slots,
    /// Two players have the same token, so that nobody could tell who is who.
    #[error("two of its players have the same token")]
    Tokens,
    /// More players than the transport `netcode` has places for.
    #[error("{0} players; the transport netcode has places for {max}", max = netcode::PLAYERS_MAX)]
    Netcode(usize),
}

impl Match {
    /// Makes sure of the fields of a `start` message.
    ///
    /// # Errors
    /// [`BadStart`] when there are no players or more than [`PLAYERS_MAX`], or they cannot be told apart.
    pub fn new(
        id: String,
        mut players: Vec<Seat>,
        hello_ms: u64,
        max_ms: u64,
    ) -> Result<Self, BadStart> {
        if players.is_empty() || players.len() > PLAYERS_MAX {
            let wanted = format!("1 to {PLAYERS_MAX}");
            return Err(BadStart::Players { given: players.len(), wanted });
        }
        players.sort_by_key(|seat| seat.slot);
        if players.iter().enumerate().any(|(slot, seat)| seat.slot != slot) {
            return Err(BadStart::Slots);
        }
        let tokens: Vec<Secret> = players.iter().map(|seat| seat.token).collect();
        if (1..tokens.len()).any(|slot| tokens[..slot].contains(&tokens[slot])) {
            return Err(BadStart::Tokens);
        }
        Ok(Self {
            id,
            names: players.into_iter().map(|seat| seat.name).collect(),
            tokens,
            hello_max: Duration::from_millis(hello_ms),
            length_max: Duration::from_millis(max_ms),
            netcode: None,
        })
    }

    /// The same match over the transport `netcode`, with what the `start` message says of it.
    ///
    /// # Errors
    /// [`BadStart::Netcode`] when there are more players than connections.
    pub fn over_netcode(self, netcode: netcode::Netcode) -> Result<Self, BadStart> {
        if self.names.len() > netcode::PLAYERS_MAX {
            return Err(BadStart::Netcode(self.names.len()));
        }
        Ok(Self { netcode: Some(netcode), ..self })
    }

    /// How the match's datagrams are to be read and written.
    pub(crate) fn transport(&self) -> Transport {
        let id = self.id.clone();
        match &self.netcode {
            None => Transport::Plain(Plain::new(id, self.tokens.iter().copied())),
            Some(netcode) => Transport::Netcode(Netcode::boxed(id, self.names.len(), netcode)),
        }
    }

    /// The match's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The players' names, by slot: any UTF-8, to be escaped wherever they are shown.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// A match of a game, from the start on. All times are durations since then.
///
/// Its owner hands it datagrams and the time, and after each call takes what there is to send
/// ([`poll_transmit`](Self::poll_transmit)) and to tell Muster ([`poll_message`](Self::poll_message)).
pub struct Session<G> {
    setup: Match,
    transport: Transport,
    presence: Vec<Presence>,
    game: G,
    silence_max: Duration,
    rejoin_wait: Duration,
    backfill: bool,
    /// When the next tick is due, while the game wants any.
    next_tick: Option<Duration>,
    /// The time to come in has passed.
    hello_passed: bool,
    stopped: bool,
    result_told: bool,
    outbox: Outbox,
    messages: VecDeque<FromGame>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Not here yet.
    Expected,
    Present {
        last_heard: Duration,
    },
    /// Lost, or to come back by another token. Until then the game counts on it.
    Away {
        until: Duration,
    },
    /// The game does without it; Muster has said that it comes back, and the match lasts for it until then.
    Gone {
        awaited_until: Option<Duration>,
    },
}

/// Who went for good.
const GONE: Presence = Presence::Gone { awaited_until: None };

impl<G: Game> Session<G> {
    /// Starts a match. A player who says nothing for `silence_max` has left.
    pub fn new(setup: Match, game: G, silence_max: Duration) -> Self {
        Self {
            transport: setup.transport(),
            presence: vec![Presence::Expected; setup.names.len()],
            setup,
            game,
            silence_max,
            rejoin_wait: Duration::ZERO,
            backfill: false,
            next_tick: None,
            hello_passed: false,
            stopped: false,
            result_told: false,
            outbox: Outbox::default(),
            messages: VecDeque::new(),
        }
    }

    /// The same match, in which a player who is lost may come back for so long, and has left only then.
    #[must_use]
    pub fn with_rejoin_wait(self, rejoin_wait: Duration) -> Self {
        Self { rejoin_wait, ..self }
    }

    /// The same match, in which another player is asked for in place of each one who has left.
    #[must_use]
    pub fn with_backfill(self, backfill: bool) -> Self {
        Self { backfill, ..self }
    }

    /// A datagram came. What it costs, and what it is answered with, does not depend on who sent it.
    pub fn handle_datagram(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) {
        if self.is_over() {
            return;
        }
        let arrival = self.transport.handle_datagram(now, from, datagram);
        if let Some((slot, arrival)) = arrival {
            self.handle_arrival(now, slot, arrival);
        }
        self.leave_lost(now);
        self.settle(now);
    }

    fn handle_arrival(&mut self, now: Duration, slot: usize, arrival: Arrival<'_>) {
        let before = self.presence[slot];
        let is_in = matches!(before, Presence::Present { .. });
        if matches!(self.presence[slot], Presence::Gone { .. }) && arrival != Arrival::Entered {
            // A player who has gone may only not know yet that it was heard.
            if arrival == Arrival::Bye {
                self.transport.send(now, slot, "BYE".into());
            }
            return;
        }
        self.presence[slot] = Presence::Present { last_heard: now };
        if arrival == Arrival::Entered {
            self.welcome(now, slot);
        }
        // Who was only silent for too long is in again with whatever it says.
        if !is_in {
            self.messages.push_back(FromGame::Joined { slot });
            self.game.handle_joined(now, slot, &mut self.outbox);
        }
        if before == GONE {
            self.tell_open_slots();
        }
        match arrival {
            Arrival::Entered => {}
            Arrival::HelloAgain => self.welcome(now, slot),
            Arrival::Ping(text) => {
                let pong = if text.is_empty() { "PONG".into() } else { format!("PONG {text}") };
                self.transport.send(now, slot, pong);
                self.game.handle_ping(now, slot);
            }
            Arrival::Bye => {
                self.transport.send(now, slot, "BYE".into());
                self.leave(now, slot);
            }
            Arrival::Words(words) => {
                self.game.handle_words(now, slot, &words, &mut self.outbox);
            }
        }
    }

    /// The time has come that [`next_deadline`](Self::next_deadline) gave. Too early is harmless.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.is_over() {
            return;
        }
        if now >= self.setup.length_max {
            return self.handle_stop(now);
        }
        self.transport.handle_timeout(now);
        self.leave_lost(now);
        for slot in 0..self.presence.len() {
            if self.missed_at(slot).is_some_and(|at| now >= at) {
                self.miss(now, slot);
            }
        }
        if !self.hello_passed && now >= self.setup.hello_max {
            self.hello_passed = true;
            for slot in 0..self.presence.len() {
                if self.presence[slot] == Presence::Expected {
                    self.game.handle_absent(now, slot, &mut self.outbox);
                }
            }
        }
        if self.game.next_deadline().is_some_and(|at| now >= at) {
            self.game.handle_timeout(now, &mut self.outbox);
        }
        self.tick(now);
        self.settle(now);
    }

    /// A player comes back: it will show another token. Whoever came in with the one before is out, and that one lets
    /// nobody in any more. The player is expected again, for as long as for its first hello.
    ///
    /// Answers whether the match has such a slot and can tell the token from the others.
    pub fn handle_rejoin(&mut self, now: Duration, player: &Seat) -> bool {
        let slot = player.slot;
        let is_anothers = |(at, token): (usize, &Secret)| at != slot && *token == player.token;
        let is_sound =
            slot < self.presence.len() && !self.setup.tokens.iter().enumerate().any(is_anothers);
        if !is_sound || self.is_over() {
            return is_sound;
        }
        self.setup.tokens[slot] = player.token;
        self.transport.handle_rejoin(now, slot, player.token);
        let until = now.saturating_add(self.setup.hello_max);
        match self.presence[slot] {
            Presence::Present { .. } => self.lose(now, slot, until),
            Presence::Away { until: before } => {
                self.presence[slot] = Presence::Away { until: before.max(until) };
            }
            Presence::Expected if !self.hello_passed => {}
            Presence::Expected | Presence::Gone { .. } => {
                let before = self.presence[slot];
                self.presence[slot] = Presence::Gone { awaited_until: Some(until) };
                if before == GONE {
                    self.tell_open_slots();
                }
            }
        }
        self.leave_lost(now);
        self.settle(now);
        true
    }

    /// Another player comes into the slot of one who has left, as one who comes back would.
    ///
    /// Answers as [`handle_rejoin`](Self::handle_rejoin).
    pub fn handle_fill(&mut self, now: Duration, player: &Seat) -> bool {
        let is_sound = self.handle_rejoin(now, player);
        if is_sound && let Some(name) = self.setup.names.get_mut(player.slot) {
            player.name.clone_into(name);
        }
        is_sound
    }

    /// The match is ended from outside: it is over with the result that there is.
    pub fn handle_stop(&mut self, now: Duration) {
        if self.is_over() {
            return;
        }
        self.game.handle_stop(now, &mut self.outbox);
        self.stopped = true;
        self.settle(now);
    }

    /// The next datagram to send, and to whom.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transport.poll_transmit()
    }

    /// The next message to Muster.
    pub fn poll_message(&mut self) -> Option<FromGame> {
        self.messages.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before. There is always such a
    /// time: a match has a longest duration.
    pub fn next_deadline(&self) -> Duration {
        let hello = (!self.hello_passed).then_some(self.setup.hello_max);
        let missed = (0..self.presence.len()).filter_map(|slot| self.missed_at(slot)).min();
        let transport = self.transport.next_deadline();
        let deadlines = [hello, missed, self.game.next_deadline(), self.next_tick, transport];
        deadlines.into_iter().flatten().fold(self.setup.length_max, Duration::min)
    }

    /// Whether the match is over. What is left to poll is then the last.
    pub fn is_over(&self) -> bool {
        self.stopped || self.game.is_over() || !self.awaits_anyone()
    }

    /// The game that is played.
    pub fn game(&self) -> &G {
        &self.game
    }

    /// The match that is played.
    pub fn setup(&self) -> &Match {
        &self.setup
    }

    fn awaits_anyone(&self) -> bool {
        self.presence.iter().any(|presence| match presence {
            Presence::Expected => !self.hello_passed,
            Presence::Present { .. } | Presence::Away { .. } => true,
            Presence::Gone { awaited_until } => awaited_until.is_some(),
        })
    }

    /// When a player has been silent, or away, for too long.
    fn missed_at(&self, slot: usize) -> Option<Duration> {
        match self.presence[slot] {
            Presence::Expected => None,
            Presence::Present { last_heard } => Some(last_heard.saturating_add(self.silence_max)),
            Presence::Away { until } => Some(until),
            Presence::Gone { awaited_until } => awaited_until,
        }
    }

    fn miss(&mut self, now: Duration, slot: usize) {
        match self.presence[slot] {
            Presence::Expected => {}
            Presence::Present { .. } => self.go_missing(now, slot),
            Presence::Away { .. } => {
                self.presence[slot] = GONE;
                self.game.handle_left(now, slot, &mut self.outbox);
                self.tell_open_slots();
            }
            Presence::Gone { .. } => {
                self.presence[slot] = GONE;
                self.tell_open_slots();
            }
        }
    }

    /// Those whose connection is no more are missing.
    fn leave_lost(&mut self, now: Duration) {
        while let Some(slot) = self.transport.poll_lost() {
            if matches!(self.presence[slot], Presence::Present { .. }) {
                self.go_missing(now, slot);
            }
        }
    }

    /// A player who did not say goodbye is no longer here. It may come back, where it is given time to.
    fn go_missing(&mut self, now: Duration, slot: usize) {
        if self.rejoin_wait.is_zero() {
            self.leave(now, slot);
        } else {
            self.lose(now, slot, now.saturating_add(self.rejoin_wait));
        }
    }

    fn lose(&mut self, now: Duration, slot: usize, until: Duration) {
        debug_assert!(matches!(self.presence[slot], Presence::Present { .. }));
        self.presence[slot] = Presence::Away { until };
        self.messages.push_back(FromGame::Left { slot });
        self.game.handle_away(now, slot, &mut self.outbox);
    }

    fn leave(&mut self, now: Duration, slot: usize) {
        debug_assert!(matches!(self.presence[slot], Presence::Present { .. }));
        self.presence[slot] = GONE;
        self.messages.push_back(FromGame::Left { slot });
        self.game.handle_left(now, slot, &mut self.outbox);
        self.tell_open_slots();
    }

    /// A slot is open as long as nobody waits for its player.
    fn tell_open_slots(&mut self) {
        if self.backfill && !self.is_over() {
            let is_open = |slot: &usize| self.presence[*slot] == GONE;
            let slots = (0..self.presence.len()).filter(is_open).collect();
            self.messages.push_back(FromGame::Backfill { slots });
        }
    }

    fn welcome(&mut self, now: Duration, slot: usize) {
        let (match_id, players) = (self.setup.id.as_str(), self.setup.names.len());
        self.transport.welcome(now, match_id, slot, players);
    }

    /// Handles the tick that is due. Those that came due behind it, because the process did not run, are counted
    /// and left out: the schedule stays what it was.
    fn tick(&mut self, now: Duration) {
        let (Some(due), Some(period)) = (self.next_tick, self.tick_period()) else { return };
        let Some(late) = now.checked_sub(due) else { return };
        let missed = u64::try_from(late.as_nanos() / period.as_nanos()).unwrap_or(u64::MAX);
        let behind = late.as_nanos() % period.as_nanos();
        let ahead = period.saturating_sub(Duration::from_nanos_u128(behind));
        self.next_tick = Some(now.saturating_add(ahead));
        self.game.handle_tick(now, Tick { due, missed }, &mut self.outbox);
        debug_assert!(self.next_tick.is_some_and(|at| at > now));
    }

    /// A tick without length would be due for ever.
    fn tick_period(&self) -> Option<Duration> {
        self.game.tick_period().filter(|period| !period.is_zero())
    }

    /// Brings what the game said on its way, sees whether it wants ticks, and tells Muster the result once there is one.
    fn settle(&mut self, now: Duration) {
        while let Some((slot, words)) = self.outbox.pop() {
            let is_here = matches!(self.presence.get(slot), Some(Presence::Present { .. }));
            if is_here {
                self.transport.send(now, slot, words);
            }
        }
        let first_tick = |period| self.next_tick.unwrap_or(now.saturating_add(period));
        self.next_tick = self.tick_period().map(first_tick);
        if !self.result_told && (self.game.is_decided() || self.is_over()) {
            self.result_told = true;
            self.messages.push_back(FromGame::Result { fields: self.game.result(now) });
        }
        if self.is_over() {
            self.transport.close();
        }
        debug_assert!(!self.is_over() || self.result_told);
    }
}
