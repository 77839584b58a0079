//! The one source of deadlines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use protocol::{Account, GameId, MatchId, ModeId, PlayerId};

/// Whose deadline it is. Each owner has one at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Owner {
    /// The player's place is kept no longer.
    Away(PlayerId),
    /// Who has not accepted the match is out.
    Offer(MatchId),
    /// The ticket whose first player this is has waited for long enough.
    Wait(PlayerId),
    /// A window may widen, and there may be a match.
    Windows(ModeId),
    /// The game's phase lasts too long.
    Game(GameId),
    /// The mode may launch again.
    Mode(ModeId),
    /// The mode may have more warm games than it wants.
    Surplus(ModeId),
    /// Games may be launched to be warm.
    Refill,
    /// A port has rested.
    Ports,
    /// The drain has lasted.
    Drain,
    /// The account's pause is over.
    Pause(Account),
    /// The players of the match had time to come in.
    Arrivals(MatchId),
    /// Players who wait in the mode may be told something.
    Telling(ModeId),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Vec<(Owner, Duration)>")]
pub(crate) struct Deadlines {
    by_time: BTreeSet<(Duration, Owner)>,
    by_owner: BTreeMap<Owner, Duration>,
}

impl Deadlines {
    /// Sets an owner's deadline in place of the one before; `None` takes it away.
    pub(crate) fn set(&mut self, owner: Owner, at: Option<Duration>) {
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

    pub(crate) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|&(at, _)| at)
    }

    /// Takes away the earliest deadline that is due.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<Owner> {
        let &(at, owner) = self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_owner.remove(&owner);
        Some(owner)
    }

    pub(crate) fn of(&self, owner: Owner) -> Option<Duration> {
        self.by_owner.get(&owner).copied()
    }

    pub(crate) fn owners(&self) -> impl Iterator<Item = Owner> {
        self.by_owner.keys().copied()
    }
}

impl From<Vec<(Owner, Duration)>> for Deadlines {
    fn from(saved: Vec<(Owner, Duration)>) -> Self {
        let mut deadlines = Self::default();
        saved.into_iter().for_each(|(owner, at)| deadlines.set(owner, Some(at)));
        deadlines
    }
}

impl Serialize for Deadlines {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(&self.by_owner)
    }
}
