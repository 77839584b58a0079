//! What the brain says, done.

use std::net::SocketAddr;

use brain::{
    Action, ConnectionId, Event, GameAction, GameId, GameInput, Input, LaunchFault, MatchId,
    ModeId, SeatedMatch,
};
use launcher::{Contract, InitialPlayers};
use protocol::netcode::Netcode;
use protocol::{Assignment, ErrorCode, Notice, Seat, Secret, ToGame, text};

use super::Server;
use crate::config::{Mode, Transport};
use crate::games::keys::{KeyChange, KeyError, TokenHolder, draw_key};
use crate::handoff::journal::Record;
use crate::operators::metrics::FailedLaunch;

impl Server {
    /// Does one thing. What fails comes back to the brain as an input.
    pub(super) fn perform(&mut self, action: Action) {
        self.count(&action);
        let limit = match &action {
            Action::Report(Event::GameEnded { game, exit, .. }) => {
                self.games.limit_hit(*game, *exit, &self.config, &self.brain).map(|(key, _)| key)
            }
            _ => None,
        };
        let modes = &self.config.modes;
        let ended =
            self.games.records_mut().follow(&action, self.now, |mode| modes[mode.0].program);
        #[cfg(feature = "stub-games")]
        {
            let (_, games, mut turn, _) = self.lend();
            if games.perform_as_stub(&action, &mut turn) {
                return;
            }
        }
        match action {
            Action::Send { to, notice } => self.send(to, &notice),
            Action::Game(GameAction::Fill { game, seats }) => {
                self.tell_game(game, &ToGame::Fill { players: seats });
            }
            Action::Game(GameAction::Rejoin { game, seat }) => {
                self.tell_game(game, &ToGame::Rejoin { player: seat });
            }
            Action::Game(GameAction::Launch { game, mode, port, seated }) => {
                self.launch(game, mode, port, seated);
            }
            Action::Game(GameAction::Start { game, mode, match_id, seats }) => {
                let start = self.start_of(game, mode, match_id, seats);
                self.tell_game(game, &start);
            }
            Action::Game(GameAction::Stop { game, grace }) => {
                self.tell_game(game, &ToGame::Stop { grace_ms: millis(grace) });
            }
            Action::Game(GameAction::Terminate { game }) => self.games.terminate(game),
            Action::Game(GameAction::Kill { game }) => self.games.kill(game, &self.brain),
            Action::Report(event) => {
                self.games.note_failure(&event, &self.config, &self.brain);
                self.games.report_end(&event, ended, &self.config, limit);
                self.report(&event);
            }
            Action::Drained => self.is_done = true,
        }
    }

    /// Sends a message to a player.
    fn send(&mut self, to: ConnectionId, notice: &Notice) {
        match notice {
            Notice::Refused(refusal) => {
                let retry_ms = refusal.retry_after().map(millis);
                let (players, _, mut turn, queues) = self.lend();
                let refusal = (refusal.code(), refusal.text(), retry_ms);
                return players.refuse_until(to, refusal, &mut turn, queues);
            }
            Notice::Assigned(assignment) => return self.assign(to, assignment),
            // From here on the player is in no queue, and has as long to send a request as any such player.
            Notice::Expired { .. } | Notice::Evicted { .. } | Notice::Party { size: 1, .. } => {
                self.players.begin_idle(to, self.now);
            }
            _ => {}
        }
        let Some(reply) = text::line(notice, |mode| &self.mode(mode).name) else { return };
        let (players, _, mut turn, queues) = self.lend();
        match notice.closes() {
            true => players.close_with(to, &reply, &mut turn, queues),
            false => players.say(to, &reply, &mut turn),
        }
    }

    /// Orders a game. One that is launched for a match finds its players at birth: on its control channel, where it
    /// has one.
    fn launch(&mut self, game: GameId, mode: ModeId, port: u16, seated: Option<SeatedMatch>) {
        let program = self.config.program_of(mode);
        let contract = program.run.contract;
        if program.transport == Transport::Netcode {
            let addresses = self.config.ports.public_addresses();
            if addresses.is_empty() {
                let host = &self.config.ports.public_host;
                let why = format!("the address of ports.public_host {host} is not known yet");
                let fault = LaunchFault::Other(why);
                let failed = &mut self.counts.mode(mode).launches_failed;
                failed[FailedLaunch::of(&fault) as usize] += 1;
                return self.inputs.push_back(Input::Game(GameInput::LaunchFailed { game, fault }));
            }
            let at_port = |address| SocketAddr::new(address, port);
            let addresses = addresses.into_iter().map(at_port).collect();
            self.change_keys(game, KeyChange::Addresses(addresses));
        }
        let players = match (seated, contract) {
            (None, _) => InitialPlayers::Unknown,
            (Some(SeatedMatch { match_id, seats }), Contract::Muster) => {
                InitialPlayers::Line(self.start_of(game, mode, match_id, seats).to_line())
            }
            (Some(SeatedMatch { match_id, seats }), Contract::Plain { .. }) => {
                // Serializing fails only for maps with keys that are not strings, which no seat holds.
                let players = serde_json::to_string(&seats).unwrap_or_default();
                InitialPlayers::Environment { match_id: match_id.to_string(), players }
            }
        };
        self.games.launch(&self.config, game, players);
    }

