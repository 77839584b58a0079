//! Tickets by skill and size.
//!
//! There is a set of tickets for each skill, for each band of 16 skills, of 256, and so on, and one for all; each is
//! divided by size. Any range of skills consists of a few adjacent bands, however many tickets they hold.

use std::cmp::Reverse;
use std::collections::btree_set::Range;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::cost;
use crate::queue::Ticket;

#[derive(Debug, Clone)]
pub(super) struct Spectrum {
    /// The number of widths of bands, besides the one for all.
    levels: u32,
    /// Tickets by width, band and size. Empty sets are left out.
    bands: BTreeMap<(u32, u64, usize), BTreeSet<Ticket>>,
}

impl Spectrum {
    /// For ranges of at most this many skills; 0 if only all tickets are queried.
    pub(super) fn new(range_max: u64) -> Self {
        let is_wanted = |&level: &u32| 1 << (level * BAND_BITS) <= range_max;
        let levels = (0..=SKILL_BITS / BAND_BITS).take_while(is_wanted).count();
        Self { levels: levels as u32, bands: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, ticket: Ticket, skill: i32, size: usize) {
        for (level, band) in self.bands_of(skill) {
            cost::count();
            self.bands.entry((level, band, size)).or_default().insert(ticket);
        }
    }

    pub(super) fn remove(&mut self, ticket: Ticket, skill: i32, size: usize) {
        for (level, band) in self.bands_of(skill) {
            cost::count();
            let key = (level, band, size);
            let Some(tickets) = self.bands.get_mut(&key) else {
                unreachable!("{ticket:?} goes and has no band")
            };
            tickets.remove(&ticket);
            if tickets.is_empty() {
                self.bands.remove(&key);
            }
        }
    }

    /// All tickets.
    pub(super) fn all(&self) -> View<'_> {
        let mut view = View::default();
        self.look_at(ALL, 0..1, &mut view);
        view
    }

    /// The tickets whose skill differs by at most `reach`.
    pub(super) fn within(&self, skill: i32, reach: u64) -> View<'_> {
        let middle = to_key(skill);
        let mut view = View::default();
        let (mut first, mut end) = (middle.saturating_sub(reach), middle + reach + 1);
        for level in 0..self.levels {
            let inner = first.div_ceil(BAND_LENGTH)..end / BAND_LENGTH;
            if level + 1 == self.levels || inner.is_empty() {
                self.look_at(level, first..end, &mut view);
                break;
            }
            self.look_at(level, first..inner.start * BAND_LENGTH, &mut view);
            self.look_at(level, inner.end * BAND_LENGTH..end, &mut view);
            (first, end) = (inner.start, inner.end);
        }
        view
    }

    fn look_at<'a>(&'a self, level: u32, bands: std::ops::Range<u64>, view: &mut View<'a>) {
        let keys = (level, bands.start, 0)..(level, bands.end, 0);
        for (&(_, _, size), tickets) in self.bands.range(keys) {
            cost::count();
            view.sets.push((size, tickets));
        }
    }

    fn bands_of(&self, skill: i32) -> impl Iterator<Item = (u32, u64)> + use<> {
        let band = move |level| (level, to_key(skill) >> (level * BAND_BITS));
        (0..self.levels).map(band).chain([(ALL, 0)])
    }
}

/// The tickets of a range of skills, in sets of one size each.
#[derive(Debug, Default)]
pub(super) struct View<'a> {
    sets: Vec<(usize, &'a BTreeSet<Ticket>)>,
}

impl<'a> View<'a> {
    /// Only groups up to this size.
    pub(super) fn up_to(mut self, size_max: usize) -> Self {
        self.sets.retain(|&(size, _)| size <= size_max);
        self
    }

    /// The number of groups of each size up to this one.
    pub(super) fn counts(&self, size_max: usize) -> Vec<usize> {
        let mut counts = vec![0; size_max + 1];
        for (size, tickets) in &self.sets {
            counts[*size] += tickets.len();
        }
        counts
    }

    /// The tickets in order, starting with this one, with their sizes.
    pub(super) fn in_order_from(&self, first: Ticket) -> InOrder<'a> {
        let mut order = InOrder { heads: BinaryHeap::new(), tails: Vec::new(), left_out: 0 };
        for &(size, tickets) in &self.sets {
            order.tails.push(tickets.range(first..));
            order.advance(order.tails.len() - 1, size);
        }
        order
    }

    pub(super) fn in_order(&self) -> InOrder<'a> {
        self.in_order_from(Ticket(0))
    }
}

