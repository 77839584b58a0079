//! The port ring.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use protocol::GameId;
use serde::{Deserialize, Serialize};

use crate::limits::{BUSY_PORT_REST_MIN, BUSY_PORT_TOLD_EVERY, SUSPECT_PORT_REST_MAX};

/// The state of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    /// No game has it.
    Free,
    /// A game has it.
    Leased,
    /// It rests after a game.
    Resting,
    /// Another program holds it.
    Busy,
}

impl PortState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Free, Self::Leased, Self::Resting, Self::Busy];

    /// The word for it. A port that rests, or that another program holds, is quarantined.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Leased => "leased",
            Self::Resting => "quarantined",
            Self::Busy => "busy",
        }
    }
}

/// Every port of the ring is in exactly one of three places: `free`, in the order in which it came back, so
/// that the least recently used is leased first; `leased` to one game; or quarantined until a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PortRing {
    free: VecDeque<u16>,
    leased: BTreeMap<u16, GameId>,
    /// Quarantined after their players, so that late datagrams for the last game find nobody.
    resting: BTreeSet<(Duration, u16)>,
    /// Quarantined because something outside Muster holds them: nobody knows when they will be of use.
    busy: BTreeSet<(Duration, u16)>,
    /// Ports on which a game failed although others start, and how often since one started there.
    suspects: BTreeMap<u16, u32>,
    /// When it was last said that something outside Muster holds a port.
    told_busy: BTreeMap<u16, Duration>,
    size: usize,
}

/// How a port comes back from its game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortReturn {
    /// Free at once.
    Free,
    /// It rests until this time, since players were told of it.
    Resting(Duration),
    /// It is left alone until this time, since something outside Muster holds it.
    Busy(Duration),
}

impl PortRing {
    pub(crate) fn new(ports: RangeInclusive<u16>) -> Self {
        let free: VecDeque<u16> = ports.collect();
        let size = free.len();
        let (resting, busy) = (BTreeSet::new(), BTreeSet::new());
        let (suspects, told_busy) = (BTreeMap::new(), BTreeMap::new());
        Self { free, leased: BTreeMap::new(), resting, busy, suspects, told_busy, size }
    }

    pub(crate) fn lease(&mut self, game: GameId) -> Option<u16> {
        let port = self.free.pop_front()?;
        let before = self.leased.insert(port, game);
        assert!(before.is_none(), "port {port} leased twice");
        Some(port)
    }

    /// Takes a port back from its game.
    pub(crate) fn release(&mut self, port: u16, game: GameId, back: PortReturn) {
        let holder = self.leased.remove(&port);
        assert_eq!(holder, Some(game), "port {port} returned by a game that does not hold it");
        match back {
            PortReturn::Free => self.free.push_back(port),
            PortReturn::Resting(until) => drop(self.resting.insert((until, port))),
            PortReturn::Busy(until) => drop(self.busy.insert((until, port))),
        }
    }

    /// A game failed on a port, which may be the port's fault. Gives how long the port is to rest.
    pub(crate) fn suspect(&mut self, port: u16) -> Duration {
        let failures = self.suspects.entry(port).or_default();
        *failures = failures.saturating_add(1);
        let doublings = (*failures - 1).min(16);
        BUSY_PORT_REST_MIN.saturating_mul(1 << doublings).min(SUSPECT_PORT_REST_MAX)
    }

    /// Whether a game failed on a port before, and none has started there since.
    pub(crate) fn is_suspect(&self, port: u16) -> bool {
        self.suspects.contains_key(&port)
    }

    /// Whether there are other ports, on which no game failed.
    pub(crate) fn has_better(&self, port: u16) -> bool {
        let others = self.suspects.len() - usize::from(self.is_suspect(port));
        others + 1 < self.size
    }

    /// A game started on a port: nothing is wrong with it.
    pub(crate) fn clear(&mut self, port: u16) {
        self.suspects.remove(&port);
        self.told_busy.remove(&port);
    }

    /// Something outside Muster holds a port. Whether that is worth telling: it was not for a while.
    pub(crate) fn is_busy_news(&mut self, port: u16, now: Duration) -> bool {
        let told = self.told_busy.get(&port);
        let is_news = told.is_none_or(|told| *told + BUSY_PORT_TOLD_EVERY <= now);
        if is_news {
            self.told_busy.insert(port, now);
        }
        is_news
    }

    /// Frees the ports whose quarantine is over.
    pub(crate) fn end_quarantine(&mut self, now: Duration) {
        for quarantined in [&mut self.resting, &mut self.busy] {
            while let Some(&(until, port)) = quarantined.first() {
                if until > now {
                    break;
                }
                quarantined.pop_first();
                self.free.push_back(port);
            }
        }
    }

    /// When the next quarantine is over.
    pub(crate) fn next_rested(&self) -> Option<Duration> {
        let first = |of: &BTreeSet<(Duration, u16)>| of.first().map(|&(until, _)| until);
        first(&self.resting).into_iter().chain(first(&self.busy)).min()
    }

    pub(crate) fn free_count(&self) -> usize {
        self.free.len()
    }

    /// How many ports are sure to be free after their rest.
    pub(crate) fn resting_count(&self) -> usize {
        self.resting.len()
    }

    pub(crate) fn leased(&self) -> &BTreeMap<u16, GameId> {
        &self.leased
    }

    /// Every port that is not free, with the place where it is.
    pub(crate) fn taken(&self) -> impl Iterator<Item = (u16, PortState)> {
        let resting = self.resting.iter().map(|&(_, port)| (port, PortState::Resting));
        let busy = self.busy.iter().map(|&(_, port)| (port, PortState::Busy));
        self.leased.keys().map(|&port| (port, PortState::Leased)).chain(resting).chain(busy)
    }

    /// Whether every port is in exactly one place.
    pub(crate) fn is_whole(&self) -> bool {
        let quarantined = self.resting.iter().chain(&self.busy).map(|&(_, port)| port);
        let places = || self.free.iter().chain(self.leased.keys()).copied();
        let all: BTreeSet<u16> = places().chain(quarantined.clone()).collect();
        let sum = places().count() + quarantined.count();
        all.len() == self.size && sum == self.size
    }
}
