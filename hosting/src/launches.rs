//! How matches are placed: in a warm game, or in one that is launched with their players.
//!
//! A program without a control channel learns its players from its environment, so they have to be known when it is
//! launched. To any other program it saves two round trips. A game that is launched for a match is therefore bound to that
//! match at once, and no `start` follows. If it fails before it reports `started`, the match has to be placed again.

use protocol::placement::{GameSource, ToMatchmaker};
use protocol::{GameId, MatchId, ModeId, Seat};

use crate::games::{Game, GamePhase};
use crate::hosting::{Hosting, Owner, Phase};
use crate::io::{GameAction, SeatedMatch};

impl Hosting {
    /// Places a match. One that is placed already stays where it is.
    pub(crate) fn place(&mut self, match_id: MatchId, mode: ModeId, seats: Vec<Seat>) {
        if self.games.of_match(match_id).is_some() {
            return;
        }
        if self.phase != Phase::Serving {
            return self.send(ToMatchmaker::Failed { match_id });
        }
        if let Some(&game) = self.games.of_mode(mode).warm.first() {
            return self.start_warm(game, match_id, mode, seats);
        }
        match self.lease_port() {
            Some((game, port)) => self.launch_seated(game, port, match_id, mode, seats),
            None => self.send(ToMatchmaker::Failed { match_id }),
        }
    }

    /// Sends a warm game its players.
    fn start_warm(&mut self, game: GameId, match_id: MatchId, mode: ModeId, seats: Vec<Seat>) {
        let deadline = self.after(self.mode(mode).start_timeout);
        if let Some(game) = self.games.get_mut(game) {
            game.players = seats.len();
        }
        self.enter(game, GamePhase::Starting(match_id), Some(deadline));
        self.act(GameAction::Start { game, mode, match_id, seats });
        self.note_match_step();
        self.send(ToMatchmaker::Placed { match_id, source: GameSource::Warm });
    }

    /// Launches a game with the players of a match. It counts as launching until it has started: a program without a
    /// control channel gives no earlier sign of having loaded.
    fn launch_seated(
        &mut self,
        game: GameId,
        port: u16,
        match_id: MatchId,
        mode: ModeId,
        seats: Vec<Seat>,
    ) {
        let seated = Game::seated(mode, port, self.now, match_id, seats.len());
        self.games.insert(game, seated);
        self.note_match_step();
        let deadline = self.after(self.mode(mode).ready_timeout);
        self.deadlines.set(Owner::Game(game), Some(deadline));
        let seated = Some(SeatedMatch { match_id, seats });
        self.act(GameAction::Launch { game, mode, port, seated });
        self.send(ToMatchmaker::Placed { match_id, source: GameSource::Launched });
    }

    /// Launches a game that will be warm, if a port is free.
    pub(crate) fn launch_warm(&mut self, mode: ModeId) -> bool {
        let Some((game, port)) = self.lease_port() else { return false };
        self.games.insert(game, Game::unseated(mode, port, self.now));
        let deadline = self.after(self.mode(mode).ready_timeout);
        self.deadlines.set(Owner::Game(game), Some(deadline));
        self.act(GameAction::Launch { game, mode, port, seated: None });
        true
    }

    /// Draws the id of a new game and leases a port for it. Without a free port no id is drawn: waiting for a port leaves
    /// no trace.
    fn lease_port(&mut self) -> Option<(GameId, u16)> {
        if self.ports.free_count() == 0 {
            return None;
        }
        let game = self.games.next_id();
        let port = self.ports.lease(game)?;
        Some((game, port))
    }

    /// A match that has not started is not played. Its game was sent players who do not all come: it is killed.
    pub(crate) fn withdraw(&mut self, match_id: MatchId) {
        let Some(game) = self.games.of_match(match_id) else { return };
        if matches!(self.games.game(game).phase(), GamePhase::Starting(_)) {
            self.kill_withdrawn(game);
        }
    }

    /// Players join a running match.
    pub(crate) fn fill(&mut self, match_id: MatchId, seats: Vec<Seat>) {
        let Some(game) = self.running(match_id) else { return };
        if let Some(running) = self.games.get_mut(game) {
            for seat in &seats {
                running.joined.remove(&seat.slot);
            }
        }
        self.act(GameAction::Fill { game, seats });
    }

    /// A player rejoins a running match.
    pub(crate) fn rejoin(&mut self, match_id: MatchId, seat: Seat) {
        if let Some(game) = self.running(match_id) {
            self.act(GameAction::Rejoin { game, seat });
        }
    }

    fn running(&self, match_id: MatchId) -> Option<GameId> {
        let game = self.games.of_match(match_id)?;
        matches!(self.games.game(game).phase(), GamePhase::Running { .. }).then_some(game)
    }

    /// Whether a game may be launched for a mode: not in a pause, and while its games keep failing, one at a time, so that
    /// they do not take the ports and turns of other modes.
    pub(crate) fn may_launch(&self, mode: ModeId) -> bool {
        let backoff = &self.modes[mode.0].backoff;
        let counts = self.games.of_mode(mode);
        let is_trying = backoff.is_failing() && counts.launching + counts.launching_seated > 0;
        !backoff.is_pausing() && !is_trying
    }
}
