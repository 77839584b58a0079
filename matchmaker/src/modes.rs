//! What the brain keeps for each mode.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::arrivals::Arrivals;
use crate::limits::{
    AHEAD_COUNTED_MAX, BACKOFF_DOUBLINGS_MAX, BACKOFF_MAX, BACKOFF_MIN, EARLY_ENDS_MAX, MATCH_MIN,
};
use crate::lineup::{Lineup, Rules};
use crate::queue::Ticket;
use protocol::{GameId, MatchId};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModeState {
    /// Tickets that wait for a match.
    pub(crate) queue: Lineup,
    /// Matches whose games ask for players, and for which slots.
    pub(crate) open_matches: BTreeMap<MatchId, BTreeSet<usize>>,
    /// Whether somebody may fit into them who did not when it was last looked at.
    pub(crate) fill_is_due: bool,
    /// Matches that wait for a game, in the order of their tickets.
    pub(crate) waiting: BTreeMap<Ticket, MatchId>,
    /// Matches that came to wait and whose players were not told yet what for.
    pub(crate) untold: Vec<MatchId>,
    /// Warm games, oldest first.
    pub(crate) warm: BTreeSet<GameId>,
    /// The matches of the last minute.
    pub(crate) arrivals: Arrivals,
    /// Since when there are more warm games than are wanted, or the last of them was stopped.
    pub(crate) surplus_since: Option<Duration>,
    /// Games that are launching and will be warm.
    pub(crate) launching: usize,
    /// Games that are launching with their players seated.
    pub(crate) launching_seated: usize,
    /// Games in any phase.
    pub(crate) games: usize,
    /// Players who joined and were not assigned yet: queued, or in a match without a game.
    pub(crate) players_waiting: usize,
    /// Those of them who are away.
    pub(crate) players_away: usize,
    /// Matches whose players are told something else when their pause is over.
    pub(crate) held_back: BTreeSet<(Duration, MatchId)>,
    /// When to look whether there are fewer matches ahead of those that wait for a port.
    pub(crate) looks_ahead_at: Option<Duration>,
    /// How many of the first waiting matches were told that a game is starting for them.
    pub(crate) told_starting: usize,
    /// Whether those who wait were told that the mode's games keep failing.
    pub(crate) told_failing: bool,
    failures: u32,
    /// Matches that died as soon as their players were sent to them, one after another.
    early_ends: u32,
    /// When the mode's games count as well again, if the match that began last lasts so long: many have died before it.
    heals_at: Option<Duration>,
    retry_at: Option<Duration>,
}

impl ModeState {
    /// A mode without players and games.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            queue: Lineup::new(rules),
            open_matches: BTreeMap::new(),
            fill_is_due: false,
            waiting: BTreeMap::new(),
            untold: Vec::new(),
            held_back: BTreeSet::new(),
            looks_ahead_at: None,
            warm: BTreeSet::new(),
            arrivals: Arrivals::default(),
            surplus_since: None,
            launching: 0,
            launching_seated: 0,
            games: 0,
            players_waiting: 0,
            players_away: 0,
            told_starting: 0,
            told_failing: false,
            failures: 0,
            early_ends: 0,
            heals_at: None,
            retry_at: None,
        }
    }

    /// Takes note of a game that failed before its players were told of it, and says how long to pause.
    ///
    /// The first failure is forgiven, so that one bad start costs its players no time. Failures during a pause
    /// are of games that were already on their way and say nothing new.
    pub(crate) fn note_failure(&mut self, now: Duration) -> Duration {
        if let Some(retry_at) = self.retry_at.filter(|&at| at > now) {
            return retry_at - now;
        }
        let pause = match self.failures {
            0 => Duration::ZERO,
            more => (BACKOFF_MIN * (1 << (more - 1).min(BACKOFF_DOUBLINGS_MAX))).min(BACKOFF_MAX),
        };
        self.failures = self.failures.saturating_add(1);
        self.retry_at = (!pause.is_zero()).then_some(now + pause);
        pause
    }

    /// Takes note of a game that started: whatever was wrong is over.
    pub(crate) fn note_success(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// Takes note of a game whose players are sent to it. Where many matches died at once, this one has to last before the
    /// games count as well.
    pub(crate) fn note_start(&mut self, now: Duration) {
        match self.early_ends < EARLY_ENDS_MAX {
            true => self.note_success(),
            false => self.heals_at = Some(now.saturating_add(MATCH_MIN)),
        }
    }

    /// Takes note of a match that died as soon as its players were sent to it. Whether too many did.
    pub(crate) fn note_early_end(&mut self) -> bool {
        self.early_ends = self.early_ends.saturating_add(1);
        self.heals_at = None;
        let is_failing = self.early_ends >= EARLY_ENDS_MAX;
        if is_failing {
            // Those before this one are not forgiven.
            self.failures = self.failures.max(1);
        }
        is_failing
    }

    /// Takes note of a match that lasted, or ended well.
    pub(crate) fn note_good_match(&mut self) {
        if std::mem::take(&mut self.early_ends) >= EARLY_ENDS_MAX {
            self.note_success();
        }
        self.heals_at = None;
    }

    /// Ends a pause whose time has come. A pause that began since the deadline was set goes on.
    pub(crate) fn end_pause(&mut self, now: Duration) {
        self.retry_at = self.retry_at.filter(|&at| at > now);
        if self.heals_at.is_some_and(|at| at <= now) {
            self.note_good_match();
        }
    }

    /// When to call [`end_pause`](Self::end_pause).
    pub(crate) fn next_change(&self) -> Option<Duration> {
        self.retry_at.into_iter().chain(self.heals_at).min()
    }

    fn is_pausing(&self) -> bool {
        self.retry_at.is_some()
    }

    /// Whether the mode's games keep failing, in a pause or in the try that follows it.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 1
    }

    /// Whether a game may be launched for this mode: not in a pause, and while its games keep failing, one at a
    /// time, so that they do not take the ports and the turns of others.
    pub(crate) fn may_launch(&self) -> bool {
        let is_trying = self.is_failing() && self.launching + self.launching_seated > 0;
        !self.is_pausing() && !is_trying
    }

    /// How many matches wait before a ticket for which no game is launching; in the middle of a long line, about so many.
    pub(crate) fn waiting_before(&self, ticket: Ticket) -> usize {
        let behind = self.waiting.range(ticket..).take(AHEAD_COUNTED_MAX).count();
        let before = match behind < AHEAD_COUNTED_MAX {
            true => self.waiting.len() - behind,
            false => self.waiting.range(..ticket).take(AHEAD_COUNTED_MAX).count(),
        };
        before.saturating_sub(self.launching)
    }

    /// Waiting matches for which no game is launching.
    pub(crate) fn unmet(&self) -> usize {
        self.waiting.len().saturating_sub(self.launching)
    }

    /// The first waiting match for which no game is launching.
    pub(crate) fn first_unmet(&self) -> Option<Ticket> {
        self.waiting.keys().nth(self.launching).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_their_bound_and_end_with_a_success() {
        let mut mode = ModeState::new(Rules { squads: vec![1], skill: None });
        let mut now = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let pause = mode.note_failure(now);
            if !pause.is_zero() {
                assert_eq!(mode.note_failure(now), pause, "a failure in a pause made it longer");
            }
            pauses.push(pause);
            now += pause;
            mode.end_pause(now);
        }
        assert_eq!(pauses[..3], [Duration::ZERO, BACKOFF_MIN, BACKOFF_MIN * 2]);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&BACKOFF_MAX));
        mode.note_success();
        assert_eq!(mode.note_failure(now), Duration::ZERO);
    }
}
