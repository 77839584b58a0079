//! The state machine's front: its four calls.

use std::collections::VecDeque;
use std::time::Duration;

use machine::Deadlines;
use protocol::placement::{Capacity, ModeCapacity, ModeDemand, ToHosting, ToMatchmaker};
use protocol::report::{Event, StopReason};
use protocol::{GameId, ModeId};
use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::config::{Config, Mode};
use crate::games::{GamePhase, Games};
use crate::io::{GameAction, GameInput, Input, Output};
use crate::match_rate::MatchRate;
use crate::port_ring::PortRing;

/// The half of the brain that hosts games. See the [crate's head](crate) for how to drive it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hosting {
    pub(crate) config: Config,
    pub(crate) now: Duration,
    pub(crate) phase: Phase,
    pub(crate) games: Games,
    pub(crate) ports: PortRing,
    /// By [`ModeId`].
    pub(crate) modes: Vec<ModeState>,
    pub(crate) refills: Refills,
    pub(crate) deadlines: Deadlines<Owner>,
    /// The number of the last placement.
    pub(crate) placed_up_to: u64,
    /// Empty when hosting is saved.
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

/// The phase of hosting as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Hosts matches.
    Serving,
    /// Lets games end.
    Draining,
    /// No game is left.
    Drained,
}

/// The state of a mode besides its games.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct ModeState {
    pub(crate) match_rate: MatchRate,
    /// Since when more games are warm than are wanted, or the last of them was stopped.
    pub(crate) surplus_since: Option<Duration>,
    pub(crate) backoff: Backoff,
    pub(crate) demand: ModeDemand,
}

/// The times that decide when games are launched to be warm.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Refills {
    /// Since when a warm game is missing that could be launched, in any mode.
    pub(crate) missing_since: Option<Duration>,
    /// When a match last took a step towards its players.
    pub(crate) last_match_step: Option<Duration>,
}

/// The owner of a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Owner {
    /// The game's phase lasts too long.
    Game(GameId),
    /// The mode may launch again.
    Backoff(ModeId),
    /// The mode may have more warm games than it wants.
    Surplus(ModeId),
    /// Games may be launched to be warm.
    Refill,
    /// A port has rested.
    Ports,
    /// The drain has lasted as long as it may.
    Drain,
}

impl Hosting {
    /// Hosting without games. Warm games are launched with the first demand.
    pub fn new(config: Config) -> Self {
        let mut hosting = Self {
            now: Duration::ZERO,
            phase: Phase::Serving,
            games: Games::new(config.modes.len()),
            ports: PortRing::new(config.ports.clone()),
            modes: config.modes.iter().map(|_| ModeState::default()).collect(),
            refills: Refills::default(),
            deadlines: Deadlines::default(),
            placed_up_to: 0,
            outputs: VecDeque::new(),
            config,
        };
        hosting.note_missing();
        hosting
    }

    /// Takes an input at `now`, a time since the start that never goes back.
    pub fn handle(&mut self, now: Duration, input: Input) {
        self.advance(now);
        match input {
            Input::Message(message) => self.handle_message(message),
            Input::Game(input) => self.handle_game(input),
            Input::Reconfigure(config) => self.reconfigure(*config),
            Input::Drain => self.handle_drain(),
            Input::Undrain => self.handle_undrain(),
            Input::Stop => self.handle_stop(),
        }
        self.settle();
    }

    fn handle_game(&mut self, input: GameInput) {
        match input {
            GameInput::Launched { game } => self.handle_launched(game),
            GameInput::LaunchFailed { game, fault } => self.handle_launch_failed(game, fault),
            GameInput::Ready { game } => self.handle_ready(game),
            GameInput::Started { game } => self.handle_started(game),
            GameInput::Joined { game, slot } => self.handle_presence(game, slot, true),
            GameInput::Left { game, slot } => self.handle_presence(game, slot, false),
            GameInput::Backfill { game, slots } => self.handle_backfill(game, slots),
            GameInput::Alive { game } => self.handle_alive(game),
            GameInput::Result { game, result } => self.handle_result(game, result),
            GameInput::Broken { game, what } => self.handle_broken(game, what),
            GameInput::Exited { game, exit } => self.handle_exited(game, exit),
            GameInput::PortTaken { game } => self.handle_port_taken(game),
            GameInput::End { game, now } => self.handle_end(game, now),
        }
    }

    fn handle_message(&mut self, message: ToHosting) {
        match message {
            ToHosting::Place { number, match_id, mode, seats } => {
                self.placed_up_to = self.placed_up_to.max(number);
                self.place(match_id, mode, seats);
            }
            ToHosting::Withdraw { match_id } => self.withdraw(match_id),
            ToHosting::Fill { match_id, seats } => self.fill(match_id, seats),
            ToHosting::Rejoin { match_id, seat } => self.rejoin(match_id, seat),
            ToHosting::Demand { modes } => self.handle_demand(&modes),
        }
    }

