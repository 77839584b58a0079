//! Games that are no processes: there at once, and over as soon as they have started.
//!
//! With them the benchmark measures what the daemon itself costs: everything is as it is for real games, except that
//! nobody plays. No build for users has them.

use std::time::Duration;

use matchmaker::{Action, Exit, GameId, Input};
use process::Ended;

use super::Server;

impl Server {
    /// What a stub's process would have said and done. `false`: the action is about no stub.
    pub(super) fn perform_as_stub(&mut self, action: &Action) -> bool {
        match action {
            Action::Launch { game, mode, seated, .. } if self.mode(*mode).is_stub => {
                let game = *game;
                self.stubs.insert(game);
                self.inputs.extend([Input::Launched { game }, Input::GameReady { game }]);
                if seated.is_some() {
                    self.play_as_stub(game);
                }
            }
            Action::Start { game, .. } if self.stubs.contains(game) => self.play_as_stub(*game),
            Action::Stop { game, .. } if self.stubs.contains(game) => self.end_as_stub(*game),
            _ => return false,
        }
        true
    }

    fn play_as_stub(&mut self, game: GameId) {
        self.inputs.push_back(Input::GameStarted { game });
        self.end_as_stub(game);
    }

    fn end_as_stub(&mut self, game: GameId) {
        self.inputs.push_back(Input::GameExited { game, exit: Exit::Status(0) });
    }

    /// What the kernel would have said of it.
    pub(super) fn end_of_stub(&mut self, game: GameId) -> Option<Ended> {
        self.stubs.remove(&game).then_some(Ended {
            pid: 0,
            end: Ok(0),
            cpu_user: Duration::ZERO,
            cpu_system: Duration::ZERO,
            memory_peak_kib: 0,
        })
    }
}
