//! Echo: returns every message. For testing a network, and the shortest game.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{Game, Match, Outbox};

/// Returns every message to its sender.
///
/// Its result counts, by slot, the returned messages and the answered pings: `{"echoed":[2,0],"pings":[1,5]}`.
pub struct Echo {
    echoed: Vec<u64>,
    pings: Vec<u64>,
}

impl Echo {
    /// An echo for the players of a match.
    pub fn new(setup: &Match) -> Self {
        let none = vec![0; setup.names().len()];
        Self { echoed: none.clone(), pings: none }
    }
}

impl Game for Echo {
    fn handle_words(&mut self, _now: Duration, slot: usize, words: &str, outbox: &mut Outbox) {
        self.echoed[slot] += 1;
        outbox.send(slot, words);
    }

    fn handle_ping(&mut self, _now: Duration, slot: usize) {
        self.pings[slot] += 1;
    }

    fn result(&self, _now: Duration) -> Map<String, Value> {
        Map::from_iter([
            ("echoed".to_owned(), json!(self.echoed)),
            ("pings".to_owned(), json!(self.pings)),
        ])
    }
}
