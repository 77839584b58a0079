//! One match of a game: who is present, timeouts, answers, messages to Muster. No socket, no clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use protocol::{FromGame, Seat, Secret, netcode};

use crate::PLAYERS_MAX;
use crate::arrival::Arrival;
use crate::game::{Game, Outbox, Tick};
use crate::netcode::Netcode;
use crate::plain::Plain;
use crate::transport::Transport;

/// Muster's `start` message, validated.
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
    /// The wrong number of players for the game.
    #[error("{given} players; this game is for {wanted} (the mode's `players`)")]
    Players {
        /// The number of players in the message.
        given: usize,
        /// The numbers that the game supports.
        wanted: String,
    },
    /// The slots are not 0, 1, 2 and so on, each once.
    #[error("its players' slots are not 0 to one less than their number, each once")]
    Slots,
    /// Two players have the same token, so that they cannot be distinguished.
    #[error("two of its players have the same token")]
    Tokens,
    /// More players than the transport `netcode` supports.
    #[error("{0} players; the transport netcode supports {max}", max = netcode::PLAYERS_MAX)]
    Netcode(usize),
}

impl Match {
    /// Validates the fields of a `start` message.
    ///
    /// # Errors
    /// [`BadStart`] when there are no players or more than [`PLAYERS_MAX`], or they cannot be distinguished.
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

    /// The same match over the transport `netcode`, with its part of the `start` message.
    ///
    /// # Errors
    /// [`BadStart::Netcode`] when there are too many players.
    pub fn over_netcode(self, netcode: netcode::Netcode) -> Result<Self, BadStart> {
        if self.names.len() > netcode::PLAYERS_MAX {
            return Err(BadStart::Netcode(self.names.len()));
        }
        Ok(Self { netcode: Some(netcode), ..self })
    }

