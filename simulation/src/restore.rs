//! The daemon is replaced: another brain is made of what was written down of this one, a snapshot and all that it
//! was told since, and goes on in its place.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::trace::Entry;
use crate::world::World;
use crate::{CheckResult, check};
use matchmaker::ConnectionId;
use matchmaker::Input;
use matchmaker::Matchmaker;

/// What a brain can be made of again.
pub(crate) struct SavedBrain {
    snapshot: String,
    /// What it was told since and when; `None`: that time has passed.
    journal: Vec<(Duration, Option<Input>)>,
}

impl SavedBrain {
    pub(crate) fn new(brain: &Matchmaker) -> Self {
        Self { snapshot: text_of(brain), journal: Vec::new() }
    }

    pub(crate) fn note(&mut self, now: Duration, input: Option<Input>) {
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
    pub(crate) fn daemon_is_replaced(&mut self) -> CheckResult {
        let restored = self.saved.restore();
        let (before, after) = (text_of(&self.brain), text_of(&restored));
        check(before == after, || format!("written down was {before}, restored {after}"))?;
        self.brain = restored;
        self.saved = SavedBrain::new(&self.brain);
        self.model.tally.count("daemons replaced");
        if self.choices.one_in(2) {
            return Ok(());
        }
        self.model.tally.count("crashes");
        self.trace.push(Entry::Noted("the daemon crashed".to_owned()));
        let players = self.model.players.values().filter_map(|player| player.connection);
        let gathered = self.model.parties.values().flatten().copied();
        let connected: BTreeSet<ConnectionId> = players.chain(gathered).collect();
        for connection in connected {
            self.tell(Input::Lost { connection })?;
        }
        self.launcher_dies()
    }
}

fn text_of(brain: &Matchmaker) -> String {
    serde_json::to_string(brain).unwrap_or_else(|error| unreachable!("a brain: {error}"))
}
