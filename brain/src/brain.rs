//! The front of both halves: the brain's four calls.

use std::collections::VecDeque;
use std::time::Duration;

use hosting::Hosting;
use matchmaker::Matchmaker;
use protocol::ConnectionId;
use protocol::placement::{ToHosting, ToMatchmaker};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Unchangeable};
use crate::io::{Action, Input};

/// The brain on one box. See the [crate's head](crate) for how to drive it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Brain {
    pub(crate) config: Config,
    pub(crate) matchmaker: Matchmaker,
    pub(crate) hosting: Hosting,
    now: Duration,
    /// Empty when the brain is saved.
    #[serde(skip)]
    actions: VecDeque<Action>,
    /// Whether hosting changed a match since the matchmaker last formed and placed matches.
    #[serde(skip)]
    is_unsettled: bool,
}

/// An output of either half.
enum Output {
    Matchmaker(matchmaker::Output),
    Hosting(hosting::Output),
}

impl Brain {
    /// A brain without players. Its warm games are launched by the first [`handle_timeout`](Self::handle_timeout).
    ///
    /// # Panics
    /// When the configuration is not valid; see [`Config::assert_valid`].
    pub fn new(config: Config) -> Self {
        config.assert_valid();
        let mut brain = Self {
            matchmaker: Matchmaker::new(config.for_matchmaker()),
            hosting: Hosting::new(config.for_hosting()),
            now: Duration::ZERO,
            actions: VecDeque::new(),
            is_unsettled: false,
            config,
        };
        brain.settle();
        brain
    }

