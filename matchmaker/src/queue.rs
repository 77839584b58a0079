//! A FIFO of tickets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::PlayerId;

/// A place in a queue: the sequence number of the READY that it stands for. A player who goes back to the
/// queue goes back with it, and so stands where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub(crate) u64);

/// The players who wait for a match in one mode, in the order of their tickets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Queue {
    tickets: BTreeMap<Ticket, PlayerId>,
}

impl Queue {
    pub(crate) fn insert(&mut self, ticket: Ticket, player: PlayerId) {
        let before = self.tickets.insert(ticket, player);
        assert!(before.is_none(), "two players on one ticket");
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) {
        let before = self.tickets.remove(&ticket);
        assert!(before.is_some(), "a ticket that is not in its queue");
    }

    /// Takes the first `count` players, if there are as many.
    pub(crate) fn take_first(&mut self, count: usize) -> Option<Vec<PlayerId>> {
        if self.tickets.len() < count {
            return None;
        }
        Some(
            std::iter::from_fn(|| self.tickets.pop_first())
                .take(count)
                .map(|(_, player)| player)
                .collect(),
        )
    }

    /// The place of a ticket, from 1. Its cost grows with the place, which stays below the size of a match:
    /// the first players of a full match are always taken at once.
    pub(crate) fn position(&self, ticket: Ticket) -> usize {
        self.tickets.range(..=ticket).count()
    }

    /// The ticket of the first player.
    pub(crate) fn first(&self) -> Option<Ticket> {
        self.tickets.first_key_value().map(|(&ticket, _)| ticket)
    }

    pub(crate) fn len(&self) -> usize {
        self.tickets.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ticket, PlayerId)> {
        self.tickets.iter().map(|(&ticket, &player)| (ticket, player))
    }
}
