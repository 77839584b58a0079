//! The daemon is replaced: another brain is made of what was written down of this one, a snapshot and all that it
//! was told since, and goes on in its place.

use std::collections::BTreeSet;
use std::time::Duration;

use super::trace::Entry;
use super::world::World;
use super::{Verdict, demand};
use matchmaker::ConnectionId;
use matchmaker::Input;
use matchmaker::Matchmaker;

/// What a brain can be made of again.
pub(super) struct WrittenDown {
    snapshot: String,
    /// What it was told since and when; `None`: that time has passed.
    journal: Vec<(Duration, Option<Input>)>,
}

impl WrittenDown {
    pub(super) fn new(brain: &Matchmaker) -> Self {
        Self { snapshot: text_of(brain), journal: Vec::new() }
    }

    pub(super) fn note(&mut self, now: Duration, input: Option<Input>) {
        self.journal.push((now, input));
    }

    /// The brain that comes of it. What that one wants done was done by the first.
    fn restore(&self) -> Matchmaker {
        let read = serde_json::from_str(&self.snapshot);
        let mut brain: Matchmaker =
            read.unwrap_or_else(|error| unreachable!("a snapshot: {error}"));
        for (now, input) in self.journal.clone() {
            match input {
                Some(input) => brain.handle(now, input),
                None => brain.handle_timeout(now),
            }
            while brain.poll_action().is_some() {}
        }
        brain
    }
}

impl World<'_> {
    /// Another daemon takes over. Where the old one crashed, its connections are lost, and so are its orders.
    pub(super) fn the_daemon_is_replaced(&mut self) -> Verdict {
        let restored = self.written_down.restore();
        let (before, after) = (text_of(&self.brain), text_of(&restored));
        demand(before == after, || format!("written down was {before}, restored {after}"))?;
        self.brain = restored;
        self.written_down = WrittenDown::new(&self.brain);
        self.book.tally.count("daemons replaced");
        if self.choices.one_in(2) {
            return Ok(());
        }
        self.book.tally.count("crashes");
        self.trace.push(Entry::Noted("the daemon crashed".to_owned()));
        let people = self.book.people.values().filter_map(|person| person.connection);
        let gathered = self.book.rooms.values().flatten().copied();
        let connected: BTreeSet<ConnectionId> = people.chain(gathered).collect();
        for connection in connected {
            self.tell(Input::Lost { connection })?;
        }
        self.the_launcher_dies()
    }
}

fn text_of(brain: &Matchmaker) -> String {
    serde_json::to_string(brain).unwrap_or_else(|error| unreachable!("a brain: {error}"))
}
