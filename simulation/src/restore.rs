//! The daemon is replaced: another brain is restored from the snapshot and the journal, and continues in its place.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::trace::Entry;
use crate::world::World;
use crate::{CheckResult, check};
use brain::{Brain, ConnectionId, Input, PlayerInput};

/// A snapshot of the brain and the inputs since.
pub(crate) struct SavedBrain {
    snapshot: String,
    /// The inputs since then; `None` is a call of `handle_timeout`.
    journal: Vec<(Duration, Option<Input>)>,
}

impl SavedBrain {
    pub(crate) fn new(brain: &Brain) -> Self {
        Self { snapshot: text_of(brain), journal: Vec::new() }
    }

    pub(crate) fn note(&mut self, now: Duration, input: Option<Input>) {
        self.journal.push((now, input));
    }

    /// The restored brain. Its actions were performed before the restart.
    fn restore(&self) -> Brain {
        let read = serde_json::from_str(&self.snapshot);
        let mut brain: Brain = read.unwrap_or_else(|error| unreachable!("a snapshot: {error}"));
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
    /// Another daemon takes over. After a crash all connections and the launches under way are lost.
    pub(crate) fn daemon_is_replaced(&mut self) -> CheckResult {
        let restored = self.saved.restore();
        let (before, after) = (text_of(&self.brain), text_of(&restored));
        check(before == after, || format!("saved was {before}, restored {after}"))?;
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
            self.apply(Input::Player(PlayerInput::Lost { connection }))?;
        }
        self.launcher_dies()
    }
}

fn text_of(brain: &Brain) -> String {
    serde_json::to_string(brain).unwrap_or_else(|error| unreachable!("a brain: {error}"))
}
