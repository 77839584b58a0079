//! Failures of games: whether the mode is to blame, or the port.

use std::time::Duration;

use protocol::GameId;
use protocol::report::{Event, Exit, GameFault};

use crate::hosting::Hosting;
use crate::limits;

impl Hosting {
    /// Records the end of a match whose players were sent to its game. Where matches end in a row as soon as their players
    /// are sent, the mode's games fail, although they started.
    pub(crate) fn note_match_end(
        &mut self,
        id: GameId,
        exit: Exit,
        lasted: Duration,
        has_result: bool,
    ) {
        let has_died = match exit {
            Exit::Status(status) => status != 0,
            Exit::Signal(_) => true,
            Exit::Unknown => false,
        };
        let is_soon = lasted < limits::MATCH_MIN && has_died && !has_result;
        let game = self.games.game(id);
        let (mode, is_port_taken) = (game.mode, game.is_port_taken);
        let backoff = &mut self.modes[mode.0].backoff;
        if is_soon && is_port_taken {
            // It could not have its port, and is not to blame.
            self.rest_port_of(id);
        } else if !is_soon {
            backoff.note_good_match();
        } else if backoff.note_early_end() {
            self.note_failure(id, GameFault::EndedSoon { exit, lasted });
        }
    }

    /// Records a game that failed. Where games of its mode start elsewhere, its port may be to blame: the port rests, and
    /// if it was suspected already, the mode is not to blame.
    pub(crate) fn note_failure(&mut self, id: GameId, fault: GameFault) {
        let game = self.games.game(id);
        let (mode, port, is_taken) = (game.mode, game.port, game.is_port_taken);
        let had_port =
            matches!(fault, GameFault::Ended(_) | GameFault::NotReady | GameFault::NotStarted);
        let has_better = self.ports.has_better(port);
        let is_suspect = self.ports.is_suspect(port) && has_better;
        let backoff = &mut self.modes[mode.0].backoff;
        let is_of_port = had_port && !backoff.is_failing() && (is_taken || is_suspect);
        let retry_in = match is_of_port {
            true => Duration::ZERO,
            false => backoff.note_failure(self.now),
        };
        if had_port && (is_taken || (has_better && !backoff.is_failing())) {
            self.rest_port_of(id);
        }
        self.report(Event::GameFailed { game: id, mode, fault, retry_in });
    }

    fn rest_port_of(&mut self, id: GameId) {
        let Some(game) = self.games.get_mut(id) else { return };
        game.port_rest = self.ports.suspect(game.port);
    }
}
