//! Queues, and leaves after a while.

use protocol::Reply;

use super::{Desk, End, Scenario};

#[derive(Debug, Default)]
pub(crate) struct Impatient {
    is_queued: bool,
}

impl Scenario for Impatient {
    fn handle_greeted(&mut self, desk: &mut Desk<'_>) {
        desk.ready();
    }

    fn handle_reply(&mut self, desk: &mut Desk<'_>, reply: &Reply) {
        match reply {
            // A repeated QUEUED does not restart the wait.
            Reply::Queued { .. } if !self.is_queued => {
                self.is_queued = true;
                desk.wake_in(desk.step.pause);
            }
            Reply::Left => {
                desk.note_left();
                desk.end(End::Close);
            }
            _ => {}
        }
    }

    fn handle_wake(&mut self, desk: &mut Desk<'_>) {
        desk.leave();
    }
}
