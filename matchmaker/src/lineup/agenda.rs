//! What has to be looked at before it can be said again that nobody can be matched.
//!
//! Where nobody can be matched, that stays so until somebody comes or comes back, or a window widens. So
//! only those are looked at, and those for whom it may make a difference.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::queue::Ticket;

#[derive(Debug, Clone, Default)]
pub(super) struct Agenda {
    /// Who came, and the ticket up to which it was asked for whom that makes a difference.
    news: BTreeMap<Ticket, Ticket>,
    /// The same, by where to go on asking.
    asked: BTreeSet<(Ticket, Ticket)>,
    /// For whom a match has to be sought again.
    anchors: BTreeSet<Ticket>,
    /// When windows widen next.
    widenings: BTreeSet<(Duration, Ticket)>,
    /// When to go on with a look that had more to look at than it may.
    resume_at: Option<Duration>,
}

impl Agenda {
    /// Somebody came, or came back, whose window widens at that time.
    pub(super) fn note_arrival(&mut self, ticket: Ticket, widens_at: Option<Duration>) {
        self.set_asked(ticket, Some(Ticket(0)));
        self.note_widening(ticket, widens_at);
    }

    pub(super) fn note_widening(&mut self, ticket: Ticket, widens_at: Option<Duration>) {
        self.widenings.extend(widens_at.map(|at| (at, ticket)));
    }

    /// Somebody whose window was to widen at that time went.
    pub(super) fn forget(&mut self, ticket: Ticket, widens_at: Option<Duration>) {
        self.set_asked(ticket, None);
        self.anchors.remove(&ticket);
        if let Some(at) = widens_at {
            self.widenings.remove(&(at, ticket));
        }
    }

    /// Takes out the first whose window has widened; it is an anchor to try.
    pub(super) fn pop_widened(&mut self, now: Duration) -> Option<Ticket> {
        let &(at, ticket) = self.widenings.first()?;
        if at > now {
            return None;
        }
        self.widenings.pop_first();
        self.anchors.insert(ticket);
        Some(ticket)
    }

    /// Of those who came, the one of whom least was asked: the ticket at which to go on asking for whom it makes a
    /// difference, and itself.
    pub(super) fn first_news(&self) -> Option<(Ticket, Ticket)> {
        self.asked.first().copied()
    }

    /// Notes up to where it was asked about one who came; `None`: about all.
    pub(super) fn set_asked(&mut self, news: Ticket, from: Option<Ticket>) {
        let before = match from {
            Some(from) => self.news.insert(news, from),
            None => self.news.remove(&news),
        };
        if let Some(before) = before {
            self.asked.remove(&(before, news));
        }
        self.asked.extend(from.map(|from| (from, news)));
    }

    /// Nothing that came makes a difference.
    pub(super) fn clear_news(&mut self) {
        self.news.clear();
        self.asked.clear();
    }

    pub(super) fn add_anchor(&mut self, anchor: Ticket) {
        self.anchors.insert(anchor);
    }

    pub(super) fn first_anchor(&self) -> Option<Ticket> {
        self.anchors.first().copied()
    }

    /// There is no match for it.
    pub(super) fn drop_anchor(&mut self, anchor: Ticket) {
        self.anchors.remove(&anchor);
    }

    /// When to go on with what is left of a look; `None` when nothing is.
    pub(super) fn set_resume(&mut self, at: Option<Duration>) {
        self.resume_at = at;
    }

    /// When there is something to look at next, if nothing happens.
    pub(super) fn next(&self) -> Option<Duration> {
        self.resume_at.or_else(|| self.widenings.first().map(|&(at, _)| at))
    }

    /// What cannot be told from those who wait.
    pub(super) fn to_parts(&self) -> (Vec<(Ticket, Ticket)>, Vec<Ticket>, Option<Duration>) {
        let news = self.news.iter().map(|(&news, &from)| (news, from)).collect();
        (news, self.anchors.iter().copied().collect(), self.resume_at)
    }
}
