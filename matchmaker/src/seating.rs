//! Games that are born with their players.
//!
//! A program without a control channel learns its players from its environment, so they have to be known when it is
//! launched. To any other program it saves two round trips. A game that is launched because a match waits is therefore
//! bound to that match at once, and no `start` follows. If such a game fails before it reports `started`, its match
//! keeps its position. A match that finds a warm game takes that game.
//!
//! The first match in the line is seated, even if a game of the mode is already launching to be warm: that game goes to
//! the next match in the line. So matches are seated in their order, and may start in another order.

use protocol::Seat;

use crate::deadlines::Owner;
use crate::games::Game;
use crate::io::{Action, SeatedMatch};
use crate::matches::MatchPhase;
use crate::matchmaker::Matchmaker;
use protocol::{GameId, MatchId, ModeId, PlayerId};

impl Matchmaker {
    /// Asks for a game on a port for the first match in a mode's line, which is in order.
    pub(crate) fn launch_seated(&mut self, game: GameId, mode: ModeId, port: u16) {
        let Some((_, match_id)) = self.modes[mode.0].waiting.pop_first() else {
            unreachable!("{mode:?} is in need of a game and no match waits")
        };
        self.match_mut(match_id).enter(MatchPhase::Starting(game));
        self.note_match_step();
        self.games.insert(game, Game::seated(mode, port, match_id, self.now));
        self.modes[mode.0].launching_seated += 1;
        self.launching += 1;
        let deadline = self.after(self.mode(mode).ready_timeout);
        self.deadlines.set(Owner::Game(game), Some(deadline));
        let seated = Some(SeatedMatch { match_id, seats: self.seats_of(match_id) });
        self.act(Action::Launch { game, mode, port, seated });
        self.tell_game_starting(match_id);
    }

    /// A seated game counts as launching until it has started, or is on its way to its end: a program that knows
    /// nothing of Muster gives no sign of having loaded before that.
    pub(crate) fn uncount_seated(&mut self, mode: ModeId) {
        self.modes[mode.0].launching_seated -= 1;
        self.launching -= 1;
    }

    /// A game that has its players already says `ready`: from here on it has as long as any other to start. One that
    /// has nothing to say but `started` has to say that while it is to be ready.
    pub(crate) fn handle_seated_ready(&mut self, id: GameId) {
        let Some(game) = self.games.get_mut(&id).filter(|game| !game.said_ready) else { return };
        game.said_ready = true;
        let mode = game.mode;
        let deadline = self.after(self.mode(mode).start_timeout);
        self.deadlines.set(Owner::Game(id), Some(deadline));
    }

    /// The players of a match, as their game is told of them.
    pub(crate) fn seats_of(&self, match_id: MatchId) -> Vec<Seat> {
        let players = self.matches[&match_id].players.iter().enumerate();
        players.map(|(slot, id)| self.seat_of(slot, *id)).collect()
    }

    pub(crate) fn seat_of(&self, slot: usize, id: PlayerId) -> Seat {
        let player = &self.players[&id];
        Seat { slot, name: player.name.clone(), token: player.token }
    }
}
