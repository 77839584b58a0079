//! Whose resume key it is.

use std::collections::BTreeSet;

use protocol::Secret;
use serde::{Deserialize, Serialize};

use protocol::PlayerId;

/// Who may be meant by a key, by the key's first half. The other half is compared by whoever asks, in constant
/// time: how long a search takes tells nothing of it, and half of 128 bits is more than can be guessed.
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

    /// The players whose keys begin as this one does: one, or none.
    pub(crate) fn candidates(&self, key: &Secret) -> impl Iterator<Item = PlayerId> {
        let half = key.first_half();
        self.by_half.range((half, PlayerId(0))..=(half, PlayerId(u64::MAX))).map(|&(_, id)| id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_half.len()
    }
}