/// The tickets of several sets in one order.
#[derive(Debug)]
pub(super) struct InOrder<'a> {
    /// The next ticket of each set, with its size and the set's index.
    heads: BinaryHeap<Reverse<(Ticket, usize, usize)>>,
    tails: Vec<Range<'a, Ticket>>,
    /// The excluded sizes, a bit for each.
    left_out: u128,
}

impl InOrder<'_> {
    /// Excludes all groups of this size from now on.
    pub(super) fn leave_out(&mut self, size: usize) {
        self.left_out |= bit(size);
    }

    fn advance(&mut self, set: usize, size: usize) {
        if let Some(&ticket) = self.tails[set].next() {
            self.heads.push(Reverse((ticket, size, set)));
        }
    }
}

impl Iterator for InOrder<'_> {
    type Item = (Ticket, usize);

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(Reverse((ticket, size, set))) = self.heads.pop() {
            cost::count();
            if self.left_out & bit(size) == 0 {
                self.advance(set, size);
                return Some((ticket, size));
            }
        }
        None
    }
}

/// Sizes are 1 to [`PLAYERS_PER_MATCH_MAX`](crate::limits::PLAYERS_PER_MATCH_MAX), as many as there are bits.
fn bit(size: usize) -> u128 {
    1 << (size - 1)
}

/// Maps skills to numbers from 0, in the same order.
fn to_key(skill: i32) -> u64 {
    u64::from(skill.abs_diff(i32::MIN))
}

const BAND_BITS: u32 = 4;
const BAND_LENGTH: u64 = 1 << BAND_BITS;
const SKILL_BITS: u32 = 32;
/// The width of the band of all.
const ALL: u32 = u32::MAX;
const _: () = assert!(crate::limits::PLAYERS_PER_MATCH_MAX <= u128::BITS as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_its_skills_and_no_others() {
        let skills = [i32::MIN, i32::MIN + 1, -257, -256, -16, -1, 0, 1, 15, 16, 255, 4_096];
        let skills = skills.iter().copied().chain([i32::MAX - 1, i32::MAX]);
        let skills: Vec<i32> = skills.collect();
        for range_max in [1, 3, 33, 5_000, 1 << 33] {
            let mut spectrum = Spectrum::new(range_max);
            for (index, &skill) in skills.iter().enumerate() {
                spectrum.insert(Ticket(index as u64), skill, index % 3 + 1);
            }
            for &middle in &skills {
                for reach in [0, 1, 15, 16, 17, 255, 256, 257, 5_000, 1 << 31, 1 << 32] {
                    let tickets = spectrum.within(middle, reach).in_order();
                    let found: Vec<usize> = tickets.map(|(ticket, _)| ticket.0 as usize).collect();
                    let is_near =
                        |&index: &usize| u64::from(skills[index].abs_diff(middle)) <= reach;
                    let near: Vec<usize> = (0..skills.len()).filter(is_near).collect();
                    assert_eq!(found, near, "{middle} and {reach}, made for {range_max}");
                }
            }
            for (index, &skill) in skills.iter().enumerate() {
                spectrum.remove(Ticket(index as u64), skill, index % 3 + 1);
            }
            assert!(spectrum.bands.is_empty());
        }
    }

    #[test]
    fn sizes_can_be_distinguished_and_excluded() {
        let mut spectrum = Spectrum::new(0);
        for ticket in 1..=9 {
            spectrum.insert(Ticket(ticket), 7, ticket as usize % 3 + 1);
        }
        assert_eq!(spectrum.all().counts(4), [0, 3, 3, 3, 0]);
        assert_eq!(spectrum.all().up_to(2).counts(4), [0, 3, 3, 0, 0]);
        let mut order = spectrum.all().in_order_from(Ticket(2));
        assert_eq!(order.next(), Some((Ticket(2), 3)));
        order.leave_out(3);
        let rest: Vec<u64> = order.map(|(ticket, _)| ticket.0).collect();
        assert_eq!(rest, [3, 4, 6, 7, 9]);
    }
}
