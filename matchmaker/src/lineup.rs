//! The tickets that wait for a match in one mode: players and parties, in the order in which they came.
//!
//! The rules of matching:
//!
//! - The first ticket is matched first. A match is made for the ticket that has waited longest; then, from the first
//!   ticket to the last, each one joins if the match can still be completed by waiting tickets, until it is full. If
//!   all players are alone, those are simply the first ones.
//! - A party stays together: it is never split over two squads. So a ticket is passed over only if, with the earlier
//!   tickets in the match, it cannot be filled completely: a party of three with two slots left, or a pair whose squad
//!   would then need a single player, and none waits.
//! - In a mode with skill, a ticket accepts others within its window, which widens as it waits. The window of the
//!   ticket for which the match is made counts for all; among the accepted tickets the order of arrival counts as
//!   above. If there is no match for the first ticket, one is made for the next, and so on: so a later player is
//!   matched before you only if no match can be made for you by your window, and you are not needed in the other match.
//! - An absent player keeps the position and is passed over. A party is present when all its members are.
//!
//! Matches do not depend on how often they are searched, and the cost of a search does not grow with the queue: it
//! starts from changes (see [`agenda`]), finds tickets by skill and size (see [`spectrum`]), and tries sizes, not
//! tickets (see [`filling`]). It is bounded by [`ANCHORS_ASKED_MAX`], [`ANCHORS_TRIED_MAX`], by
//! [`FILLING_STEPS_MAX`](crate::limits::FILLING_STEPS_MAX) for each size in each try, and by the players of a match.

mod agenda;
mod cost;
mod filling;
mod places;
mod rules;
mod saved;
mod spectrum;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{ANCHORS_ASKED_MAX, ANCHORS_TRIED_MAX, LOOK_PAUSE};
use crate::queue::Ticket;
use agenda::Agenda;
use filling::Filling;
use places::Places;
use spectrum::{Spectrum, View};

pub use rules::SkillRules;
pub(crate) use rules::{Group, Rules};

/// The tickets that wait in one mode.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "saved::Saved")]
pub(crate) struct Lineup {
    rules: Rules,
    present: BTreeMap<Ticket, Waiting>,
    away: BTreeMap<Ticket, Waiting>,
    /// The present tickets, by skill and size.
    spectrum: Spectrum,
    /// The present tickets, by position.
    places: Places,
    agenda: Agenda,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Waiting {
    group: Group,
    /// When its window widens next; `None` if never, or while it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    widens_at: Option<Duration>,
}

impl Lineup {
    /// An empty lineup.
    ///
    /// # Panics
    /// When the rules are invalid, see [`Rules::flaw`].
    pub(crate) fn new(rules: Rules) -> Self {
        assert_eq!(rules.flaw(), None);
        // The widest range is used for a new ticket: the tickets that reach the tickets that reach it.
        let range_max = rules.skill.map_or(0, |skill| 4 * u64::from(skill.window_max) + 1);
        Self {
            rules,
            present: BTreeMap::new(),
            away: BTreeMap::new(),
            spectrum: Spectrum::new(range_max),
            places: Places::default(),
            agenda: Agenda::default(),
        }
    }

    /// Changes the rules for the same tickets; all possible matches are searched again.
    ///
    /// # Panics
    /// When the rules are invalid, see [`Rules::flaw`], or a group is too large for them.
    pub(crate) fn change_rules(&mut self, rules: Rules) {
        if self.rules == rules {
            return;
        }
        let before = std::mem::replace(self, Self::new(rules));
        for (ticket, waiting) in before.present {
            self.insert(ticket, waiting.group);
        }
        for (ticket, waiting) in before.away {
            self.insert(ticket, waiting.group);
            self.set_present(ticket, false);
        }
    }

    // ---- Changes ----

    /// Adds a present group.
    ///
    /// # Panics
    /// When the ticket exists already, or the group is larger than every squad.
    pub(crate) fn insert(&mut self, ticket: Ticket, group: Group) {
        let sizes = 1..=self.rules.party_max();
        assert!(sizes.contains(&group.size), "{} players go together", group.size);
        assert!(!self.contains(ticket), "two groups on one ticket");
        self.arrive(ticket, group);
    }

