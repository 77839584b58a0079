//! The ring of ports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::ids::GameId;

/// Every port of the ring is in exactly one of three places: `free`, in the order in which it came back, so
/// that the least recently used is leased first; `leased` to one game; or `quarantined` until a time, so that
/// late datagrams for its last game find nobody.
#[derive(Debug)]
pub(crate) struct PortRing {
    free: VecDeque<u16>,
    leased: BTreeMap<u16, GameId>,
    quarantined: BTreeSet<(Duration, u16)>,
    size: usize,
}

impl PortRing {
    pub(crate) fn new(ports: RangeInclusive<u16>) -> Self {
        let free: VecDeque<u16> = ports.collect();
        Self { size: free.len(), free, leased: BTreeMap::new(), quarantined: BTreeSet::new() }
    }

    pub(crate) fn lease(&mut self, game: GameId) -> Option<u16> {
        let port = self.free.pop_front()?;
        let before = self.leased.insert(port, game);
        assert!(before.is_none(), "port {port} leased twice");
        Some(port)
    }

    /// Takes a port back from its game. It rests until `rest_until`, or is free at once.
    pub(crate) fn release(&mut self, port: u16, game: GameId, rest_until: Option<Duration>) {
        let holder = self.leased.remove(&port);
        assert_eq!(holder, Some(game), "port {port} returned by a game that does not hold it");
        match rest_until {
            Some(until) => drop(self.quarantined.insert((until, port))),
            None => self.free.push_back(port),
        }
    }

    /// Frees the ports that have rested.
    pub(crate) fn end_quarantine(&mut self, now: Duration) {
        while let Some(&(until, port)) = self.quarantined.first() {
            if until > now {
                break;
            }
            self.quarantined.pop_first();
            self.free.push_back(port);
        }
    }

    pub(crate) fn next_rested(&self) -> Option<Duration> {
        self.quarantined.first().map(|&(until, _)| until)
    }

    pub(crate) fn free_count(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn quarantined_count(&self) -> usize {
        self.quarantined.len()
    }

    pub(crate) fn leased(&self) -> &BTreeMap<u16, GameId> {
        &self.leased
    }

    /// Whether every port is in exactly one place.
    pub(crate) fn is_whole(&self) -> bool {
        let quarantined = self.quarantined.iter().map(|&(_, port)| port);
        let all: BTreeSet<u16> = self
            .free
            .iter()
            .copied()
            .chain(self.leased.keys().copied())
            .chain(quarantined)
            .collect();
        let sum = self.free.len() + self.leased.len() + self.quarantined.len();
        all.len() == self.size && sum == self.size
    }

    /// A planted defect: gives a port out while a game holds it.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn plant_free_while_leased(&mut self, port: u16) {
        self.free.push_back(port);
    }
}
