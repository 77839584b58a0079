//! The lineup beside one that is written down as the rules are, without a thought for what it costs.
//!
//! `MUSTER_LINEUP_SEEDS` and `MUSTER_LINEUP_STEPS` say how many seeds, and how many steps for each.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::*;

/// Those who wait, in the order of their tickets.
struct Model {
    rules: Rules,
    waiting: BTreeMap<u64, (Group, bool)>,
}

impl Model {
    fn present(&self) -> impl Iterator<Item = (u64, Group)> {
        self.waiting
            .iter()
            .filter(|(_, (_, here))| *here)
            .map(|(&ticket, (group, _))| (ticket, *group))
    }

    fn window(&self, group: &Group, now: Duration) -> u32 {
        let Some(skill) = self.rules.skill else { return u32::MAX };
        let waited = now.saturating_sub(group.since).as_millis();
        let steps = waited / skill.widen_every.as_millis();
        let window = u128::from(skill.window) + u128::from(skill.widen_by) * steps;
        window.min(skill.window_max.into()) as u32
    }

    /// The next match: for the first for whom there is one.
    fn find(&self, now: Duration) -> Option<Vec<u64>> {
        self.present().find_map(|(anchor, group)| {
            let window = self.window(&group, now);
            let near: Vec<(u64, usize)> = self
                .present()
                .filter(|(_, other)| other.skill.abs_diff(group.skill) <= window)
                .map(|(ticket, other)| (ticket, other.size))
                .collect();
            let mut joined = vec![(anchor, group.size)];
            if !self.is_completable(&joined, &near) {
                return None;
            }
            for &other in near.iter().filter(|&&(ticket, _)| ticket != anchor) {
                joined.push(other);
                if !self.is_completable(&joined, &near) {
                    joined.pop();
                }
            }
            joined.sort_unstable();
            Some(joined.into_iter().map(|(ticket, _)| ticket).collect())
        })
    }

    fn is_completable(&self, joined: &[(u64, usize)], near: &[(u64, usize)]) -> bool {
        let count = |groups: &[(u64, usize)]| {
            let mut counts = [0; SIZE_MAX + 1];
            groups.iter().for_each(|&(_, size)| counts[size] += 1);
            counts
        };
        let must = count(joined);
        let mut may = count(near);
        (1..=SIZE_MAX).for_each(|size| may[size] -= must[size]);
        let (first, rest) = self.rules.squads.split_first().unwrap();
        can_fill(*first, SIZE_MAX, rest, must, may)
    }

    fn first_fitting(
        &self,
        free: &[usize],
        skill: Option<i32>,
        now: Duration,
    ) -> Option<(u64, usize)> {
        let (ticket, group) = self.present().find(|(_, group)| {
            let is_near = |of: i32| group.skill.abs_diff(of) <= self.window(group, now);
            free.iter().any(|&free| free >= group.size) && skill.is_none_or(is_near)
        })?;
        let mut squads: Vec<usize> = (0..free.len()).filter(|&at| free[at] >= group.size).collect();
        squads.sort_by_key(|&squad| free[squad]);
        Some((ticket, squads[0]))
    }

    fn next_widening(&self, now: Duration) -> Option<Duration> {
        let widens = |group: &Group| {
            let step = self.rules.skill?.widen_every;
            let now_at = self.window(group, now);
            // A window of few steps: one looks a step ahead, then at where in it it was.
            let later = (1..).map(|n| group.since + step * n).find(|&at| at > now)?;
            (self.window(group, later) > now_at).then_some(later)
        };
        self.present().filter_map(|(_, group)| widens(&group)).min()
    }
}

/// Whether squads can be filled to the last place with all of `must` and any of `may`: tries all there is.
fn can_fill(
    free: usize,
    size_max: usize,
    rest: &[usize],
    must: [usize; SIZE_MAX + 1],
    may: [usize; SIZE_MAX + 1],
) -> bool {
    if free == 0 {
        return match rest.split_first() {
            Some((&next, rest)) => can_fill(next, SIZE_MAX, rest, must, may),
            None => must.iter().all(|&count| count == 0),
        };
    }
    (1..=size_max.min(free)).any(|size| {
        let (mut must, mut may) = (must, may);
        match (must[size], may[size]) {
            (0, 0) => return false,
            (0, _) => may[size] -= 1,
            _ => must[size] -= 1,
        }
        can_fill(free - size, size, rest, must, may)
    })
}

