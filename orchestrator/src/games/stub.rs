//! Games that are no processes: there at once, and over as soon as they have started.
//!
//! With them the benchmark measures what the daemon itself costs: everything is as it is for real games, except that
//! nobody plays. No build for users has them.

use std::time::Duration;

use brain::{Action, Exit, GameAction, GameId, GameInput, Input};
use process::Ended;

use super::Games;
use crate::turn::Turn;

impl Games {
    /// Does what a stub's process would have done. `false`: the action is about no stub.
    pub(crate) fn perform_as_stub(&mut self, action: &Action, turn: &mut Turn<'_>) -> bool {
        match action {
            Action::Game(GameAction::Launch { game, mode, seated, .. })
                if turn.config.modes[mode.0].is_stub =>
            {
                let game = *game;
                self.stubs.insert(game);
                turn.inputs.extend([
                    Input::Game(GameInput::Launched { game }),
                    Input::Game(GameInput::Ready { game }),
                ]);
                if seated.is_some() {
                    play(game, turn);
                }
            }
            Action::Game(GameAction::Start { game, .. }) if self.stubs.contains(game) => {
                play(*game, turn);
            }
            Action::Game(GameAction::Stop { game, .. }) if self.stubs.contains(game) => {
                end(*game, turn);
            }
            _ => return false,
        }
        true
    }

    /// What the kernel would have reported of it.
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

fn play(game: GameId, turn: &mut Turn<'_>) {
    turn.push(Input::Game(GameInput::Started { game }));
    end(game, turn);
}

fn end(game: GameId, turn: &mut Turn<'_>) {
    turn.push(Input::Game(GameInput::Exited { game, exit: Exit::Status(0) }));
}
