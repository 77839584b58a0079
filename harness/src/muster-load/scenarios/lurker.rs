//! Connects and is silent, until it is disconnected or its time is over.

use protocol::ErrorCode;

use super::{Desk, End, Scenario};

#[derive(Debug)]
pub(crate) struct Lurker;

impl Scenario for Lurker {
    fn handle_greeted(&mut self, desk: &mut Desk<'_>) {
        desk.wake_in(desk.step.pause);
    }

    fn handle_wake(&mut self, desk: &mut Desk<'_>) {
        desk.end(End::Close);
    }

    fn expects(&self, number: u16) -> bool {
        number == ErrorCode::Timeout.number()
    }

    fn is_idling(&self) -> bool {
        true
    }
}
