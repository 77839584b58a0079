//! What a body has to know of a brain that it got back after a crash, to tell it what became of everything meanwhile.

use crate::matchmaker::Matchmaker;
use protocol::{ConnectionId, GameId};

impl Matchmaker {
    /// The connections on which the brain believes that somebody speaks: players who wait, and those who gather.
    pub fn connections(&self) -> Vec<ConnectionId> {
        let mut all: Vec<ConnectionId> = self.connections.keys().copied().collect();
        all.extend(self.parties.connections().filter(|id| !self.connections.contains_key(id)));
        all
    }

    /// The games that the brain knows, each with whether it believes that there is a process.
    pub fn games(&self) -> impl Iterator<Item = (GameId, bool)> {
        self.games.iter().map(|(id, game)| (*id, game.has_process()))
    }
}
