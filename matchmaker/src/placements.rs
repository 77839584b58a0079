//! The capacity of hosting, and the placements that are under way.

use std::collections::VecDeque;

use protocol::ModeId;
use protocol::placement::{Capacity, ModeCapacity};
use serde::{Deserialize, Serialize};

/// The capacity of hosting, less the placements that it has not seen yet.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Placements {
    capacity: Capacity,
    /// The numbers and modes of placements that the capacity did not include when it was reported.
    under_way: VecDeque<(u64, ModeId)>,
    /// The number of the last placement.
    last: u64,
}

impl Placements {
    /// Takes the capacity that hosting reports, and subtracts what is still under way.
    pub(crate) fn set_capacity(&mut self, capacity: Capacity) {
        self.under_way.retain(|&(number, _)| number > capacity.placed_up_to);
        self.capacity = capacity;
        for (_, mode) in self.under_way.clone() {
            self.subtract(mode);
        }
    }

    /// Counts a placement, and returns its number and whether there is a warm game for it.
    pub(crate) fn place(&mut self, mode: ModeId) -> (u64, bool) {
        self.last += 1;
        self.under_way.push_back((self.last, mode));
        (self.last, self.subtract(mode))
    }

    /// Subtracts a placement: a warm game, or else a port and a launch. Returns whether it was a warm game.
    fn subtract(&mut self, mode: ModeId) -> bool {
        let Some(of_mode) = self.capacity.modes.get_mut(mode.0) else { return false };
        if of_mode.warm > 0 {
            of_mode.warm -= 1;
            return true;
        }
        // The games of a mode that keeps failing are launched one at a time.
        of_mode.may_launch &= !of_mode.is_failing;
        self.capacity.free = self.capacity.free.saturating_sub(1);
        self.capacity.launches = self.capacity.launches.saturating_sub(1);
        false
    }

    /// The capacity that is left for a mode.
    pub(crate) fn mode(&self, mode: ModeId) -> ModeCapacity {
        self.capacity.modes.get(mode.0).copied().unwrap_or_default()
    }

    pub(crate) fn free_ports(&self) -> usize {
        self.capacity.free
    }

    pub(crate) fn has_launches(&self) -> bool {
        self.capacity.launches > 0
    }

    /// Whether hosting has this capacity, beside the placements under way.
    pub(crate) fn agrees_with(&self, capacity: &Capacity) -> bool {
        let mine = &self.capacity;
        (mine.free, mine.launches, &mine.modes)
            == (capacity.free, capacity.launches, &capacity.modes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(free: usize, warm: usize, placed_up_to: u64) -> Capacity {
        let modes = vec![ModeCapacity { warm, launching: 0, may_launch: true, is_failing: false }];
        Capacity { free, launches: 9, modes, placed_up_to }
    }

    #[test]
    fn what_is_under_way_is_subtracted_until_hosting_has_seen_it() {
        let mut placements = Placements::default();
        placements.set_capacity(capacity(2, 1, 0));
        assert_eq!(placements.place(ModeId(0)), (1, true));
        assert_eq!(placements.place(ModeId(0)), (2, false));
        assert_eq!((placements.mode(ModeId(0)).warm, placements.free_ports()), (0, 1));
        // Hosting has seen the first, and a port was freed meanwhile.
        placements.set_capacity(capacity(3, 0, 1));
        assert_eq!(placements.free_ports(), 2);
        assert!(placements.has_launches());
        placements.set_capacity(capacity(2, 0, 2));
        assert_eq!(placements.free_ports(), 2);
        assert!(placements.agrees_with(&capacity(2, 0, 2)));
        assert!(!placements.agrees_with(&capacity(2, 1, 2)));
    }
}
