//! What the brain says, done.

use launcher::{Contract, InitialPlayers};
use matchmaker::{
    Action, ConnectionId, Event, GameId, Input, LaunchFault, MatchId, ModeId, SeatedMatch,
};
use nix::sys::signal::Signal;
use protocol::netcode::Netcode;
use protocol::{Assignment, ErrorCode, Notice, Seat, Secret, ToGame, text};

use super::Server;
use crate::config::{Mode, Program, Transport};
use crate::games::keys::DoorError;
use crate::games::launcher::Ordered;

impl Server {
    /// Does one thing. What fails comes back to the brain as an input.
    pub(super) fn perform(&mut self, action: Action) {
        self.count(&action);
        self.record(&action);
        #[cfg(feature = "stub-games")]
        if self.perform_as_stub(&action) {
            return;
        }
        match action {
            Action::Send { to, notice } => self.send(to, notice),
            Action::Fill { game, seats } => {
                self.forget_tokens(game, seats.iter().map(|seat| seat.slot));
                self.tell_game(game, &ToGame::Fill { players: seats });
            }
            Action::Rejoin { game, seat } => {
                self.forget_tokens(game, [seat.slot]);
                self.tell_game(game, &ToGame::Rejoin { player: seat });
            }
            Action::Launch { game, mode, port, seated } => self.launch(game, mode, port, seated),
            Action::Start { game, mode, match_id, seats } => {
                if let Some(game) = self.games.get_mut(game) {
                    game.match_id = Some(match_id);
                }
                let start = self.start_of(game, mode, match_id, seats);
                self.tell_game(game, &start);
            }
            Action::Stop { game, grace } => {
                self.tell_game(game, &ToGame::Stop { grace_ms: millis(grace) });
            }
            Action::Terminate { game } => self.terminate_game(game),
            Action::Kill { game } => {
                self.signal_game(game, Signal::SIGKILL);
                self.launcher.purge(game);
            }
            Action::Report(event) => {
                if let Event::GameEnded { game, .. } = &event {
                    self.doors.close(*game);
                }
                self.note_failure(&event);
                self.report(&event);
            }
            Action::Drained => self.is_done = true,
        }
    }

    /// Sends a message to a player.
    fn send(&mut self, to: ConnectionId, notice: Notice) {
        match &notice {
            Notice::Refused(refusal) => {
                let retry_ms = refusal.retry_after().map(millis);
                return self.refuse_until(to, refusal.code(), refusal.text(), retry_ms);
            }
            Notice::Assigned(assignment) => return self.assign(to, assignment),
            // From here on the player is in no queue, and has as long to send a request as any such player.
            Notice::Expired { .. } | Notice::Evicted { .. } | Notice::Party { size: 1, .. } => {
                self.begin_idle(to);
            }
            _ => {}
        }
        let Some(reply) = text::line(&notice, |mode| &self.mode(mode).name) else { return };
        match notice.closes() {
            true => self.close_with(to, &reply),
            false => self.say(to, &reply),
        }
    }