    /// Removes a group, present or absent.
    ///
    /// # Panics
    /// When the ticket does not exist.
    pub(crate) fn remove(&mut self, ticket: Ticket) {
        if self.away.remove(&ticket).is_none() {
            self.depart(ticket);
        }
    }

    /// Notes whether a group is present. An absent one keeps the position and is not matched.
    ///
    /// # Panics
    /// When the ticket does not exist.
    pub(crate) fn set_present(&mut self, ticket: Ticket, is_present: bool) {
        assert!(self.contains(ticket), "a ticket that is not in its queue");
        if is_present {
            if let Some(back) = self.away.remove(&ticket) {
                self.arrive(ticket, back.group);
            }
        } else if self.present.contains_key(&ticket) {
            let group = self.depart(ticket);
            self.away.insert(ticket, Waiting { group, widens_at: None });
        }
    }

    fn arrive(&mut self, ticket: Ticket, group: Group) {
        let skill = self.rules.skill.as_ref();
        let widens_at = skill.and_then(|skill| skill.next_widening(group.since, group.since));
        self.present.insert(ticket, Waiting { group, widens_at });
        self.index(ticket, group);
        self.agenda.note_arrival(ticket, widens_at);
    }

    fn index(&mut self, ticket: Ticket, group: Group) {
        self.spectrum.insert(ticket, group.skill, group.size);
        self.places.insert(ticket, group.size);
    }

    fn depart(&mut self, ticket: Ticket) -> Group {
        let gone = self.present.remove(&ticket);
        assert!(gone.is_some(), "a ticket that is not in its queue");
        let Some(Waiting { group, widens_at }) = gone else { unreachable!("it is some") };
        self.spectrum.remove(ticket, group.skill, group.size);
        self.places.remove(ticket, group.size);
        self.agenda.forget(ticket, widens_at);
        group
    }

    // ---- Matches ----

    /// Removes the players of a match, if one can be made: their tickets in order, and the squad of each. To be called
    /// again until it returns `None`.
    pub(crate) fn take_match(&mut self, now: Duration) -> Option<Vec<(Ticket, usize)>> {
        let seated = match self.rules.skill {
            None => self.find_match()?,
            Some(skill) => self.find_match_by_skill(skill, now)?,
        };
        for &(ticket, _) in &seated {
            self.depart(ticket);
        }
        Some(seated)
    }

    /// When to search for a match again, if nothing happens before: a window widens then. It is later than the last
    /// search that found none; `None` is never.
    pub(crate) fn next_change(&self) -> Option<Duration> {
        self.agenda.next()
    }

    /// Removes the first group that fits into the free slots of a squad, and returns the squad: the one with the fewest
    /// free slots left. With the skill of a match, only a group whose window reaches it.
    ///
    /// Of groups whose windows have widened, [`ANCHORS_ASKED_MAX`] are checked; if that many are too far away, a later
    /// and nearer group is taken before one that is not checked.
    pub(crate) fn take_fitting(
        &mut self,
        free: &[usize],
        skill: Option<i32>,
        now: Duration,
    ) -> Option<(Ticket, usize)> {
        let size_max = free.iter().copied().max()?;
        let ticket = match (skill, self.rules.skill) {
            (Some(of_match), Some(rules)) => self.first_reaching(of_match, size_max, rules, now)?,
            _ => self.spectrum.all().up_to(size_max).in_order().next()?.0,
        };
        let size = self.depart(ticket).size;
        let fitting = (0..free.len()).filter(|&squad| free[squad] >= size);
        let squad = fitting.min_by_key(|&squad| free[squad])?;
        Some((ticket, squad))
    }

