//! How many players stand before a ticket.
//!
//! A count for each ticket, for each run of 64 tickets, of 64 times 64, and so on: a place is the sum of a few
//! counts of each, however many wait and however far apart their tickets are.

use std::collections::BTreeMap;

use super::cost;
use crate::queue::Ticket;

/// The players who are present, by their tickets.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// Players in each run of tickets, by its length and its number. Runs of nobody are left out.
    runs: BTreeMap<(u32, u64), usize>,
    total: usize,
}

impl Places {
    pub(super) fn insert(&mut self, ticket: Ticket, players: usize) {
        self.total += players;
        for level in 0..LEVELS {
            cost::count();
            *self.runs.entry((level, run(ticket, level))).or_default() += players;
        }
    }

    pub(super) fn remove(&mut self, ticket: Ticket, players: usize) {
        self.total -= players;
        for level in 0..LEVELS {
            cost::count();
            let key = (level, run(ticket, level));
            let Some(count) = self.runs.get_mut(&key) else {
                unreachable!("{ticket:?} goes and was not counted")
            };
            *count -= players;
            if *count == 0 {
                self.runs.remove(&key);
            }
        }
    }

    /// The players whose tickets are lower.
    pub(super) fn before(&self, ticket: Ticket) -> usize {
        let mut players = 0;
        for level in 0..LEVELS {
            let own = run(ticket, level);
            let first = own & !(RUN_LENGTH - 1);
            for (_, count) in self.runs.range((level, first)..(level, own)) {
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

fn run(ticket: Ticket, level: u32) -> u64 {
    ticket.0 >> (level * RUN_BITS)
}

const RUN_BITS: u32 = 6;
const RUN_LENGTH: u64 = 1 << RUN_BITS;
const LEVELS: u32 = u64::BITS.div_ceil(RUN_BITS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_over_all_tickets_that_there_can_be() {
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
        assert!(places.runs.is_empty() && places.total() == 0);
    }
}