    /// Orders a game. One that is launched for a match finds its players at birth: on its control channel, where it
    /// has one.
    fn launch(&mut self, game: GameId, mode: ModeId, port: u16, seated: Option<SeatedMatch>) {
        let program = self.config.program_of(mode);
        let contract = program.run.contract;
        if program.transport == Transport::Netcode {
            if !self.doors.build(game, port) {
                let host = &self.config.ports.public_host;
                let why = format!("the address of ports.public_host {host} is not known yet");
                let fault = LaunchFault::Other(why);
                self.count_launch_failed(game, &fault);
                self.reports.forget(game);
                return self.inputs.push_back(Input::LaunchFailed { game, fault });
            }
            self.note_door(game);
        }
        let match_id = seated.as_ref().map(|seated| seated.match_id);
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
        let program = self.mode(mode).program;
        let bind = self.config.ports.bind_addresses();
        self.launcher.launch(game, Ordered { mode, program, port, match_id }, bind, players);
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

    /// Tells a player where to play, and closes the connection.
    fn assign(&mut self, to: ConnectionId, assignment: &Assignment) {
        let Assignment { mode, match_id, game, slot, token, .. } = assignment;
        match self.token_of(*mode, *game, *match_id, *slot, token) {
            Ok(token) => {
                let transport = self.program(*game, *mode).transport.word();
                let host = &self.config.ports.public_host;
                let reply = text::assignment(assignment, host, transport, token);
                self.close_with(to, &reply);
            }
            Err(error) => {
                log::error!("client {to} is not told where to play: {error}");
                self.refuse(to, ErrorCode::TooMany, "no token can be made now");
            }
        }
    }

    /// What lets a player into its game, as the game's transport has it.
    fn token_of(
        &mut self,
        mode: ModeId,
        game: GameId,
        match_id: MatchId,
        slot: usize,
        seat: &Secret,
    ) -> Result<String, DoorError> {
        let hello_timeout = self.mode(mode).hello_timeout;
        match self.program(game, mode).transport {
            Transport::Plain => Ok(seat.to_string()),
            Transport::Netcode => {
                let token = self.doors.token(game, match_id, slot, seat, hello_timeout);
                self.note_door(game);
                token
            }
        }
    }

    /// Players are let in with other secrets from now on.
    fn forget_tokens(&mut self, game: GameId, slots: impl IntoIterator<Item = usize>) {
        slots.into_iter().for_each(|slot| self.doors.forget_token(game, slot));
        self.note_door(game);
    }

    /// What a game is told of its transport. Without a key it could let nobody in, and its match gets another game.
    fn netcode_of(&mut self, mode: ModeId, game: GameId) -> Option<Netcode> {
        let hello_timeout = self.mode(mode).hello_timeout;
        if self.program(game, mode).transport != Transport::Netcode {
            return None;
        }
        let opened = self.doors.open(game, hello_timeout);
        self.note_door(game);
        let broken = |error| format!("cannot be given a key: {error}");
        opened
            .map_err(|error| {
                self.inputs.push_back(Input::GameBroken { game, what: broken(error) });
            })
            .ok()
    }

    fn tell_game(&mut self, id: GameId, message: &ToGame) {
        let Some(game) = self.games.get_mut(id) else { return };
        if game.control.tell(message, self.poll.registry(), id) {
            return;
        }
        match message {
            // SIGTERM follows.
            ToGame::Stop { .. } => {}
            // A game that closed its channel plays on, and one that reads nothing may. Who comes stays outside, and no one
            // else is to suffer for it; nor is anybody else sent there.
            ToGame::Rejoin { .. } | ToGame::Fill { .. } => {
                log::warn!("game {id} cannot be told who comes: it hung up, or does not read");
                self.inputs.push_back(Input::GameBackfill { game: id, slots: Vec::new() });
            }
            ToGame::Start { .. } | ToGame::Unknown => {
                let what = "its control channel is closed, or it does not read it".to_owned();
                self.inputs.push_back(Input::GameBroken { game: id, what });
            }
        }
    }

    /// Who is out has as long to say something as anybody who is in no queue.
    fn begin_idle(&mut self, connection: ConnectionId) {
        if let Some(client) = self.clients.get_mut(connection) {
            client.begin_idle(self.now);
        }
    }

    /// Asks all processes of a game to end.
    fn terminate_game(&mut self, id: GameId) {
        let has_group_heard = self.games.terminate(id);
        self.launcher.terminate(id, has_group_heard);
    }

    pub(super) fn signal_game(&mut self, id: GameId, signal: Signal) {
        if !self.games.signal(id, signal) {
            self.clean_up(id);
        }
    }

    pub(super) fn mode(&self, mode: ModeId) -> &Mode {
        &self.config.modes[mode.0]
    }

    /// What a game was launched as; one that has no process, what its mode launches.
    pub(super) fn program(&self, game: GameId, mode: ModeId) -> &Program {
        let launched = self.games.get(game).and_then(|it| self.config.programs.get(it.program));
        launched.unwrap_or_else(|| self.config.program_of(mode))
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