    /// Takes an input at `now`, a time since the start that never goes back.
    pub fn handle(&mut self, now: Duration, input: Input) {
        self.advance(now);
        match input {
            Input::Player(input) => {
                self.matchmaker.handle(self.now, matchmaker::Input::Player(input));
            }
            Input::Game(input) => self.hosting.handle(self.now, hosting::Input::Game(input)),
            Input::Reconfigure(config) => self.continue_with(*config),
            Input::Drain => self.drain(hosting::Input::Drain),
            Input::Stop => self.drain(hosting::Input::Stop),
            Input::Undrain => self.undrain(),
        }
        self.end_turn();
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before; `None` is never.
    pub fn next_deadline(&self) -> Option<Duration> {
        let deadlines = [self.matchmaker.next_deadline(), self.hosting.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Handles the deadlines that are due at `now`. Calling it early, late or twice does no harm.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.advance(now);
        self.hosting.handle_timeout(self.now);
        self.exchange();
        self.note_capacity();
        self.matchmaker.handle_timeout(self.now);
        self.end_turn();
    }

    /// The time of the last call.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How the brain is set up.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether the brain can continue with another configuration.
    ///
    /// # Errors
    /// [`Unchangeable`] when the ports differ, or a mode is not at its index.
    pub fn may_reconfigure(&self, config: &Config) -> Result<(), Unchangeable> {
        self.config.may_become(config)
    }

    /// Continues with another configuration.
    ///
    /// # Errors
    /// [`Unchangeable`], see [`may_reconfigure`](Self::may_reconfigure); then nothing is changed.
    ///
    /// # Panics
    /// When the configuration is not valid; see [`Config::assert_valid`].
    pub fn reconfigure(&mut self, config: Config) -> Result<(), Unchangeable> {
        self.may_reconfigure(&config)?;
        self.handle(self.now, Input::Reconfigure(Box::new(config)));
        Ok(())
    }

    /// Whether a player waits on this connection: queued, or in a match without a game.
    pub fn is_waiting(&self, connection: ConnectionId) -> bool {
        self.matchmaker.is_waiting(connection)
    }

    /// How many resume keys and tokens it takes to queue the party of this connection; zero without one.
    pub fn party_size(&self, connection: ConnectionId) -> usize {
        self.matchmaker.party_size(connection)
    }

    fn advance(&mut self, now: Duration) {
        debug_assert!(now >= self.now, "the time went back from {:?} to {now:?}", self.now);
        self.now = self.now.max(now);
        self.hosting.advance(self.now);
        self.note_capacity();
    }

    /// Tells the matchmaker the capacity of hosting before an input: a port may be free by now. Matches are placed after the
    /// input, by which players may be gone.
    fn note_capacity(&mut self) {
        let capacity = self.hosting.capacity();
        if !self.matchmaker.agrees_with(&capacity) {
            self.matchmaker.set_capacity(capacity);
            self.is_unsettled = true;
        }
    }

    fn continue_with(&mut self, config: Config) {
        if self.config.may_become(&config).is_err() {
            return;
        }
        config.assert_valid();
        let for_hosting = hosting::Input::Reconfigure(Box::new(config.for_hosting()));
        self.hosting.handle(self.now, for_hosting);
        self.exchange();
        let for_matchmaker = Box::new(config.for_matchmaker());
        self.matchmaker.handle(self.now, matchmaker::Input::Reconfigure(for_matchmaker));
        self.is_unsettled = true;
        self.config = config;
    }

    /// Accepts no players, and lets hosting end its games, in time or at once.
    fn drain(&mut self, end: hosting::Input) {
        self.matchmaker.handle(self.now, matchmaker::Input::Drain);
        self.exchange();
        self.hosting.handle(self.now, end);
    }

    fn undrain(&mut self) {
        if !self.hosting.is_drained() {
            self.hosting.handle(self.now, hosting::Input::Undrain);
            self.matchmaker.handle(self.now, matchmaker::Input::Undrain);
        }
    }

    /// Ends a turn: matches are placed, then the warm pool follows the demand that is left.
    fn end_turn(&mut self) {
        self.settle();
        self.hosting.handle(self.now, hosting::Input::Message(self.matchmaker.demand()));
        self.settle();
        #[cfg(debug_assertions)]
        self.sweep();
    }

    /// Exchanges messages until the matchmaker has placed everything that hosting has capacity for.
    fn settle(&mut self) {
        self.exchange();
        loop {
            let capacity = self.hosting.capacity();
            if !std::mem::take(&mut self.is_unsettled) && self.matchmaker.agrees_with(&capacity) {
                return;
            }
            self.matchmaker.handle(self.now, matchmaker::Input::Capacity(capacity));
            self.exchange();
        }
    }

    /// Delivers the messages of both halves until none is left, and collects the actions in their order: what follows from
    /// a message comes before what its sender said after it.
    fn exchange(&mut self) {
        let mut pending: VecDeque<Output> = VecDeque::new();
        self.prepend_outputs(&mut pending);
        while let Some(output) = pending.pop_front() {
            match output {
                Output::Matchmaker(matchmaker::Output::Send { to, notice }) => {
                    self.actions.push_back(Action::Send { to, notice });
                }
                Output::Matchmaker(matchmaker::Output::Report(event))
                | Output::Hosting(hosting::Output::Report(event)) => {
                    self.actions.push_back(Action::Report(event));
                }
                Output::Hosting(hosting::Output::Act(action)) => {
                    self.actions.push_back(Action::Game(action));
                }
                Output::Hosting(hosting::Output::Drained) => {
                    self.actions.push_back(Action::Drained);
                }
                Output::Matchmaker(matchmaker::Output::Message(message)) => self.ask(message),
                Output::Hosting(hosting::Output::Message(message)) => self.answer(message),
            }
            self.prepend_outputs(&mut pending);
        }
    }

    fn ask(&mut self, message: ToHosting) {
        self.hosting.handle(self.now, hosting::Input::Message(message));
    }

    fn answer(&mut self, message: ToMatchmaker) {
        self.is_unsettled |= !matches!(message, ToMatchmaker::Placed { .. });
        self.matchmaker.handle(self.now, matchmaker::Input::Message(message));
    }

    fn prepend_outputs(&mut self, pending: &mut VecDeque<Output>) {
        let matchmaker = std::iter::from_fn(|| self.matchmaker.poll_output());
        let mut new: Vec<Output> = matchmaker.map(Output::Matchmaker).collect();
        let hosting = std::iter::from_fn(|| self.hosting.poll_output());
        new.extend(hosting.map(Output::Hosting));
        new.into_iter().rev().for_each(|output| pending.push_front(output));
    }

    /// Checks the invariants, in large states at some times only.
    #[cfg(debug_assertions)]
    fn sweep(&self) {
        let size = self.matchmaker.size();
        let every = 1 + size * size / 1024;
        if self.now.as_nanos().is_multiple_of(every as u128) {
            debug_assert_eq!(self.check_invariants(), Ok(()));
        }
    }
}
