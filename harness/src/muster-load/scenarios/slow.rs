//! Sends READY one byte at a time: the whole line, and then plays normally; or half of it, and then is silent.

use protocol::ErrorCode;

use super::{Desk, End, Scenario};

#[derive(Debug, Default)]
pub(crate) struct Slow {
    said: usize,
    is_ready_said: bool,
}

impl Slow {
    /// Whether the half line, after which the player stops, has been sent.
    fn is_half_said(&self, desk: &Desk<'_>, line: &str) -> bool {
        desk.step.coin && self.said >= line.len() / 2
    }
}

impl Scenario for Slow {
    fn handle_greeted(&mut self, desk: &mut Desk<'_>) {
        desk.wake_in(desk.step.second_pause);
    }

    fn handle_wake(&mut self, desk: &mut Desk<'_>) {
        let line = desk.ready_line();
        if self.is_ready_said {
            return;
        }
        if self.is_half_said(desk, &line) {
            return desk.end(End::Close);
        }
        desk.say_raw(&line.as_bytes()[self.said..=self.said]);
        self.said += 1;
        if self.said == line.len() {
            self.is_ready_said = true;
            desk.note_ready(false);
        } else if self.is_half_said(desk, &line) {
            desk.wake_in(desk.step.pause);
        } else {
            desk.wake_in(desk.step.second_pause);
        }
    }

    fn expects(&self, number: u16) -> bool {
        number == ErrorCode::Timeout.number()
    }

    fn is_idling(&self) -> bool {
        !self.is_ready_said
    }
}
