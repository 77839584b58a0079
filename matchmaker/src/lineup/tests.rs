//! The rules, one by one. [`model`] compares the lineup with one that is written down as the rules are;
//! [`growth`] sees to it that its costs do not grow.

mod growth;
mod model;

use super::*;

const SKILL: SkillRules =
    SkillRules { window: 100, widen_by: 50, widen_every: Duration::from_secs(5), window_max: 200 };

fn lineup(squads: &[usize], skill: Option<SkillRules>) -> Lineup {
    Lineup::new(Rules { squads: squads.to_vec(), skill })
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Lineup {
    /// Puts groups in on tickets from 1 on.
    fn with_sizes(mut self, sizes: &[usize]) -> Self {
        for (ticket, &size) in (1..).zip(sizes) {
            self.insert(Ticket(ticket), Group { size, skill: 0, since: Duration::ZERO });
        }
        self
    }

    /// Puts single players in on tickets from 1 on.
    fn with_skills(mut self, skills: &[i32]) -> Self {
        for (ticket, &skill) in (1..).zip(skills) {
            self.insert(Ticket(ticket), Group { size: 1, skill, since: Duration::ZERO });
        }
        self
    }

    /// The tickets of the next match.
    fn take(&mut self, now: Duration) -> Option<Vec<u64>> {
        let seated = self.take_match(now)?;
        Some(seated.into_iter().map(|(ticket, _)| ticket.0).collect())
    }

    /// The tickets of all matches that can be made, and who is left.
    fn take_all(&mut self) -> (Vec<Vec<u64>>, Vec<u64>) {
        let matches = std::iter::from_fn(|| self.take(Duration::ZERO)).collect();
        (matches, self.iter().map(|(ticket, _)| ticket.0).collect())
    }
}

#[test]
fn who_came_first_is_matched_first_and_fills_squads_in_their_order() {
    let mut lineup = lineup(&[1, 2], None).with_sizes(&[1; 7]);
    let squads = |seated: Option<Vec<(Ticket, usize)>>| -> Vec<(u64, usize)> {
        seated.into_iter().flatten().map(|(ticket, squad)| (ticket.0, squad)).collect()
    };
    assert_eq!(squads(lineup.take_match(Duration::ZERO)), [(1, 0), (2, 1), (3, 1)]);
    assert_eq!(squads(lineup.take_match(Duration::ZERO)), [(4, 0), (5, 1), (6, 1)]);
    assert_eq!(lineup.take_match(Duration::ZERO), None);
    assert_eq!((lineup.first(), lineup.len()), (Some(Ticket(7)), 1));
}

#[test]
fn who_goes_back_stands_where_it_stood() {
    let mut lineup = lineup(&[2], None).with_sizes(&[1; 3]);
    assert_eq!(lineup.take(Duration::ZERO), Some(vec![1, 2]));
    lineup.insert(Ticket(2), Group { size: 1, skill: 0, since: Duration::ZERO });
    assert_eq!((lineup.position(Ticket(2)), lineup.position(Ticket(3))), (1, 2));
    assert_eq!(lineup.take(Duration::ZERO), Some(vec![2, 3]));
}

#[test]
fn who_is_away_keeps_its_place_and_is_passed_over() {
    let mut lineup = lineup(&[2], None).with_sizes(&[1; 4]);
    lineup.set_present(Ticket(1), false);
    lineup.set_present(Ticket(3), false);
    assert_eq!([1, 2, 3, 4].map(|ticket| lineup.position(Ticket(ticket))), [1, 1, 2, 2]);
    assert_eq!((lineup.present_players(), lineup.len(), lineup.away().len()), (2, 4, 2));
    assert_eq!(lineup.take_all(), (vec![vec![2, 4]], vec![]));
    lineup.set_present(Ticket(1), true);
    lineup.remove(Ticket(3));
    assert_eq!(lineup.take_all(), (vec![], vec![1]));
}

#[test]
fn a_party_counts_as_its_players_and_stays_together() {
    let mut lineup = lineup(&[3, 3], None).with_sizes(&[2, 2, 1, 3]);
    assert_eq!([1, 2, 3, 4].map(|ticket| lineup.position(Ticket(ticket))), [1, 3, 5, 6]);
    assert_eq!(lineup.present_players(), 8);
    // The second pair would need another single player.
    assert_eq!(lineup.take(Duration::ZERO), Some(vec![1, 3, 4]));
    assert_eq!(lineup.take_all(), (vec![], vec![2]));
}

#[test]
fn somebody_is_passed_over_only_if_no_match_can_be_filled_with_it() {
    for (squads, sizes, matches, left) in [
        // No single player goes with the three.
        (&[4, 4][..], &[3, 2, 2, 2, 2][..], vec![vec![2, 3, 4, 5]], vec![1]),
        // All go, though not squad by squad in the order in which they came.
        (&[4, 4], &[3, 2, 2, 1], vec![vec![1, 2, 3, 4]], vec![]),
        (&[5, 5], &[2, 2, 3, 3], vec![vec![1, 2, 3, 4]], vec![]),
        // The third pair would leave one place.
        (&[5], &[2, 2, 2, 1], vec![vec![1, 2, 4]], vec![3]),
        (&[5], &[2, 2, 2, 3], vec![vec![1, 4]], vec![2, 3]),
        // The first cannot be completed, and then it can.
        (&[5], &[4, 3, 2, 2, 1], vec![vec![1, 5], vec![2, 3]], vec![4]),
    ] {
        let mut lineup = lineup(squads, None).with_sizes(sizes);
        assert_eq!(lineup.take_all(), (matches, left), "{sizes:?} into {squads:?}");
    }
}

#[test]
fn windows_say_who_meets_whom() {
    let mut lineup = lineup(&[2], Some(SKILL)).with_skills(&[0, 101, 202, 100]);
    assert_eq!(lineup.take(Duration::ZERO), Some(vec![1, 4]));
    assert_eq!(lineup.take(Duration::ZERO), None, "101 apart");
    assert_eq!(lineup.next_change(), Some(seconds(5)));
    assert_eq!(lineup.take(seconds(4)), None);
    assert_eq!(lineup.take(seconds(5)), Some(vec![2, 3]));
}

#[test]
fn a_window_widens_while_one_waits_up_to_its_bound() {
    let mut lineup = lineup(&[2], Some(SKILL)).with_skills(&[0, 201]);
    let mut changes = Vec::new();
    let mut now = Duration::ZERO;
    while let Some(next) = {
        assert_eq!(lineup.take(now), None);
        lineup.next_change()
    } {
        changes.push(next);
        now = next;
    }
    assert_eq!(changes, [seconds(5), seconds(10)]);
}

#[test]
fn the_window_of_who_waits_longest_counts_for_all() {
    let mut lineup = lineup(&[3], Some(SKILL)).with_skills(&[0, -150]);
    assert_eq!(lineup.take(seconds(9)), None);
    let since = seconds(9);
    lineup.insert(Ticket(3), Group { size: 1, skill: 150, since });
    assert_eq!(lineup.take(seconds(9)), Some(vec![1, 2, 3]));
}

#[test]
fn among_the_near_it_is_the_order_of_arrival() {
    let mut lineup = lineup(&[2], Some(SKILL)).with_skills(&[500, 0, 99, 1, 450]);
    assert_eq!(lineup.take_all(), (vec![vec![1, 5], vec![2, 3]], vec![4]));
}

#[test]
fn who_comes_back_is_looked_for_again() {
    let mut lineup = lineup(&[2], Some(SKILL)).with_skills(&[0, 120]);
    lineup.set_present(Ticket(1), false);
    assert_eq!(lineup.take(seconds(7)), None);
    assert_eq!(lineup.next_change(), Some(seconds(10)), "that of the second alone");
    lineup.set_present(Ticket(2), false);
    assert_eq!(lineup.take(seconds(7)), None);
    assert_eq!(lineup.next_change(), None, "nobody is there");
    lineup.set_present(Ticket(1), true);
    lineup.set_present(Ticket(2), true);
    assert_eq!(lineup.take(seconds(7)), Some(vec![1, 2]));
}

#[test]
fn a_free_place_is_taken_by_the_first_who_fits() {
    let mut plain = lineup(&[4], None).with_sizes(&[3, 2, 1, 2]);
    assert_eq!(plain.take_fitting(&[], None, Duration::ZERO), None);
    assert_eq!(plain.take_fitting(&[0, 0], None, Duration::ZERO), None);
    let two = plain.take_fitting(&[0, 2, 2], None, Duration::ZERO);
    assert_eq!(two, Some((Ticket(2), 1)));
    plain.set_present(Ticket(3), false);
    let one = plain.take_fitting(&[1], None, Duration::ZERO);
    assert_eq!(one, None);
    plain.set_present(Ticket(3), true);
    let three = plain.take_fitting(&[4, 3], None, Duration::ZERO);
    assert_eq!(three, Some((Ticket(1), 1)), "where the fewest places stay free");
    assert_eq!(plain.take_fitting(&[1], None, Duration::ZERO), Some((Ticket(3), 0)));

    let mut skilled = lineup(&[2], Some(SKILL)).with_skills(&[0, 140]);
    assert_eq!(skilled.take_fitting(&[1], Some(250), seconds(0)), None);
    assert_eq!(skilled.take_fitting(&[1], Some(-101), seconds(0)), None);
    assert_eq!(skilled.take_fitting(&[1], Some(120), seconds(0)), Some((Ticket(2), 0)));
    assert_eq!(skilled.take_fitting(&[1], Some(120), seconds(5)), Some((Ticket(1), 0)));
}

#[test]
fn a_look_with_too_much_to_look_at_rests_and_goes_on() {
    let lonely = (0..600).map(|index| index * 10_000);
    let skills: Vec<i32> = lonely.chain([599 * 10_000 + 150]).collect();
    let mut lineup = lineup(&[2], Some(SKILL)).with_skills(&skills);
    let mut now = Duration::ZERO;
    let mut looks = 0;
    while lineup.take(now).is_none() && looks < 10 {
        let next = lineup.next_change().unwrap();
        assert!(next > now, "it spins");
        (now, looks) = (next, looks + 1);
    }
    let restored: Lineup = restore(&lineup);
    assert_eq!(restored.next_change(), lineup.next_change());
    assert_eq!(lineup.len(), 599, "the two who are near found each other");
    assert!((2..10).contains(&looks) && now < seconds(6), "after {looks} looks, at {now:?}");
}

#[test]
fn saved_nonsense_is_refused() {
    let saved =
        serde_json::to_string(&lineup(&[2, 2], Some(SKILL)).with_skills(&[5, 900])).unwrap();
    assert!(serde_json::from_str::<Lineup>(&saved).is_ok());
    for (from, to) in [
        ("[2,2]", "[]"),
        ("[2,2]", "[2,900]"),
        (r#""size":1"#, r#""size":0"#),
        (r#""size":1"#, r#""size":3"#),
        (r#""window_max":200"#, r#""window_max":2"#),
        (r#""anchors":[]"#, r#""anchors":[7]"#),
        (r#""news":[[1,0]"#, r#""news":[[9,0]"#),
        (r#""present":[[1,"#, r#""present":[[2,"#),
    ] {
        let nonsense = saved.replacen(from, to, 1);
        assert_ne!(nonsense, saved, "{from}");
        assert!(serde_json::from_str::<Lineup>(&nonsense).is_err(), "{to}");
    }
}

fn restore(lineup: &Lineup) -> Lineup {
    serde_json::from_str(&serde_json::to_string(lineup).unwrap()).unwrap()
}
