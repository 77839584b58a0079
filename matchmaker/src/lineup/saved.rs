//! The saved form of a lineup: the parts that cannot be derived.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use super::{Lineup, Rules, Waiting};
use crate::queue::Ticket;

#[derive(Debug, Deserialize)]
pub(super) struct Saved {
    rules: Rules,
    present: Vec<(Ticket, Waiting)>,
    away: Vec<(Ticket, Waiting)>,
    news: Vec<(Ticket, Ticket)>,
    anchors: Vec<Ticket>,
    resume_at: Option<Duration>,
}

/// Like [`Saved`], without a copy of all tickets.
impl Serialize for Lineup {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (news, anchors, resume_at) = self.agenda.to_parts();
        let mut saved = to.serialize_struct("Saved", 6)?;
        saved.serialize_field("rules", &self.rules)?;
        saved.serialize_field("present", &Pairs(&self.present))?;
        saved.serialize_field("away", &Pairs(&self.away))?;
        saved.serialize_field("news", &news)?;
        saved.serialize_field("anchors", &anchors)?;
        saved.serialize_field("resume_at", &resume_at)?;
        saved.end()
    }
}

struct Pairs<'a>(&'a BTreeMap<Ticket, Waiting>);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0)
    }
}

impl TryFrom<Saved> for Lineup {
    type Error = String;

    /// # Errors
    /// When it is not a valid lineup.
    fn try_from(saved: Saved) -> Result<Self, String> {
        if let Some(flaw) = saved.rules.flaw() {
            return Err(format!("a saved lineup has invalid rules: {flaw}"));
        }
        let mut lineup = Self::new(saved.rules);
        let sizes = 1..=lineup.rules.party_max();
        for (ticket, waiting) in saved.present.iter().chain(&saved.away) {
            let size = waiting.group.size;
            if !sizes.contains(&size) {
                return Err(format!("a saved lineup has {size} players go together on {ticket:?}"));
            }
        }
        for (ticket, waiting) in saved.present {
            if lineup.present.insert(ticket, waiting).is_some() {
                return Err(format!("a saved lineup has {ticket:?} twice"));
            }
            lineup.index(ticket, waiting.group);
            lineup.agenda.note_widening(ticket, waiting.widens_at);
        }
        for (ticket, waiting) in saved.away {
            if lineup.contains(ticket) {
                return Err(format!("a saved lineup has {ticket:?} twice"));
            }
            lineup.away.insert(ticket, Waiting { widens_at: None, ..waiting });
        }
        let is_present = |ticket| lineup.present.contains_key(ticket);
        let looked_at = saved.news.iter().map(|(news, _)| news).chain(&saved.anchors);
        if let Some(ticket) = looked_at.into_iter().find(|&ticket| !is_present(ticket)) {
            return Err(format!("a saved lineup checks {ticket:?}, which does not exist"));
        }
        for (news, from) in saved.news {
            lineup.agenda.set_asked(news, Some(from));
        }
        saved.anchors.into_iter().for_each(|anchor| lineup.agenda.add_anchor(anchor));
        lineup.agenda.set_resume(saved.resume_at);
        Ok(lineup)
    }
}
