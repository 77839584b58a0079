//! The tickets that must be checked before it is certain that no match can be made.
//!
//! If no match can be made, that does not change until a ticket is added or returns, or a window widens. So only those
//! tickets are checked, and those that they may affect.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::queue::Ticket;

#[derive(Debug, Clone, Default)]
pub(super) struct Agenda {
    /// New tickets, and for each the ticket up to which others have been compared with it.
    news: BTreeMap<Ticket, Ticket>,
    /// The same, by the ticket at which to continue.
    asked: BTreeSet<(Ticket, Ticket)>,
    /// The tickets for which a match must be searched again.
    anchors: BTreeSet<Ticket>,
    /// When windows widen next.
    widenings: BTreeSet<(Duration, Ticket)>,
    /// When to continue a search that had more to check than it may.
    resume_at: Option<Duration>,
}

impl Agenda {
    /// Notes that a ticket was added or returned, and when its window widens.
    pub(super) fn note_arrival(&mut self, ticket: Ticket, widens_at: Option<Duration>) {
        self.set_asked(ticket, Some(Ticket(0)));
        self.note_widening(ticket, widens_at);
    }

    pub(super) fn note_widening(&mut self, ticket: Ticket, widens_at: Option<Duration>) {
        self.widenings.extend(widens_at.map(|at| (at, ticket)));
    }

    /// Removes a ticket, whose window was to widen at that time.
    pub(super) fn forget(&mut self, ticket: Ticket, widens_at: Option<Duration>) {
        self.set_asked(ticket, None);
        self.anchors.remove(&ticket);
        if let Some(at) = widens_at {
            self.widenings.remove(&(at, ticket));
        }
    }

    /// Removes the first ticket whose window has widened; a match must be searched for it.
    pub(super) fn pop_widened(&mut self, now: Duration) -> Option<Ticket> {
        let &(at, ticket) = self.widenings.first()?;
        if at > now {
            return None;
        }
        self.widenings.pop_first();
        self.anchors.insert(ticket);
        Some(ticket)
    }

    /// The new ticket that was compared least: the ticket at which to continue, and itself.
    pub(super) fn first_news(&self) -> Option<(Ticket, Ticket)> {
        self.asked.first().copied()
    }

    /// Notes where to continue comparing a new ticket; `None` if it was compared with all.
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

    /// Removes all new tickets.
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

    /// Notes that there is no match for a ticket.
    pub(super) fn drop_anchor(&mut self, anchor: Ticket) {
        self.anchors.remove(&anchor);
    }

    /// Sets when to continue an unfinished search; `None` if it is finished.
    pub(super) fn set_resume(&mut self, at: Option<Duration>) {
        self.resume_at = at;
    }

    /// When there is something to check next, if nothing happens before.
    pub(super) fn next(&self) -> Option<Duration> {
        self.resume_at.or_else(|| self.widenings.first().map(|&(at, _)| at))
    }

    /// The parts that cannot be derived from the waiting tickets.
    pub(super) fn to_parts(&self) -> (Vec<(Ticket, Ticket)>, Vec<Ticket>, Option<Duration>) {
        let news = self.news.iter().map(|(&news, &from)| (news, from)).collect();
        (news, self.anchors.iter().copied().collect(), self.resume_at)
    }
}
