//! Sends READY, and resets the connection: at once, or as soon as it is queued.

use protocol::Reply;

use super::{Desk, End, Scenario};

#[derive(Debug)]
pub(crate) struct Resets;

impl Scenario for Resets {
    fn handle_greeted(&mut self, desk: &mut Desk<'_>) {
        desk.ready();
        if desk.step.coin {
            desk.end(End::Reset);
        }
    }

    fn handle_reply(&mut self, desk: &mut Desk<'_>, reply: &Reply) {
        if matches!(reply, Reply::Queued { .. }) {
            desk.end(End::Reset);
        }
    }
}
