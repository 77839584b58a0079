//! Loses the connection while queued, and resumes the session. If Muster has not kept it (ERR 505), the player joins
//! again.

use protocol::Reply;

use super::{Desk, End, Scenario};

#[derive(Debug, Default)]
pub(crate) struct Flaky {
    progress: Progress,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Progress {
    /// Has not been queued yet.
    #[default]
    Fresh,
    Queued,
    /// Has lost a connection, and loses no other.
    HasLost,
}

impl Scenario for Flaky {
    fn handle_greeted(&mut self, desk: &mut Desk<'_>) {
        desk.ready();
    }

    fn handle_reply(&mut self, desk: &mut Desk<'_>, reply: &Reply) {
        if self.progress == Progress::Fresh && matches!(reply, Reply::Queued { .. }) {
            self.progress = Progress::Queued;
            desk.wake_in(desk.step.pause);
        }
    }

    fn handle_wake(&mut self, desk: &mut Desk<'_>) {
        if self.progress == Progress::Queued {
            self.progress = Progress::HasLost;
            let (resets, back_in) = (desk.step.coin, desk.step.second_pause);
            desk.end(End::Away { resets, back_in });
        }
    }
}
