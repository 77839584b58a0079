//! A FIFO of tickets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::PlayerId;

/// A place in a queue: the sequence number of the READY that it stands for. A player who goes back to the
/// queue goes back with it, and so stands where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub(crate) u64);

/// The players who wait for a match in one mode, in the order of their tickets.
///
/// A player who is away keeps its ticket and is passed over: it is in no match, and nobody's place counts it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Queue {
    present: BTreeMap<Ticket, PlayerId>,
    away: BTreeMap<Ticket, PlayerId>,
}

impl Queue {
    /// Puts a player in who is here.
    pub(crate) fn insert(&mut self, ticket: Ticket, player: PlayerId) {
        let before = self.present.insert(ticket, player);
        assert!(before.is_none() && !self.away.contains_key(&ticket), "two players on one ticket");
    }

    /// Takes a player out, here or away.
    pub(crate) fn remove(&mut self, ticket: Ticket) {
        let before = self.present.remove(&ticket).or_else(|| self.away.remove(&ticket));
        assert!(before.is_some(), "a ticket that is not in its queue");
    }

    /// Notes that a player who was here is away.
    pub(crate) fn set_away(&mut self, ticket: Ticket) {
        let player = self.present.remove(&ticket);
        self.away.extend(player.map(|player| (ticket, player)));
    }

    /// Notes that a player who was away is here.
    pub(crate) fn set_present(&mut self, ticket: Ticket) {
        let player = self.away.remove(&ticket);
        self.present.extend(player.map(|player| (ticket, player)));
    }

    /// Takes the first `count` players, if there are as many.
    pub(crate) fn take_first(&mut self, count: usize) -> Option<Vec<PlayerId>> {
        if self.present.len() < count {
            return None;
        }
        Some(
            std::iter::from_fn(|| self.present.pop_first())
                .take(count)
                .map(|(_, player)| player)
                .collect(),
        )
    }

    /// The place of a ticket, from 1. Its cost grows with the place, which stays below the size of a match:
    /// the first players of a full match are always taken at once.
    pub(crate) fn position(&self, ticket: Ticket) -> usize {
        self.present.range(..=ticket).count()
    }

    /// The ticket of the first player.
    pub(crate) fn first(&self) -> Option<Ticket> {
        self.present.first_key_value().map(|(&ticket, _)| ticket)
    }

    /// How many players are here.
    pub(crate) fn len(&self) -> usize {
        self.present.len()
    }

    /// The players who are here, first to last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ticket, PlayerId)> {
        self.present.iter().map(|(&ticket, &player)| (ticket, player))
    }

    /// The players who are away.
    pub(crate) fn away(&self) -> impl ExactSizeIterator<Item = (Ticket, PlayerId)> {
        self.away.iter().map(|(&ticket, &player)| (ticket, player))
    }
}
