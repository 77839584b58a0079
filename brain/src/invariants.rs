//! The sweep over the invariants of both halves, and of the join between them.

use std::collections::BTreeMap;

use machine::{Check, Violation, holds};
use protocol::MatchId;

use crate::brain::Brain;

impl Brain {
    /// Checks every invariant that holds at the end of a turn.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check_invariants(&self) -> Result<(), Violation> {
        self.matchmaker.check_invariants()?;
        self.hosting.check_invariants()?;
        self.check_join()
    }

    /// The matchmaker knows what hosting has, and each match that is placed has a game.
    fn check_join(&self) -> Check {
        let capacity = self.hosting.capacity();
        holds(self.matchmaker.agrees_with(&capacity), || {
            format!("the matchmaker reckons with another capacity than {capacity:?}")
        })?;
        let placed: BTreeMap<MatchId, bool> = self.matchmaker.placed_matches().collect();
        let hosted = self.hosting.matches().map(|(match_id, _, is_told)| (match_id, is_told));
        let hosted: BTreeMap<MatchId, bool> = hosted.collect();
        holds(placed == hosted, || format!("matches with a game: {placed:?}, hosted: {hosted:?}"))
    }
}
