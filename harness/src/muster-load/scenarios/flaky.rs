//! Loses its connection while it is queued, and comes back with its resume key. Where Muster does not keep the place
//! (ERR 505), it joins anew.

use protocol::{ErrorCode, Reply, Secret};

use super::{Desk, End, Scenario};

#[derive(Debug, Default)]
pub(crate) struct Flaky {
    progress: Progress,
}

#[derive(Debug, Default, Clone, Copy)]
enum Progress {
    /// Has not lost its connection so far; the key, once it has one.
    #[default]
    Fresh,
    Queued(Option<Secret>),
    /// Lost its connection.
    Away(Option<Secret>),
    /// Is back, for good.
    Back,
}

impl Scenario for Flaky {
    fn handle_greeted(&mut self, desk: &mut Desk<'_>) {
        match self.progress {
            Progress::Away(Some(key)) => desk.resume(key),
            Progress::Away(None) => {
                self.progress = Progress::Back;
                desk.ready();
            }
            Progress::Fresh | Progress::Queued(_) | Progress::Back => desk.ready(),
        }
    }

    fn handle_reply(&mut self, desk: &mut Desk<'_>, reply: &Reply) {
        match (self.progress, reply) {
            (Progress::Fresh, Reply::Queued { resume, .. }) => {
                self.progress = Progress::Queued(resume.parse().ok());
                desk.wake_in(desk.step.pause);
            }
            (Progress::Away(_), Reply::Queued { .. }) => self.progress = Progress::Back,
            (Progress::Away(_), Reply::Error { number, .. }) if is_bad_resume(*number) => {
                self.progress = Progress::Back;
                desk.ready();
            }
            _ => {}
        }
    }

    fn handle_wake(&mut self, desk: &mut Desk<'_>) {
        if let Progress::Queued(key) = self.progress {
            self.progress = Progress::Away(key);
            let (resets, back_in) = (desk.step.coin, desk.step.second_pause);
            desk.end(End::Away { resets, back_in });
        }
    }

    fn expects(&self, number: u16) -> bool {
        matches!(self.progress, Progress::Away(_)) && is_bad_resume(number)
    }
}

fn is_bad_resume(number: u16) -> bool {
    number == ErrorCode::BadResume.number()
}