const SIZE_MAX: usize = 5;

/// The lineup and its model, side by side.
struct Pair {
    lineup: Lineup,
    model: Model,
    choices: ChaCha8Rng,
    now: Duration,
    next_ticket: u64,
    /// Those who were in and went, who may come back to their place.
    gone: Vec<(u64, Group)>,
    matches: usize,
    passed_over: usize,
    fitted: usize,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut choices = ChaCha8Rng::seed_from_u64(seed);
        let mut below = |bound: u32| choices.next_u32() % bound;
        let squads: &[&[usize]] = &[
            &[1],
            &[2],
            &[1, 1],
            &[5],
            &[2, 2],
            &[3, 3],
            &[4, 4],
            &[2, 1, 3],
            &[2, 2, 2, 2],
            &[3, 2],
        ];
        let squads = squads[below(squads.len() as u32) as usize].to_vec();
        let window = below(60);
        let skill = (below(3) > 0).then(|| SkillRules {
            window,
            widen_by: below(40),
            widen_every: Duration::from_millis(u64::from(below(3_000)) + 1),
            window_max: window + below(200),
        });
        let rules = Rules { squads, skill };
        Self {
            lineup: Lineup::new(rules.clone()),
            model: Model { rules, waiting: BTreeMap::new() },
            choices,
            now: Duration::ZERO,
            next_ticket: 1,
            gone: Vec::new(),
            matches: 0,
            passed_over: 0,
            fitted: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.choices.next_u32() as usize % bound
    }

    fn step(&mut self) {
        match self.below(20) {
            0..=8 if self.model.waiting.len() < 24 => self.come(),
            9 => self.come_back(),
            10..=11 => self.go(),
            12..=13 => self.be_away_or_back(),
            14..=16 => self.let_time_pass(),
            17 => self.fit(),
            18 => self.lineup = restore(&self.lineup),
            _ => self.go(),
        }
        // Sometimes several things happen before one looks.
        if self.below(4) > 0 {
            self.look();
        }
    }

    fn come(&mut self) {
        let size = self.below(self.model.rules.party_max()) + 1;
        let size = if self.below(2) == 0 { 1 } else { size };
        let skill = self.below(600) as i32 - 300;
        let ticket = self.next_ticket;
        self.next_ticket += 1 + [0, 1, 70, 10_000][self.below(4)];
        self.insert(ticket, Group { size, skill, since: self.now });
    }

    fn insert(&mut self, ticket: u64, group: Group) {
        self.lineup.insert(Ticket(ticket), group);
        self.model.waiting.insert(ticket, (group, true));
    }

    fn come_back(&mut self) {
        if !self.gone.is_empty() {
            let index = self.below(self.gone.len());
            let (ticket, group) = self.gone.swap_remove(index);
            self.insert(ticket, group);
        }
    }

    fn anybody(&mut self) -> Option<u64> {
        let count = self.model.waiting.len();
        if count == 0 {
            return None;
        }
        let index = self.below(count);
        self.model.waiting.keys().nth(index).copied()
    }

    fn go(&mut self) {
        let Some(ticket) = self.anybody() else { return };
        self.lineup.remove(Ticket(ticket));
        self.forget(ticket);
    }

    fn forget(&mut self, ticket: u64) {
        let (group, _) = self.model.waiting.remove(&ticket).unwrap();
        self.gone.push((ticket, group));
        if self.gone.len() > 20 {
            self.gone.remove(0);
        }
    }

    fn be_away_or_back(&mut self) {
        let Some(ticket) = self.anybody() else { return };
        let is_present = self.below(2) == 0;
        self.lineup.set_present(Ticket(ticket), is_present);
        self.model.waiting.get_mut(&ticket).unwrap().1 = is_present;
    }

    fn let_time_pass(&mut self) {
        let millis = self.below(2_000) as u64;
        self.look();
        let next = self.lineup.next_change();
        self.now = match (self.below(3), next) {
            (0, Some(next)) => next,
            (1, Some(next)) => next - Duration::from_nanos(1),
            _ => self.now + Duration::from_millis(millis),
        };
    }

