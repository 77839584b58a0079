//! Filling squads completely with groups, without splitting any.
//!
//! Single players fit everywhere, so only parties are a puzzle: those that must be included are put into squads,
//! largest first, then others are added until the single players suffice for the remaining slots. All possibilities are
//! tried, except equivalent ones, until [`FILLING_STEPS_MAX`] steps are done.

use super::cost;
use crate::limits::FILLING_STEPS_MAX;

/// A way to fill all squads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filling {
    /// The sizes of the parties in each squad, without single players.
    parties: Vec<Vec<usize>>,
    /// The slots for single players in each squad.
    singles: Vec<usize>,
}

impl Filling {
    /// Fills the squads with all groups in `must`, and any of those in `may`; both hold the number of groups of each
    /// size. `None` if it is impossible, or was not found within the allowed steps.
    pub(super) fn find(squads: &[usize], must: &[usize], may: &[usize]) -> Option<Self> {
        let places: usize = squads.iter().sum();
        let players = |counts: &[usize]| -> usize {
            counts.iter().enumerate().map(|(size, count)| size * count).sum()
        };
        if players(must) > places || players(must).saturating_add(players(may)) < places {
            return None;
        }
        let mut search = Search {
            may: may.to_vec(),
            singles: must[1]..=must[1] + may[1],
            left: squads.to_vec(),
            parties: vec![Vec::new(); squads.len()],
            free_max: squads.iter().copied().max().unwrap_or_default(),
            waste: Vec::new(),
            steps: 0,
        };
        let due: Vec<usize> =
            (2..must.len()).rev().flat_map(|size| std::iter::repeat_n(size, must[size])).collect();
        let is_found = search.place(&due);
        is_found.then_some(Self { parties: search.parties, singles: search.left })
    }

    /// The number of included groups of a size.
    pub(super) fn count(&self, size: usize) -> usize {
        match size {
            1 => self.singles.iter().sum(),
            _ => self.parties.iter().flatten().filter(|&&party| party == size).count(),
        }
    }

    /// Takes a slot for a group of this size, in the first squad that has one.
    pub(super) fn take(&mut self, size: usize) -> Option<usize> {
        if size == 1 {
            let squad = self.singles.iter().position(|&places| places > 0)?;
            self.singles[squad] -= 1;
            return Some(squad);
        }
        for (squad, parties) in self.parties.iter_mut().enumerate() {
            if let Some(index) = parties.iter().position(|&party| party == size) {
                parties.swap_remove(index);
                return Some(squad);
            }
        }
        None
    }
}

/// The state of a search. Its depth is at most the number of players in a match.
struct Search {
    /// The groups that can still be added, by size.
    may: Vec<usize>,
    /// The possible numbers of single players.
    singles: std::ops::RangeInclusive<usize>,
    /// Free slots by squad.
    left: Vec<usize>,
    parties: Vec<Vec<usize>>,
    /// The slots of the largest squad.
    free_max: usize,
    /// See [`waste`]; empty until it is needed.
    waste: Vec<usize>,
    steps: u32,
}

impl Search {
    /// Places the parties that must be included, then as many others as necessary.
    fn place(&mut self, due: &[usize]) -> bool {
        let Some((&size, rest)) = due.split_first() else {
            return self.add(0, self.may.len() - 1);
        };
        for squad in 0..self.left.len() {
            let free = self.left[squad];
            // Squads with the same number of free slots are equivalent.
            if free < size || self.left[..squad].contains(&free) {
                continue;
            }
            if !self.step() {
                return false;
            }
            self.put(squad, size);
            if self.place(rest) {
                return true;
            }
            self.take_back(squad, size);
        }
        false
    }

    /// Adds parties of `size_max` and below to a squad, then to those after it, until single players can fill the rest.
    fn add(&mut self, squad: usize, size_max: usize) -> bool {
        let free: usize = self.left.iter().sum();
        if free <= *self.singles.end() {
            return free >= *self.singles.start();
        }
        if squad == self.left.len() || !self.step() {
            return false;
        }
        if self.waste_from(squad) > *self.singles.end() {
            return false;
        }
        for size in (2..=size_max.min(self.left[squad])).rev() {
            if self.may[size] == 0 || free - size < *self.singles.start() {
                continue;
            }
            self.may[size] -= 1;
            self.put(squad, size);
            if self.add(squad, size) {
                return true;
            }
            self.take_back(squad, size);
            self.may[size] += 1;
        }
        self.add(squad + 1, self.may.len() - 1)
    }