    fn start_of(
        &mut self,
        game: GameId,
        mode: ModeId,
        match_id: MatchId,
        seats: Vec<Seat>,
    ) -> ToGame {
        let netcode = self.netcode_of(mode, game);
        let mode = self.mode(mode);
        ToGame::Start {
            match_id: match_id.to_string(),
            players: seats,
            hello_ms: millis(mode.hello_timeout),
            max_ms: millis(mode.max_duration),
            teams: mode.slots_by_team(),
            netcode,
        }
    }

    /// Sends a player where to play, and closes the connection.
    fn assign(&mut self, to: ConnectionId, assignment: &Assignment) {
        let Assignment { mode, match_id, game, slot, token, .. } = assignment;
        match self.token_of(*mode, *game, *match_id, *slot, token) {
            Ok(token) => {
                let transport = self.transport(*game, *mode).word();
                let host = &self.config.ports.public_host;
                let reply = text::assignment(assignment, host, transport, token);
                let (players, _, mut turn, queues) = self.lend();
                players.close_with(to, &reply, &mut turn, queues);
            }
            Err(error) => {
                log::error!("client {to} is not told where to play: {error}");
                let (players, _, mut turn, queues) = self.lend();
                let refusal = (ErrorCode::TooMany, "no token can be made now");
                players.refuse(to, refusal, &mut turn, queues);
            }
        }
    }

    /// What admits a player to their game, as the game's transport has it.
    fn token_of(
        &mut self,
        mode: ModeId,
        game: GameId,
        match_id: MatchId,
        slot: usize,
        secret: &Secret,
    ) -> Result<String, KeyError> {
        if self.transport(game, mode) == Transport::Plain {
            return Ok(secret.to_string());
        }
        let hello_timeout = self.mode(mode).hello_timeout;
        let keys = self.games.keys(game).ok_or(KeyError::NoKey(game))?;
        if let Some(token) = keys.token(slot) {
            return Ok(token.clone());
        }
        let holder = TokenHolder { match_id, slot, secret };
        let token = keys.make_token(game, &holder, hello_timeout)?;
        self.change_keys(game, KeyChange::Token { slot, token: token.clone() });
        Ok(token)
    }

    /// The key that a game is sent. Without one it could admit nobody, and its match gets another game.
    fn netcode_of(&mut self, mode: ModeId, game: GameId) -> Option<Netcode> {
        if self.transport(game, mode) != Transport::Netcode {
            return None;
        }
        match draw_key() {
            Ok(key) => self.change_keys(game, KeyChange::Key(key)),
            Err(error) => {
                let what = format!("cannot be given a key: {error}");
                self.inputs.push_back(Input::Game(GameInput::Broken { game, what }));
            }
        }
        self.games.keys(game)?.for_game(self.mode(mode).hello_timeout)
    }

    /// Changes a game's netcode keys, in the journal first.
    fn change_keys(&mut self, game: GameId, change: KeyChange) {
        self.handoff.note(|| Record::Keys { game, change: change.clone() });
        self.games.change_keys(game, change);
    }

    fn tell_game(&mut self, id: GameId, message: &ToGame) {
        if self.games.send(id, message, self.poll.registry()) {
            return;
        }
        match message {
            // SIGTERM follows.
            ToGame::Stop { .. } => {}
            // A game that closed its channel plays on, and one that reads nothing may. Who comes stays outside, and no one
            // else is to suffer for it; nor is anybody else sent there.
            ToGame::Rejoin { .. } | ToGame::Fill { .. } => {
                log::warn!("game {id} cannot be told who comes: it hung up, or does not read");
                self.inputs
                    .push_back(Input::Game(GameInput::Backfill { game: id, slots: Vec::new() }));
            }
            ToGame::Start { .. } | ToGame::Unknown => {
                let what = "its control channel is closed, or it does not read it".to_owned();
                self.inputs.push_back(Input::Game(GameInput::Broken { game: id, what }));
            }
        }
    }

    pub(super) fn mode(&self, mode: ModeId) -> &Mode {
        &self.config.modes[mode.0]
    }

    fn transport(&self, game: GameId, mode: ModeId) -> Transport {
        self.games.program(&self.config, game, mode).transport
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