    fn fit(&mut self) {
        let squads = self.model.rules.squads.len();
        let free: Vec<usize> = (0..squads).map(|_| self.below(4)).collect();
        let skill = (self.below(3) > 0).then(|| self.below(600) as i32 - 300);
        let expected = self.model.first_fitting(&free, skill, self.now);
        let found = self.lineup.take_fitting(&free, skill, self.now);
        assert_eq!(found.map(|(ticket, squad)| (ticket.0, squad)), expected, "for {free:?}");
        if let Some((ticket, _)) = expected {
            self.fitted += 1;
            self.forget(ticket);
        }
    }

    /// Takes all matches that there are, and checks what must hold when there is none.
    fn look(&mut self) {
        while let Some(seated) = self.lineup.take_match(self.now) {
            let tickets: Vec<u64> = seated.iter().map(|(ticket, _)| ticket.0).collect();
            let expected = self.model.find(self.now);
            assert_eq!(Some(&tickets), expected.as_ref(), "at {:?}", self.now);
            let last = tickets.last().copied();
            let waits_before = |(ticket, _): &(u64, Group)| Some(*ticket) < last;
            self.passed_over +=
                self.model.present().filter(waits_before).count() + 1 - tickets.len();
            self.check_squads(&seated);
            tickets.into_iter().for_each(|ticket| self.forget(ticket));
            self.matches += 1;
        }
        assert_eq!(self.model.find(self.now), None, "a match was not seen at {:?}", self.now);
        self.check_next_change();
        self.check_places();
    }

    fn check_squads(&self, seated: &[(Ticket, usize)]) {
        let mut squads = vec![0; self.model.rules.squads.len()];
        for (ticket, squad) in seated {
            let (group, is_present) = self.model.waiting[&ticket.0];
            assert!(is_present, "{ticket:?} is away");
            squads[*squad] += group.size;
        }
        assert_eq!(squads, self.model.rules.squads, "squads of {seated:?}");
        if seated.len() == self.model.rules.players() {
            assert!(seated.is_sorted_by_key(|&(_, squad)| squad), "{seated:?}");
        }
    }

    fn check_next_change(&self) {
        let next = self.lineup.next_change();
        assert_eq!(next, self.model.next_widening(self.now), "at {:?}", self.now);
        let Some(next) = next else { return };
        assert!(next > self.now, "it spins at {next:?}");
        assert_eq!(
            self.model.find(next - Duration::from_nanos(1)),
            None,
            "it changed before {next:?}"
        );
    }

    fn check_places(&self) {
        let mut before = 0;
        for (&ticket, (group, is_present)) in &self.model.waiting {
            assert_eq!(self.lineup.position(Ticket(ticket)), before + 1, "of {ticket}");
            before += if *is_present { group.size } else { 0 };
        }
        assert_eq!(self.lineup.present_players(), before);
        assert_eq!(self.lineup.len(), self.model.waiting.len());
        assert!(
            self.lineup.iter().map(|(ticket, group)| (ticket.0, *group)).eq(self.model.present())
        );
    }
}

#[test]
fn the_lineup_does_as_its_rules_say() {
    let number = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
    };
    let (seeds, steps) = (number("MUSTER_LINEUP_SEEDS", 60), number("MUSTER_LINEUP_STEPS", 400));
    let (mut matches, mut passed_over, mut fitted) = (0, 0, 0);
    for seed in 0..seeds {
        let mut pair = Pair::new(seed);
        let run = std::panic::AssertUnwindSafe(|| (0..steps).for_each(|_| pair.step()));
        assert!(std::panic::catch_unwind(run).is_ok(), "seed {seed}, see above");
        matches += pair.matches;
        passed_over += pair.passed_over;
        fitted += pair.fitted;
    }
    let steps = (seeds * steps) as usize;
    assert!(matches > steps / 20, "only {matches} matches in {steps} steps");
    assert!(passed_over > steps / 100, "only {passed_over} were ever passed over");
    assert!(fitted > steps / 200, "only {fitted} free places were taken");
}
