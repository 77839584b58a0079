//! Queues, quits, and never returns; the pool replaces the player.

use protocol::Reply;

use super::{Desk, End, Scenario};

#[derive(Debug)]
pub(crate) struct Logout;

impl Scenario for Logout {
    fn handle_greeted(&mut self, desk: &mut Desk<'_>) {
        desk.ready();
    }

    fn handle_reply(&mut self, desk: &mut Desk<'_>, reply: &Reply) {
        match reply {
            Reply::Queued { .. } => desk.quit(),
            Reply::Bye { .. } => desk.end(End::LogOut),
            _ => {}
        }
    }
}
