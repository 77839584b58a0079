//! The number of players before a ticket.
//!
//! There is a count for each ticket, for each run of 64 tickets, of 64 times 64, and so on: a position is the sum of a
//! few counts of each, however many tickets wait and however far apart they are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::cost;
use crate::queue::Ticket;

/// The present players, by their tickets.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// The players in each run of tickets: a map for each length, by the run's number. Empty runs are left out, and if
    /// the tickets are near each other there are few long runs.
    runs: [BTreeMap<u64, usize>; LEVELS],
    total: usize,
}

impl Places {
    pub(super) fn insert(&mut self, ticket: Ticket, players: usize) {
        self.total += players;
        for (level, runs) in self.runs.iter_mut().enumerate() {
            cost::count();
            *runs.entry(run(ticket, level)).or_default() += players;
        }
    }

    pub(super) fn remove(&mut self, ticket: Ticket, players: usize) {
        self.total -= players;
        for (level, runs) in self.runs.iter_mut().enumerate() {
            cost::count();
            let Entry::Occupied(mut count) = runs.entry(run(ticket, level)) else {
                unreachable!("{ticket:?} goes and was not counted")
            };
            *count.get_mut() -= players;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// The number of players with lower tickets.
    pub(super) fn before(&self, ticket: Ticket) -> usize {
        let mut players = 0;
        for (level, runs) in self.runs.iter().enumerate() {
            let own = run(ticket, level);
            let first = own & !(RUN_LENGTH - 1);
            for (_, count) in runs.range(first..own) {
                cost::count();
                players += count;
            }
        }
        players
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }
}

fn run(ticket: Ticket, level: usize) -> u64 {
    ticket.0 >> (level * RUN_BITS)
}

const RUN_BITS: usize = 6;
const RUN_LENGTH: u64 = 1 << RUN_BITS;
const LEVELS: usize = (u64::BITS as usize).div_ceil(RUN_BITS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_right_for_all_possible_tickets() {
        let tickets = [0, 1, 63, 64, 65, 4_095, 4_096, 1 << 40, u64::MAX - 1, u64::MAX];
        let mut places = Places::default();
        for (index, &ticket) in tickets.iter().enumerate() {
            places.insert(Ticket(ticket), index + 1);
        }
        for (index, &ticket) in tickets.iter().enumerate() {
            assert_eq!(places.before(Ticket(ticket)), index * (index + 1) / 2, "{ticket}");
        }
        assert_eq!(places.total(), 55);
        for (index, &ticket) in tickets.iter().enumerate() {
            places.remove(Ticket(ticket), index + 1);
            assert_eq!(places.before(Ticket(ticket)), 0, "{ticket}");
        }
        assert!(places.runs.iter().all(BTreeMap::is_empty) && places.total() == 0);
    }
}
