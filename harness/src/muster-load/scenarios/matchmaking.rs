//! The normal player: READY, wait, ASSIGN.

use super::{Desk, Scenario};

#[derive(Debug)]
pub(crate) struct Matchmaking;

impl Scenario for Matchmaking {
    fn handle_greeted(&mut self, desk: &mut Desk<'_>) {
        desk.ready();
    }
}
