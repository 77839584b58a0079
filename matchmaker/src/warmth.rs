//! How many games are kept warm, and what becomes of those that are too many.
//!
//! The number follows the arrival of matches (see [`arrivals`](crate::arrivals)) between the bounds of the mode. It goes
//! up at once, with the match that makes it go up; when the next games are launched is told in
//! [`refills`](crate::refills). It comes down as busy seconds fall out of the last minute; then the games that are too many are stopped one by one, the oldest first, and
//! not at once, for whoever stands back in the queue may want one soon. Games are also too many when the matches
//! that they were launched for came to nothing; so they may be more than `warm_max`, for as long as that takes.

use std::time::Duration;

use crate::deadlines::Owner;
use crate::games::GamePhase;
use crate::io::StopReason;
use crate::limits;
use crate::matchmaker::Matchmaker;
use protocol::{GameId, ModeId};

impl Matchmaker {
    /// How many games of a mode are to be warm.
    pub(crate) fn warm_wanted(&self, mode: ModeId) -> usize {
        let (min, max) = (self.mode(mode).warm_min, self.mode(mode).warm_max);
        if min == max { min } else { self.modes[mode.0].arrivals.busiest(self.now).clamp(min, max) }
    }

    /// Stops the oldest warm game of a mode that has had too many for a while, and looks again when that may
    /// change.
    pub(crate) fn stop_surplus(&mut self, mode: ModeId) {
        let mut look_again = self.next_look_at_surplus(mode);
        if look_again.is_some_and(|at| at <= self.now) {
            let oldest = self.modes[mode.0].warm.first().copied();
            if let Some(game) = oldest {
                self.stop(game, StopReason::Surplus);
            }
            self.modes[mode.0].surplus_since = None;
            look_again = self.next_look_at_surplus(mode);
        }
        self.deadlines.set(Owner::Surplus(mode), look_again);
    }

    /// When a warm game of a mode is one too many for good, or is to be looked at again; not later than now if
    /// one has to be stopped.
    fn next_look_at_surplus(&mut self, mode: ModeId) -> Option<Duration> {
        let (min, max) = (self.mode(mode).warm_min, self.mode(mode).warm_max);
        let now = self.now;
        let state = &mut self.modes[mode.0];
        let warm = state.warm.len();
        if warm <= min {
            state.surplus_since = None;
            return None;
        }
        let wanted_until = state.arrivals.busy_until(now, warm).filter(|_| warm <= max);
        if wanted_until.is_some() {
            state.surplus_since = None;
            return wanted_until;
        }
        let since = *state.surplus_since.get_or_insert(now);
        Some(since.saturating_add(limits::SURPLUS_PAUSE))
    }

    /// Takes note of how long a game took to be ready.
    pub(crate) fn note_launch_time(&mut self, id: GameId) {
        let game = &self.games[&id];
        debug_assert_eq!(game.phase(), GamePhase::Launching);
        let took = self.now.saturating_sub(game.ordered_at);
        self.modes[game.mode.0].arrivals.note_launch(took);
    }
}
