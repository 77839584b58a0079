//! The one source of deadlines of a state machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

/// Deadlines by time and by owner. An owner has at most one.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Vec<(K, Duration)>", bound(deserialize = "K: Ord + Copy + Deserialize<'de>"))]
pub struct Deadlines<K: Ord + Copy> {
    by_time: BTreeSet<(Duration, K)>,
    by_owner: BTreeMap<K, Duration>,
}

impl<K: Ord + Copy> Default for Deadlines<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_owner: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Replaces an owner's deadline; `None` removes it.
    pub fn set(&mut self, owner: K, at: Option<Duration>) {
        let before = match at {
            Some(at) => self.by_owner.insert(owner, at),
            None => self.by_owner.remove(&owner),
        };
        if let Some(before) = before {
            self.by_time.remove(&(before, owner));
        }
        if let Some(at) = at {
            self.by_time.insert((at, owner));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// Removes the earliest deadline that is due.
    pub fn pop_due(&mut self, now: Duration) -> Option<K> {
        let &(at, owner) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_owner.remove(&owner);
        Some(owner)
    }

    /// An owner's deadline.
    pub fn of(&self, owner: K) -> Option<Duration> {
        self.by_owner.get(&owner).copied()
    }

    /// Every owner of a deadline.
    pub fn owners(&self) -> impl Iterator<Item = K> {
        self.by_owner.keys().copied()
    }
}

impl<K: Ord + Copy> From<Vec<(K, Duration)>> for Deadlines<K> {
    fn from(saved: Vec<(K, Duration)>) -> Self {
        let mut deadlines = Self::default();
        saved.into_iter().for_each(|(owner, at)| deadlines.set(owner, Some(at)));
        deadlines
    }
}

impl<K: Ord + Copy + Serialize> Serialize for Deadlines<K> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.by_owner)
    }
}
