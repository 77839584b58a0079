//! When which player wants its turn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Deadlines of players, by their places.
///
/// A deadline that moves to a later time costs nothing: the earlier entry stays, its player is looked at in vain
/// once, and then waits for the later one. A player that has a deadline has one entry, or a few when it moved to
/// earlier times.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    entries: BinaryHeap<Reverse<(Duration, usize)>>,
    /// By place, the earliest entry that is known to be there.
    earliest: Vec<Option<Duration>>,
}

impl Timers {
    /// A player wants its turn at this time, or whenever something happens.
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

    /// A player whose turn may be due. Its deadline is to be set again.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<usize> {
        while let Some(Reverse((at, place))) = self.entries.peek().copied() {
            if at > now {
                return None;
            }
            self.entries.pop();
            // An entry that an earlier one has replaced is nobody's.
            if self.earliest[place] == Some(at) {
                self.earliest[place] = None;
                return Some(place);
            }
        }
        None
    }

    /// When a turn may be due.
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
    fn turns_come_in_time_and_once() {
        let mut timers = Timers::default();
        timers.set(3, Some(ms(30)));
        timers.set(1, Some(ms(10)));
        timers.set(3, Some(ms(20)));
        timers.set(2, None);
        assert_eq!(timers.next_deadline(), Some(ms(10)));
        assert_eq!((timers.poll(ms(9)), timers.poll(ms(25))), (None, Some(1)));
        assert_eq!((timers.poll(ms(25)), timers.poll(ms(25))), (Some(3), None));
        assert_eq!(timers.poll(ms(99)), None, "the entry that was replaced");
    }

    #[test]
    fn deadlines_that_move_on_make_no_heap_grow() {
        let mut timers = Timers::default();
        for round in 0..1000 {
            for place in 0..10 {
                timers.set(place, Some(ms(1000 + round)));
            }
        }
        assert_eq!(timers.entries.len(), 10);
    }
}
