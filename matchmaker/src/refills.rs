//! When games are launched to be warm: after all matches that wait, a few at a time, and in quiet moments.
//!
//! A launch takes the processors for longer than all that is left to be done for a match that has just got a warm
//! game. So that game is not replaced in the same turn: it is when no match has taken a step for a moment, or else
//! when it has been missing for a while, so that matches that never pause do not use up all there is. Then all
//! that are missing are launched; there is nothing to gain from launching some of them later still.

use std::time::Duration;

use crate::deadlines::Owner;
use crate::limits;
use crate::matchmaker::Matchmaker;
use protocol::ModeId;

impl Matchmaker {
    /// Takes note of a match that was formed, is given a game to launch, is sent to one, or is assigned.
    pub(crate) fn note_match_step(&mut self) {
        self.last_match_step = Some(self.now);
    }

    /// Launches games to keep modes warm, or looks again when it may.
    pub(crate) fn refill(&mut self) {
        self.note_missing();
        if self.refill_due().is_some_and(|due| due <= self.now) {
            self.launch_missing();
            self.note_missing();
        }
        // What is due and still missing waits for an input: a process that is made, or a launch that is over.
        let held_back_until = self.refill_due().filter(|due| *due > self.now);
        self.deadlines.set(Owner::Refill, held_back_until);
    }

    /// When games may be launched to be warm; `None` while none is missing.
    pub(crate) fn refill_due(&self) -> Option<Duration> {
        let since = self.missing_since?;
        let quiet_from =
            self.last_match_step.map_or(since, |at| at.saturating_add(limits::REFILL_PAUSE));
        Some(quiet_from.min(since.saturating_add(limits::REFILL_DELAY_MAX)))
    }

    /// Takes note of a warm game that is missing, or is so no more.
    pub(crate) fn note_missing(&mut self) {
        let is_missing = self.is_warm_game_missing();
        let since = self.missing_since.unwrap_or(self.now);
        self.missing_since = is_missing.then_some(since);
    }

    /// Whether a mode that may launch lacks a warm game, and there is a port for it.
    pub(crate) fn is_warm_game_missing(&self) -> bool {
        self.ports.free_count() > 0 && self.coldest_mode().is_some()
    }

    fn launch_missing(&mut self) {
        while self.launching < self.config.launching_max && self.may_order_refill() {
            let Some(mode) = self.coldest_mode() else { return };
            if !self.launch_warm(mode) {
                return;
            }
        }
    }

    /// Whether one more game may be ordered to be warm.
    fn may_order_refill(&self) -> bool {
        self.refills_ordered < limits::REFILLS_ORDERED_MAX
    }

    /// The mode that lacks the most warm games, among modes that may launch.
    fn coldest_mode(&self) -> Option<ModeId> {
        let lack = |mode: ModeId| {
            let state = &self.modes[mode.0];
            let supply = state.warm.len() + state.launching;
            // Launching games that a match waits for will not be warm for long.
            let lack = (self.warm_wanted(mode) + state.waiting.len()).saturating_sub(supply);
            (lack > 0 && state.may_launch()).then_some((lack, mode))
        };
        // `max_by_key` takes the last of equals; the order of the modes is the order of preference.
        self.mode_ids().rev().filter_map(lack).max_by_key(|&(lack, _)| lack).map(|(_, mode)| mode)
    }
}
