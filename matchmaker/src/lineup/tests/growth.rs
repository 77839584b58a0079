//! What the lineup looks at does not grow with those who wait.

use super::*;

/// A kind of lineup in which as many as one likes wait, and nobody can be matched with another.
struct Crowd {
    squads: &'static [usize],
    skill: Option<SkillRules>,
    size: usize,
    /// How far apart in skill one ticket is from the next, and how many there are before it begins anew.
    skill_step: i32,
    skills: i32,
}

impl Crowd {
    fn group(&self, ticket: u64) -> Group {
        let skill = (ticket as i32 % self.skills) * self.skill_step;
        // They come one after another, a hundred in a second.
        Group { size: self.size, skill, since: Duration::from_millis(ticket * 10) }
    }

    /// A lineup with so many of them, who were looked at as they came.
    fn lineup(&self, count: u64) -> Lineup {
        let mut lineup = lineup(self.squads, self.skill);
        for ticket in 1..=count {
            let group = self.group(ticket);
            lineup.insert(Ticket(ticket), group);
            assert_eq!(lineup.take_match(group.since), None);
        }
        lineup
    }

    /// What each operation looks at.
    fn costs(&self, count: u64) -> Vec<(&'static str, u64)> {
        let mut lineup = self.lineup(count);
        let now = self.group(count).since;
        let (middle, newest) = (Ticket(count / 2), Ticket(count + 1));
        let group = self.group(newest.0);
        let mut costs = Vec::new();
        let mut note = |name, cost| costs.push((name, cost));
        note("insert", cost::of(|| lineup.insert(newest, group)).1);
        note("look", cost::of(|| assert_eq!(lineup.take_match(now), None)).1);
        note("look again", cost::of(|| assert_eq!(lineup.take_match(now), None)).1);
        note("next change", cost::of(|| lineup.next_change()).1);
        note("position", cost::of(|| lineup.position(newest)).1);
        note("go away", cost::of(|| lineup.set_present(middle, false)).1);
        note("position without", cost::of(|| lineup.position(newest)).1);
        note("come back", cost::of(|| lineup.set_present(middle, true)).1);
        note("look for who came back", cost::of(|| assert_eq!(lineup.take_match(now), None)).1);
        if let Some(next) = lineup.next_change() {
            note("widen", cost::of(|| assert_eq!(lineup.take_match(next), None)).1);
        }
        note("remove", cost::of(|| lineup.remove(middle)).1);
        note("fit", cost::of(|| lineup.take_fitting(&[self.size], Some(group.skill), now)).1);
        // Single players enough for a match, near the newest.
        let since = now;
        for single in 0..2 {
            lineup.insert(Ticket(count + 10 + single), Group { size: 1, since, ..group });
        }
        let (found, cost) = cost::of(|| lineup.take_match(now));
        assert!(found.is_some(), "no match among {count}");
        note("match", cost);
        costs
    }
}

fn check(crowd: &Crowd) {
    let (few, many) = (crowd.costs(100), crowd.costs(100_000));
    assert_eq!(few.len(), many.len());
    for ((operation, few), (_, many)) in few.into_iter().zip(many) {
        assert!(many <= 2 * few + 100, "{operation} looked at {few}, now at {many}");
    }
}

#[test]
fn pairs_where_pairs_alone_fill_no_match() {
    check(&Crowd { squads: &[3, 3], skill: None, size: 2, skill_step: 0, skills: 1 });
}

#[test]
fn single_players_far_apart() {
    let (skill, skill_step) = (Some(SKILL), 1_000);
    check(&Crowd { squads: &[2], skill, size: 1, skill_step, skills: i32::MAX });
}

#[test]
fn pairs_of_all_skills() {
    check(&Crowd { squads: &[3, 3], skill: Some(SKILL), size: 2, skill_step: 47, skills: 3_000 });
}
