//! The index of resume keys.

use std::collections::BTreeSet;

use protocol::Secret;
use serde::{Deserialize, Serialize};

use protocol::PlayerId;

/// The players by the first half of their keys. The caller compares the other half in constant time: the duration of a
/// search reveals nothing about it, and 64 bits cannot be guessed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Sessions {
    by_half: BTreeSet<(u64, PlayerId)>,
}

impl Sessions {
    pub(crate) fn insert(&mut self, key: &Secret, player: PlayerId) {
        self.by_half.insert((key.first_half(), player));
    }

    pub(crate) fn remove(&mut self, key: &Secret, player: PlayerId) {
        self.by_half.remove(&(key.first_half(), player));
    }

    /// The players whose keys begin with the same half: one, or none.
    pub(crate) fn candidates(&self, key: &Secret) -> impl Iterator<Item = PlayerId> {
        let half = key.first_half();
        self.by_half.range((half, PlayerId(0))..=(half, PlayerId(u64::MAX))).map(|&(_, id)| id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_half.len()
    }
}
