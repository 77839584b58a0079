//! Says far more lines than anybody should, and reads the answers, until it is thrown out or has had enough.

use std::time::Duration;

use protocol::{ErrorCode, Reply};

use super::{Desk, End, Scenario};

#[derive(Debug, Default)]
pub(crate) struct Firehose {
    began: Option<Duration>,
}

/// So many lines at a time, so often: a hundred times of what one client is allowed in the long run.
const LINES: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);

/// What it says: a line that is answered, one that makes no sense would end it too soon.
const LINE: &[u8] = b"PING firehose\n";

impl Scenario for Firehose {
    fn handle_greeted(&mut self, desk: &mut Desk<'_>) {
        self.began = Some(desk.now);
        self.handle_wake(desk);
    }

    fn handle_reply(&mut self, desk: &mut Desk<'_>, reply: &Reply) {
        if matches!(reply, Reply::Bye { .. }) {
            desk.end(End::Close);
        }
    }

    fn handle_wake(&mut self, desk: &mut Desk<'_>) {
        if self.began.is_some_and(|began| desk.now >= began + desk.step.pause) {
            return desk.end(End::Close);
        }
        // What the kernel has not taken is enough for now.
        if desk.conversation.unsent().is_empty() {
            desk.say_raw(&LINE.repeat(LINES));
        }
        desk.wake_in(PAUSE);
    }

    fn expects(&self, number: u16) -> bool {
        number == ErrorCode::TooMany.number()
    }

    fn is_idling(&self) -> bool {
        true
    }
}
