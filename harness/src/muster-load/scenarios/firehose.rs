//! Sends far too many lines, and reads the answers, until it is disconnected or its time is over.

use std::time::Duration;

use protocol::{ErrorCode, Reply};

use super::{Desk, End, Scenario};

#[derive(Debug, Default)]
pub(crate) struct Firehose {
    began: Option<Duration>,
}

/// The number of lines, and the pause: a hundred times the rate that a client may have in the long run.
const LINES: usize = 200;
const PAUSE: Duration = Duration::from_millis(2);

/// The line: it is valid, as malformed ones would end the connection too soon.
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
        // Unsent data is enough for now.
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