    /// The transport of the match.
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

/// A match of a game, from its start. All times are durations since then.
///
/// Its owner passes datagrams and the time in, and after each call takes the datagrams to send
/// ([`poll_transmit`](Self::poll_transmit)) and the messages to Muster ([`poll_message`](Self::poll_message)).
pub struct Session<G> {
    setup: Match,
    transport: Transport,
    presence: Vec<Presence>,
    game: G,
    silence_max: Duration,
    rejoin_wait: Duration,
    backfill: bool,
    /// When the next tick is due, if the game wants any.
    next_tick: Option<Duration>,
    /// The time to join has passed.
    hello_passed: bool,
    stopped: bool,
    result_sent: bool,
    outbox: Outbox,
    messages: VecDeque<FromGame>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// Has not joined yet.
    Expected,
    Present {
        last_received: Duration,
    },
    /// Has lost the connection, or will return with another token. Until then the game waits.
    Away {
        until: Duration,
    },
    /// Has left the game. While Muster has announced a return, the match does not end until then.
    Gone {
        awaited_until: Option<Duration>,
    },
}

/// Left for good.
const GONE: Presence = Presence::Gone { awaited_until: None };

impl<G: Game> Session<G> {
    /// Starts a match. A player who is silent for `silence_max` has left.
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
            result_sent: false,
            outbox: Outbox::default(),
            messages: VecDeque::new(),
        }
    }

    /// The same match, in which a player who lost the connection may return for this long before they have left.
    #[must_use]
    pub fn with_rejoin_wait(self, rejoin_wait: Duration) -> Self {
        Self { rejoin_wait, ..self }
    }

    /// The same match, in which another player is requested in place of each one who has left.
    #[must_use]
    pub fn with_backfill(self, backfill: bool) -> Self {
        Self { backfill, ..self }
    }

    /// Handles a datagram. The cost and the answer do not depend on its sender.
    pub fn handle_datagram(&mut self, now: Duration, from: SocketAddr, datagram: &[u8]) {
        if self.is_over() {
            return;
        }
        let arrival = self.transport.handle_datagram(now, from, datagram);
        if let Some((slot, arrival)) = arrival {
            self.handle_arrival(now, slot, arrival);
        }
        self.handle_lost(now);
        self.settle(now);
    }

    fn handle_arrival(&mut self, now: Duration, slot: usize, arrival: Arrival<'_>) {
        let before = self.presence[slot];
        let is_in = matches!(before, Presence::Present { .. });
        if matches!(self.presence[slot], Presence::Gone { .. }) && arrival != Arrival::Entered {
            // A player who has left may repeat the goodbye because its answer was lost.
            if arrival == Arrival::Bye {
                self.transport.send(now, slot, "BYE".into());
            }
            return;
        }
        self.presence[slot] = Presence::Present { last_received: now };
        if arrival == Arrival::Entered {
            self.welcome(now, slot);
        }
        // A player who was only silent for too long joins again with any datagram.
        if !is_in {
            self.messages.push_back(FromGame::Joined { slot });
            self.game.handle_joined(now, slot, &mut self.outbox);
        }
        if before == GONE {
            self.report_open_slots();
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

    /// Handles the deadline of [`next_deadline`](Self::next_deadline). A call too early is harmless.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.is_over() {
            return;
        }
        if now >= self.setup.length_max {
            return self.handle_stop(now);
        }
        self.transport.handle_timeout(now);
        self.handle_lost(now);
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

    /// A player will return with another token, which replaces the previous one; the address that used it is
    /// disconnected. The player is expected for as long as for the first hello.
    ///
    /// Returns whether the match has such a slot and the token differs from the others.
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
            Presence::Present { .. } => self.set_away(now, slot, until),
            Presence::Away { until: before } => {
                self.presence[slot] = Presence::Away { until: before.max(until) };
            }
            Presence::Expected if !self.hello_passed => {}
            Presence::Expected | Presence::Gone { .. } => {
                let before = self.presence[slot];
                self.presence[slot] = Presence::Gone { awaited_until: Some(until) };
                if before == GONE {
                    self.report_open_slots();
                }
            }
        }
        self.handle_lost(now);
        self.settle(now);
        true
    }

    /// Another player takes the slot of one who has left, as a returning one would.
    ///
    /// Returns the same as [`handle_rejoin`](Self::handle_rejoin).
    pub fn handle_fill(&mut self, now: Duration, player: &Seat) -> bool {
        let is_sound = self.handle_rejoin(now, player);
        if is_sound && let Some(name) = self.setup.names.get_mut(player.slot) {
            player.name.clone_into(name);
        }
        is_sound
    }

    /// Stops the match from outside: it is over with the result so far.
    pub fn handle_stop(&mut self, now: Duration) {
        if self.is_over() {
            return;
        }
        self.game.handle_stop(now, &mut self.outbox);
        self.stopped = true;
        self.settle(now);
    }

    /// The next datagram to send, and its destination.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.transport.poll_transmit()
    }

    /// The next message to Muster.
    pub fn poll_message(&mut self) -> Option<FromGame> {
        self.messages.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before. There is always such a
    /// time: a match has a maximum duration.
    pub fn next_deadline(&self) -> Duration {
        let hello = (!self.hello_passed).then_some(self.setup.hello_max);
        let missed = (0..self.presence.len()).filter_map(|slot| self.missed_at(slot)).min();
        let transport = self.transport.next_deadline();
        let deadlines = [hello, missed, self.game.next_deadline(), self.next_tick, transport];
        deadlines.into_iter().flatten().fold(self.setup.length_max, Duration::min)
    }

    /// Whether the match is over. Datagrams and messages may still have to be polled.
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
            Presence::Present { last_received } => {
                Some(last_received.saturating_add(self.silence_max))
            }
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
                self.report_open_slots();
            }
            Presence::Gone { .. } => {
                self.presence[slot] = GONE;
                self.report_open_slots();
            }
        }
    }

    /// Handles players whose connection has ended.
    fn handle_lost(&mut self, now: Duration) {
        while let Some(slot) = self.transport.poll_lost() {
            if matches!(self.presence[slot], Presence::Present { .. }) {
                self.go_missing(now, slot);
            }
        }
    }

    /// A player disappeared without a goodbye. They may return, if the options say so.
    fn go_missing(&mut self, now: Duration, slot: usize) {
        if self.rejoin_wait.is_zero() {
            self.leave(now, slot);
        } else {
            self.set_away(now, slot, now.saturating_add(self.rejoin_wait));
        }
    }

    fn set_away(&mut self, now: Duration, slot: usize, until: Duration) {
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
        self.report_open_slots();
    }

    /// A slot is open if no player is expected in it.
    fn report_open_slots(&mut self) {
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

    /// Handles the tick that is due. Further ticks that are due, because the process did not run, are counted and
    /// skipped: the schedule stays the same.
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

    /// A tick without length would be due forever.
    fn tick_period(&self) -> Option<Duration> {
        self.game.tick_period().filter(|period| !period.is_zero())
    }

    /// Sends the game's messages, schedules its ticks, and sends the result to Muster once there is one.
    fn settle(&mut self, now: Duration) {
        while let Some((slot, words)) = self.outbox.pop() {
            let is_here = matches!(self.presence.get(slot), Some(Presence::Present { .. }));
            if is_here {
                self.transport.send(now, slot, words);
            }
        }
        let first_tick = |period| self.next_tick.unwrap_or(now.saturating_add(period));
        self.next_tick = self.tick_period().map(first_tick);
        if !self.result_sent && (self.game.is_decided() || self.is_over()) {
            self.result_sent = true;
            self.messages.push_back(FromGame::Result { fields: self.game.result(now) });
        }
        if self.is_over() {
            self.transport.close();
        }
        debug_assert!(!self.is_over() || self.result_sent);
    }
}
