//! The deadlines of players.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Deadlines of players, by their places.
///
/// A deadline that moves to a later time costs nothing: the earlier entry stays, its player is polled once for nothing,
/// and then waits for the later one. A player with a deadline has one entry, or a few after it moved to earlier times.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: BinaryHeap<Reverse<(Duration, usize)>>,
    /// By place, the earliest existing entry.
    earliest: Vec<Option<Duration>>,
}

impl Timers {
    /// Sets or removes a player's deadline.
    pub(crate) fn set(&mut self, place: usize, at: Option<Duration>) {
        if self.earliest.len() <= place {
            self.earliest.resize(place + 1, None);
        }
        let Some(at) = at else { return };
        if self.earliest[place].is_none_or(|earliest| at < earliest) {
            self.earliest[place] = Some(at);
            self.entries.push(Reverse((at, place)));
        }
    }

    /// A player whose deadline may have passed. The deadline must be set again.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<usize> {
        while let Some(Reverse((at, place))) = self.entries.peek().copied() {
            if at > now {
                return None;
            }
            self.entries.pop();
            // An entry that was replaced by an earlier one is ignored.
            if self.earliest[place] == Some(at) {
                self.earliest[place] = None;
                return Some(place);
            }
        }
        None
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.entries.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn deadlines_fire_in_time_and_once() {
        let mut timers = Timers::default();
        timers.set(3, Some(ms(30)));
        timers.set(1, Some(ms(10)));
        timers.set(3, Some(ms(20)));
        timers.set(2, None);
        assert_eq!(timers.next_deadline(), Some(ms(10)));
        assert_eq!((timers.poll(ms(9)), timers.poll(ms(25))), (None, Some(1)));
        assert_eq!((timers.poll(ms(25)), timers.poll(ms(25))), (Some(3), None));
        assert_eq!(timers.poll(ms(99)), None, "the replaced entry");
    }

    #[test]
    fn moving_deadlines_do_not_grow_the_heap() {
        let mut timers = Timers::default();
        for round in 0..1000 {
            for place in 0..10 {
                timers.set(place, Some(ms(1000 + round)));
            }
        }
        assert_eq!(timers.entries.len(), 10);
    }
}
