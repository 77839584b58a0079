//! The rules of matches, and the groups that wait for them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::brief;
use crate::limits::PLAYERS_PER_MATCH_MAX;

/// The rules for matches of a mode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// The number of players of each squad: a party fits into one squad. A mode without teams has one squad of all its
    /// players.
    pub(crate) squads: Vec<usize>,
    /// The rules for skill; `None` if players are matched in the order of arrival.
    pub(crate) skill: Option<SkillRules>,
}

/// The difference in skill that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkillRules {
    /// The difference that a ticket accepts at first.
    pub window: u32,
    /// The increase after each `widen_every`.
    pub widen_by: u32,
    /// Above zero, if `widen_by` is.
    pub widen_every: Duration,
    /// The largest difference; not below `window`.
    pub window_max: u32,
}

/// The players on one ticket: one player, or a party that stays together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// The number of players; at most the size of the largest squad.
    pub(crate) size: usize,
    /// Of a party: see [`Group::skill_of`].
    pub(crate) skill: i32,
    /// When it began to wait, which is kept when it returns to the queue.
    #[serde(serialize_with = "brief::duration")]
    pub(crate) since: Duration,
}

impl Group {
    /// The skill of a party: that of its best player. With the mean, a good player could bring a weak friend to meet
    /// weaker opponents, who did not choose that; the friend did choose to meet stronger ones. `None` for an empty
    /// party.
    pub(crate) fn skill_of(members: impl IntoIterator<Item = i32>) -> Option<i32> {
        members.into_iter().max()
    }
}

impl Rules {
    /// The error in the rules, if there is one.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        if self.squads.is_empty() || self.squads.contains(&0) {
            return Some("a match needs a squad, and each squad a player");
        }
        if self.squads.iter().any(|&squad| squad > PLAYERS_PER_MATCH_MAX)
            || self.squads.len() > PLAYERS_PER_MATCH_MAX
            || self.players() > PLAYERS_PER_MATCH_MAX
        {
            return Some("a match has too many players");
        }
        let skill = self.skill.as_ref()?;
        if skill.window > skill.window_max {
            return Some("a window is at most its greatest width");
        }
        if skill.widen_by > 0 && skill.widen_every.is_zero() {
            return Some("a window widens after some time");
        }
        None
    }

    /// The number of players in a match.
    pub(crate) fn players(&self) -> usize {
        self.squads.iter().sum()
    }

    /// The size of the largest party that can play.
    pub(crate) fn party_max(&self) -> usize {
        self.squads.iter().copied().max().unwrap_or_default()
    }
}

impl SkillRules {
    /// The difference in skill that a ticket accepts that has waited since `since`.
    pub(super) fn window(&self, since: Duration, now: Duration) -> u32 {
        let waited = now.saturating_sub(since).as_nanos();
        let steps = waited.checked_div(self.widen_every.as_nanos()).unwrap_or_default();
        let widened = u128::from(self.widen_by).saturating_mul(steps);
        let window = widened.saturating_add(self.window.into()).min(self.window_max.into());
        u32::try_from(window).unwrap_or(self.window_max)
    }

    /// When the window of a ticket widens next.
    pub(super) fn next_widening(&self, since: Duration, now: Duration) -> Option<Duration> {
        if self.widen_by == 0 || self.window(since, now) == self.window_max {
            return None;
        }
        let every = self.widen_every.as_nanos();
        let waited = now.saturating_sub(since).as_nanos();
        let wait = u64::try_from((waited / every + 1) * every).ok()?;
        since.checked_add(Duration::from_nanos(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SKILL: SkillRules = SkillRules {
        window: 100,
        widen_by: 50,
        widen_every: Duration::from_secs(5),
        window_max: 220,
    };

    #[test]
    fn a_window_widens_step_by_step_to_its_bound() {
        let since = Duration::from_secs(7);
        for (at, window, next) in [
            (0, 100, Some(12)),
            (7, 100, Some(12)),
            (11, 100, Some(12)),
            (12, 150, Some(17)),
            (17, 200, Some(22)),
            (22, 220, None),
            (u64::MAX, 220, None),
        ] {
            let at = Duration::from_secs(at);
            assert_eq!(SKILL.window(since, at), window, "at {at:?}");
            assert_eq!(SKILL.next_widening(since, at), next.map(Duration::from_secs), "at {at:?}");
        }
    }

    #[test]
    fn the_widest_windows_do_not_overflow() {
        let wide = SkillRules { window: 0, widen_by: u32::MAX, window_max: u32::MAX, ..SKILL };
        assert_eq!(wide.window(Duration::ZERO, Duration::MAX), u32::MAX);
        let slow = SkillRules { widen_every: Duration::MAX, ..SKILL };
        assert_eq!(slow.next_widening(Duration::from_secs(1), Duration::from_secs(2)), None);
        let never = SkillRules { widen_by: 0, widen_every: Duration::ZERO, ..SKILL };
        assert_eq!(never.window(Duration::ZERO, Duration::MAX), 100);
        assert_eq!(never.next_widening(Duration::ZERO, Duration::MAX), None);
    }

    #[test]
    fn invalid_rules_are_named() {
        let rules = |squads: &[usize], skill| Rules { squads: squads.to_vec(), skill };
        assert_eq!(rules(&[1], None).flaw(), None);
        assert_eq!(rules(&[2, 128 - 2], Some(SKILL)).flaw(), None);
        for squads in [&[][..], &[0], &[1, 0], &[64, 65], &[usize::MAX, 1], &[1; 129]] {
            assert!(rules(squads, None).flaw().is_some(), "{squads:?}");
        }
        let narrowing = SkillRules { window_max: 99, ..SKILL };
        let at_once = SkillRules { widen_every: Duration::ZERO, ..SKILL };
        for skill in [narrowing, at_once] {
            assert!(rules(&[2], Some(skill)).flaw().is_some(), "{skill:?}");
        }
    }

    #[test]
    fn a_party_counts_as_its_best_player() {
        assert_eq!(Group::skill_of([900, 1_700, -5]), Some(1_700));
        assert_eq!(Group::skill_of([]), None);
    }
}