    fn put(&mut self, squad: usize, size: usize) {
        self.left[squad] -= size;
        self.parties[squad].push(size);
    }

    fn take_back(&mut self, squad: usize, size: usize) {
        self.parties[squad].pop();
        self.left[squad] += size;
    }

    /// The slots that only single players can fill, whatever is added to this squad and those after it.
    fn waste_from(&mut self, squad: usize) -> usize {
        if self.waste.is_empty() {
            self.waste = waste(&self.may, self.free_max);
        }
        let (before, after) = self.left.split_at(squad);
        before.iter().sum::<usize>() + after.iter().map(|&free| self.waste[free]).sum::<usize>()
    }

    fn step(&mut self) -> bool {
        cost::count();
        self.steps += 1;
        self.steps <= FILLING_STEPS_MAX
    }
}

/// For each number of free slots: how many of them stay free at least when parties fill them.
fn waste(may: &[usize], free_max: usize) -> Vec<usize> {
    let mut is_sum = vec![false; free_max + 1];
    is_sum[0] = true;
    for (size, &count) in may.iter().enumerate().skip(2) {
        for _ in 0..count.min(free_max / size) {
            for sum in (size..=free_max).rev() {
                is_sum[sum] |= is_sum[sum - size];
            }
        }
    }
    let mut filled = 0;
    let waste_of = |(free, is_sum)| {
        if is_sum {
            filled = free;
        }
        free - filled
    };
    is_sum.into_iter().enumerate().map(waste_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts by size, from size 1 on.
    fn find(squads: &[usize], must: &[usize], may: &[usize]) -> Option<Filling> {
        let from_zero = |counts: &[usize]| [&[0], counts].concat();
        Filling::find(squads, &from_zero(must), &from_zero(may))
    }

    #[test]
    fn single_players_fill_any_squads() {
        let mut filling = find(&[2, 1, 3], &[0, 0, 0], &[9, 0, 0]).unwrap();
        let squads: Vec<usize> = (0..6).filter_map(|_| filling.take(1)).collect();
        assert_eq!(squads, [0, 0, 1, 2, 2, 2]);
        assert_eq!(filling.take(1), None);
        assert_eq!(find(&[2, 1, 3], &[0, 0, 0], &[5, 0, 0]), None);
    }

    #[test]
    fn parties_are_not_split() {
        assert_eq!(find(&[3, 3], &[0, 0, 0], &[0, 3, 0]), None, "three pairs are not two threes");
        assert_eq!(find(&[3, 3], &[0, 1, 0], &[1, 5, 0]), None, "one player short");
        assert!(find(&[3, 3], &[0, 1, 0], &[2, 5, 0]).is_some());
        assert!(find(&[6], &[0, 0, 0], &[0, 3, 0]).is_some());
    }

    #[test]
    fn required_groups_are_included() {
        // Two pairs and a three: only as 2 + 2 and 3 + 1.
        let mut filling = find(&[4, 4], &[0, 2, 1, 0], &[1, 0, 0, 9]).unwrap();
        assert_eq!([2, 2, 3, 1].map(|size| filling.count(size)), [2, 2, 1, 1]);
        let (pair, three) = (filling.take(2), filling.take(3));
        assert_eq!(filling.take(2), pair, "the pairs are together");
        assert_eq!(filling.take(1), three, "the single player is with the three");
        assert_eq!(
            find(&[4, 4], &[3, 1, 1, 0], &[9, 9, 9, 9]),
            find(&[4, 4], &[3, 1, 1, 0], &[0; 4])
        );
        assert_eq!(find(&[4, 4], &[3, 2, 1, 0], &[9; 4]), None, "ten do not fit");
    }

    #[test]
    fn a_hopeless_search_ends() {
        // A hundred slots and parties of many sizes, all of them even except for one odd squad.
        let may: Vec<usize> = (1..=99).map(|size| if size % 2 == 0 { 50 } else { 0 }).collect();
        let (none, cost) = cost::of(|| find(&[99], &[0; 99], &may));
        assert_eq!((none, cost), (None, 1), "not recognized at once");
        let squads = [5; 25];
        let (_, cost) = cost::of(|| find(&squads, &[0, 0, 0, 0, 0], &[3, 40, 11, 12, 1]));
        // While backtracking each level notices that the steps are used up.
        assert!(cost <= u64::from(FILLING_STEPS_MAX) + 128, "{cost} steps");
    }
}