    fn first_reaching(
        &self,
        skill: i32,
        size_max: usize,
        rules: SkillRules,
        now: Duration,
    ) -> Option<Ticket> {
        let fitting =
            |reach: u32| self.spectrum.within(skill, reach.into()).up_to(size_max).in_order();
        // The windows of all these reach the match.
        let near = fitting(rules.window).next().map(|(ticket, _)| ticket);
        let earlier = fitting(rules.window_max)
            .take(ANCHORS_ASKED_MAX)
            .map(|(ticket, _)| ticket)
            .take_while(|&ticket| near.is_none_or(|near| ticket < near))
            .find(|&ticket| self.reaches(ticket, skill, rules, now));
        earlier.or(near)
    }

    /// Without skill, only the first tickets of each size matter.
    fn find_match(&mut self) -> Option<Vec<(Ticket, usize)>> {
        self.agenda.first_news()?;
        let found = self.complete(None, &self.spectrum.all());
        if found.is_none() {
            self.agenda.clear_news();
        }
        found
    }

    /// Searches a match for tickets with changes, from the first one on: those whose window has widened, and those near
    /// enough to a new ticket.
    fn find_match_by_skill(
        &mut self,
        rules: SkillRules,
        now: Duration,
    ) -> Option<Vec<(Ticket, usize)>> {
        let (mut asks_left, mut tries_left) = (ANCHORS_ASKED_MAX, ANCHORS_TRIED_MAX);
        self.note_widened(rules, now, &mut asks_left);
        while asks_left > 0 && tries_left > 0 {
            let anchor = self.agenda.first_anchor();
            let news = self.agenda.first_news();
            // No ticket is tried before all new tickets have been compared with the earlier ones.
            match (anchor, news) {
                (Some(anchor), _) if news.is_none_or(|(from, _)| anchor < from) => {
                    tries_left -= 1;
                    let found = self.match_of(anchor, rules, now);
                    if found.is_some() {
                        return found;
                    }
                    self.agenda.drop_anchor(anchor);
                }
                (_, Some((from, news))) => self.ask(news, from, rules, now, &mut asks_left),
                (_, None) => {
                    self.agenda.set_resume(None);
                    return None;
                }
            }
        }
        self.agenda.set_resume(Some(now.saturating_add(LOOK_PAUSE)));
        None
    }

    /// Notes tickets whose window has widened, as many as may be checked.
    fn note_widened(&mut self, rules: SkillRules, now: Duration, asks_left: &mut usize) {
        while *asks_left > 0
            && let Some(ticket) = self.agenda.pop_widened(now)
        {
            cost::count();
            *asks_left -= 1;
            let Some(waiting) = self.present.get_mut(&ticket) else {
                unreachable!("{ticket:?} has a window and is not there")
            };
            waiting.widens_at = rules.next_widening(waiting.group.since, now);
            self.agenda.note_widening(ticket, waiting.widens_at);
        }
    }

    /// Finds the first ticket, starting with a given one, whose window reaches the new ticket.
    fn ask(
        &mut self,
        news: Ticket,
        from: Ticket,
        rules: SkillRules,
        now: Duration,
        asks_left: &mut usize,
    ) {
        *asks_left -= 1;
        let Group { skill, size, .. } = self.present[&news].group;
        if from == Ticket(0) {
            // The tickets of a match with the new one are no farther from it than two windows.
            let around = self.spectrum.within(skill, 2 * u64::from(rules.window_max));
            if !self.can_complete(size, &around) {
                return self.agenda.set_asked(news, None);
            }
        }
        let near = self.spectrum.within(skill, rules.window_max.into());
        let mut next = None;
        for (anchor, _) in near.in_order_from(from) {
            if *asks_left == 0 {
                next = Some(anchor);
                break;
            }
            *asks_left -= 1;
            if self.reaches(anchor, skill, rules, now) {
                self.agenda.add_anchor(anchor);
                next = anchor.0.checked_add(1).map(Ticket);
                break;
            }
        }
        self.agenda.set_asked(news, next);
    }

