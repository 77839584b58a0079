//! The warm pool: how many games are kept warm, when they are launched, and when they are stopped.
//!
//! The number follows the [rate](crate::match_rate) of matches between the bounds of the mode. It rises at once. When it
//! falls, the games that are too many are stopped one by one, the oldest first, and not at once: players who go back to the
//! queue may need one soon.
//!
//! A launch takes the processors for longer than everything that is left to do for a match that has just got a warm game.
//! So that game is not replaced in the same turn: games are launched after all waiting matches, a few at a time, once no
//! match has taken a step for a moment, or else when one has been missing for a while, so that matches that never pause do
//! not use up the pool.

use std::time::Duration;

use protocol::placement::ModeDemand;
use protocol::report::StopReason;
use protocol::{GameId, ModeId};

use crate::hosting::{Hosting, Owner, Phase};
use crate::limits;

impl Hosting {
    /// The demand at the end of a turn: warm games are launched and stopped.
    pub(crate) fn handle_demand(&mut self, modes: &[ModeDemand]) {
        for (state, demand) in self.modes.iter_mut().zip(modes) {
            let formed = demand.formed.saturating_sub(state.demand.formed);
            state.match_rate.note_matches(self.now, formed);
            state.demand = *demand;
            if formed > 0 {
                self.refills.last_match_step = Some(self.now);
            }
        }
        if self.phase == Phase::Serving {
            self.reclaim_warm_games();
            self.refill();
            self.config.mode_ids().for_each(|mode| self.stop_surplus(mode));
        }
    }

    // ---- Launches ----

    /// Records a match that was formed, placed or assigned.
    pub(crate) fn note_match_step(&mut self) {
        self.refills.last_match_step = Some(self.now);
    }

    /// Launches games to keep modes warm, or sets when that is allowed.
    fn refill(&mut self) {
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
        let since = self.refills.missing_since?;
        let last_step = self.refills.last_match_step;
        let quiet_from = last_step.map_or(since, |at| at.saturating_add(limits::REFILL_PAUSE));
        Some(quiet_from.min(since.saturating_add(limits::REFILL_DELAY_MAX)))
    }

    /// Records whether a warm game is missing that could be launched.
    pub(crate) fn note_missing(&mut self) {
        let is_missing = self.is_warm_game_missing();
        let since = self.refills.missing_since.unwrap_or(self.now);
        self.refills.missing_since = is_missing.then_some(since);
    }

    /// Whether a mode that may launch lacks a warm game, and there is a port for it.
    pub(crate) fn is_warm_game_missing(&self) -> bool {
        self.ports.free_count() > 0 && self.coldest_mode().is_some()
    }

    fn launch_missing(&mut self) {
        let counts = |it: &Self| it.games.counts().clone();
        while counts(self).launching < self.config.launching_max
            && counts(self).refills_ordered < limits::REFILLS_ORDERED_MAX
        {
            let Some(mode) = self.coldest_mode() else { return };
            if !self.launch_warm(mode) {
                return;
            }
        }
    }

    /// The mode that lacks the most warm games, among modes that may launch.
    fn coldest_mode(&self) -> Option<ModeId> {
        let lack = |mode: ModeId| {
            let counts = self.games.of_mode(mode);
            let supply = counts.warm.len() + counts.launching;
            // Launching games that a match waits for will not be warm for long.
            let wanted = self.warm_wanted(mode) + self.modes[mode.0].demand.waiting;
            let lack = wanted.saturating_sub(supply);
            (lack > 0 && self.may_launch(mode)).then_some((lack, mode))
        };
        // `max_by_key` takes the last of equals; the order of the modes is the order of preference.
        let lacks = self.config.mode_ids().rev().filter_map(lack);
        lacks.max_by_key(|&(lack, _)| lack).map(|(_, mode)| mode)
    }

    /// How many games of a mode are to be warm.
    fn warm_wanted(&self, mode: ModeId) -> usize {
        let (min, max) = (self.mode(mode).warm_min, self.mode(mode).warm_max);
        match min == max {
            true => min,
            false => self.modes[mode.0].match_rate.busiest(self.now).clamp(min, max),
        }
    }

    // ---- Stops ----

    /// Where ports are short, stops warm games of modes without waiting matches: as many as there are waiting matches
    /// without a port that is about to return. A busy port is not: the program that holds it may never end.
    fn reclaim_warm_games(&mut self) {
        let counts = self.games.counts();
        if counts.launching >= self.config.launching_max || self.ports.free_count() > 0 {
            return;
        }
        let unmet = |mode: &ModeId| {
            let waiting = self.modes[mode.0].demand.waiting;
            waiting.saturating_sub(self.games.of_mode(*mode).launching)
        };
        let in_need = self.config.mode_ids().filter(|mode| self.may_launch(*mode));
        let needed: usize = in_need.map(|mode| unmet(&mode)).sum();
        let returning = self.ports.resting_count() + counts.stopping;
        for _ in returning..needed {
            let Some(game) = self.warm_game_to_spare() else { return };
            self.stop(game, StopReason::PortNeeded);
        }
    }

    /// The oldest warm game of the mode that has the most. A mode with warm games has no waiting match.
    fn warm_game_to_spare(&self) -> Option<GameId> {
        let warm = self.config.mode_ids().rev().map(|mode| &self.games.of_mode(mode).warm);
        warm.max_by_key(|warm| warm.len())?.first().copied()
    }

    /// Stops the oldest warm game of a mode that has had too many for a while, and sets when to check again.
    fn stop_surplus(&mut self, mode: ModeId) {
        let mut check_again = self.next_surplus_check(mode);
        if check_again.is_some_and(|at| at <= self.now) {
            let oldest = self.games.of_mode(mode).warm.first().copied();
            if let Some(game) = oldest {
                self.stop(game, StopReason::Surplus);
            }
            self.modes[mode.0].surplus_since = None;
            check_again = self.next_surplus_check(mode);
        }
        self.deadlines.set(Owner::Surplus(mode), check_again);
    }

    /// When a warm game of a mode is one too many for good, or has to be checked again; not later than now if one has to
    /// be stopped.
    fn next_surplus_check(&mut self, mode: ModeId) -> Option<Duration> {
        let (min, max) = (self.mode(mode).warm_min, self.mode(mode).warm_max);
        let (now, warm) = (self.now, self.games.of_mode(mode).warm.len());
        let state = &mut self.modes[mode.0];
        if warm <= min {
            state.surplus_since = None;
            return None;
        }
        let wanted_until = state.match_rate.busy_until(now, warm).filter(|_| warm <= max);
        if wanted_until.is_some() {
            state.surplus_since = None;
            return wanted_until;
        }
        let since = *state.surplus_since.get_or_insert(now);
        Some(since.saturating_add(limits::SURPLUS_PAUSE))
    }
}