    /// The next output, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before; `None` is never.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.next()
    }

    /// Handles the deadlines that are due at `now`. Calling it early, late or twice does no harm.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.advance(now);
        while let Some(owner) = self.deadlines.pop_due(self.now) {
            match owner {
                Owner::Game(game) => self.handle_game_deadline(game),
                Owner::Backoff(mode) => self.modes[mode.0].backoff.end_pause(self.now),
                // The demand that ends the turn looks at the warm pool in any case.
                Owner::Ports | Owner::Surplus(_) | Owner::Refill => {}
                Owner::Drain => self.end_drain(),
            }
        }
        self.settle();
    }

    /// Sets the time, and frees the ports whose quarantine is over.
    pub fn advance(&mut self, now: Duration) {
        debug_assert!(now >= self.now, "the time went back from {:?} to {now:?}", self.now);
        self.now = self.now.max(now);
        self.ports.end_quarantine(self.now);
    }

    /// The capacity that the matchmaker may place.
    pub fn capacity(&self) -> Capacity {
        let launching = self.games.counts().launching;
        let is_serving = self.phase == Phase::Serving;
        let mode = |mode: ModeId| {
            let counts = self.games.of_mode(mode);
            ModeCapacity {
                warm: counts.warm.len(),
                launching: counts.launching,
                may_launch: is_serving && self.may_launch(mode),
                is_failing: self.modes[mode.0].backoff.is_failing(),
            }
        };
        Capacity {
            free: self.ports.free_count(),
            launches: self.config.launching_max.saturating_sub(launching),
            modes: self.config.mode_ids().map(mode).collect(),
            placed_up_to: self.placed_up_to,
        }
    }

    /// Whether a drain is over: no game is left.
    pub fn is_drained(&self) -> bool {
        self.phase == Phase::Drained
    }

    fn settle(&mut self) {
        self.ports.end_quarantine(self.now);
        if self.phase == Phase::Serving {
            for mode in self.config.mode_ids() {
                let next = self.modes[mode.0].backoff.next_change();
                self.deadlines.set(Owner::Backoff(mode), next);
            }
        }
        self.deadlines.set(Owner::Ports, self.ports.next_rested());
        if self.phase == Phase::Draining && self.games.len() == 0 {
            self.phase = Phase::Drained;
            self.deadlines.set(Owner::Drain, None);
            self.outputs.push_back(Output::Drained);
        }
    }

    fn handle_drain(&mut self) {
        if self.phase != Phase::Serving {
            return;
        }
        self.phase = Phase::Draining;
        for mode in self.config.mode_ids() {
            self.deadlines.set(Owner::Backoff(mode), None);
            self.deadlines.set(Owner::Surplus(mode), None);
        }
        self.deadlines.set(Owner::Refill, None);
        let timeout = self.config.drain_timeout;
        self.deadlines.set(Owner::Drain, Some(self.after(timeout)));
        for id in self.games.ids(|game| game.match_id().is_none()) {
            self.stop(id, StopReason::Shutdown);
        }
        let games = self.games.ids(|game| game.match_id().is_some()).len();
        self.report(Event::Draining { games, timeout });
    }

    /// Hosts matches again. Games that are being stopped do end, and others are launched in their place.
    fn handle_undrain(&mut self) {
        if self.phase == Phase::Draining {
            self.phase = Phase::Serving;
            self.deadlines.set(Owner::Drain, None);
            self.refills.missing_since = None;
            self.modes.iter_mut().for_each(|mode| mode.surplus_since = None);
        }
    }

    fn handle_stop(&mut self) {
        self.handle_drain();
        self.games.ids(|_| true).into_iter().for_each(|id| self.kill(id));
    }

    fn reconfigure(&mut self, config: Config) {
        let before = std::mem::replace(&mut self.config, config);
        for mode in self.config.mode_ids() {
            let now = self.mode(mode);
            match before.modes.get(mode.0) {
                None => {
                    self.modes.push(ModeState::default());
                    self.games.add_mode();
                }
                Some(before) if now.is_closed || now.program != before.program => {
                    let is_idle = |phase| matches!(phase, GamePhase::Launching | GamePhase::Warm);
                    let idle = self.games.ids(|game| game.mode == mode && is_idle(game.phase()));
                    idle.into_iter().for_each(|id| self.stop(id, StopReason::ModeChanged));
                }
                Some(_) => {}
            }
        }
    }

    // ---- Shared by all files ----

    pub(crate) fn act(&mut self, action: GameAction) {
        self.outputs.push_back(Output::Act(action));
    }

    pub(crate) fn report(&mut self, event: Event) {
        self.outputs.push_back(Output::Report(event));
    }

    pub(crate) fn send(&mut self, message: ToMatchmaker) {
        self.outputs.push_back(Output::Message(message));
    }

    /// The time `span` from now. A span of the configuration may be unlimited.
    pub(crate) fn after(&self, span: Duration) -> Duration {
        self.now.saturating_add(span)
    }

    pub(crate) fn mode(&self, mode: ModeId) -> &Mode {
        &self.config.modes[mode.0]
    }

    /// Changes a game's phase, and its deadline with it.
    pub(crate) fn enter(&mut self, id: GameId, next: GamePhase, deadline: Option<Duration>) {
        self.games.enter(id, next);
        self.deadlines.set(Owner::Game(id), deadline);
    }
}