    fn match_of(
        &self,
        anchor: Ticket,
        rules: SkillRules,
        now: Duration,
    ) -> Option<Vec<(Ticket, usize)>> {
        let Group { skill, since, size } = self.present[&anchor].group;
        let within = self.spectrum.within(skill, rules.window(since, now).into());
        self.complete(Some((anchor, size)), &within)
    }

    fn reaches(&self, ticket: Ticket, skill: i32, rules: SkillRules, now: Duration) -> bool {
        cost::count();
        let group = self.present[&ticket].group;
        group.skill.abs_diff(skill) <= rules.window(group.since, now)
    }

    /// Whether a match can be completed with a group of this size and others of the view.
    fn can_complete(&self, size: usize, view: &View<'_>) -> bool {
        let mut may = view.counts(self.rules.party_max());
        let mut must = vec![0; may.len()];
        may[size] -= 1;
        must[size] += 1;
        Filling::find(&self.rules.squads, &must, &may).is_some()
    }

    /// Makes a match of the groups of a view, including the anchor: from the first ticket to the last, each one joins
    /// if the match can still be completed by the others.
    fn complete(
        &self,
        anchor: Option<(Ticket, usize)>,
        view: &View<'_>,
    ) -> Option<Vec<(Ticket, usize)>> {
        let squads = &self.rules.squads;
        let mut may = view.counts(self.rules.party_max());
        let mut must = vec![0; may.len()];
        if let Some((_, size)) = anchor {
            may[size] -= 1;
            must[size] += 1;
        }
        // There is always a filling for those that have joined; it changes as earlier tickets are found.
        let mut filling = Filling::find(squads, &must, &may)?;
        let mut joined: Vec<(Ticket, usize)> = anchor.into_iter().collect();
        let mut players_left = self.rules.players() - anchor.map_or(0, |(_, size)| size);
        let mut order = view.in_order();
        while players_left > 0 {
            let Some((ticket, size)) = order.next() else {
                unreachable!("a filling is made of groups that are there")
            };
            if anchor.is_some_and(|(anchor, _)| anchor == ticket) {
                continue;
            }
            may[size] -= 1;
            must[size] += 1;
            if filling.count(size) < must[size] {
                let Some(other) = Filling::find(squads, &must, &may) else {
                    // A group that does not fit excludes all others of its size.
                    must[size] -= 1;
                    may[size] = 0;
                    order.leave_out(size);
                    continue;
                };
                filling = other;
            }
            players_left -= size;
            joined.push((ticket, size));
        }
        joined.sort_unstable();
        Some(seat(joined, filling))
    }

    // ---- Queries ----

    /// The position of a ticket, from 1: the number of present players before it, plus one. For an absent ticket, the
    /// position that it would have.
    pub(crate) fn position(&self, ticket: Ticket) -> usize {
        self.places.before(ticket) + 1
    }

    /// The first present ticket.
    pub(crate) fn first(&self) -> Option<Ticket> {
        self.present.first_key_value().map(|(&ticket, _)| ticket)
    }

    pub(crate) fn contains(&self, ticket: Ticket) -> bool {
        self.present.contains_key(&ticket) || self.away.contains_key(&ticket)
    }

    /// The number of tickets, present and absent.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.present.len() + self.away.len()
    }

    /// The number of present players.
    pub(crate) fn present_players(&self) -> usize {
        self.places.total()
    }

    /// The present tickets, in order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (Ticket, &Group)> {
        self.present.iter().map(|(&ticket, waiting)| (ticket, &waiting.group))
    }

    /// The absent tickets.
    pub(crate) fn away(&self) -> impl ExactSizeIterator<Item = (Ticket, &Group)> {
        self.away.iter().map(|(&ticket, waiting)| (ticket, &waiting.group))
    }
}

/// Assigns each group, in order, to a squad with a slot of its size.
fn seat(joined: Vec<(Ticket, usize)>, mut filling: Filling) -> Vec<(Ticket, usize)> {
    let seat = |(ticket, size)| {
        let Some(squad) = filling.take(size) else {
            unreachable!("the filling has a place for everybody who joined")
        };
        (ticket, squad)
    };
    joined.into_iter().map(seat).collect()
}
