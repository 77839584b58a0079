//! The effects of an input on the model, before the brain answers.

use std::time::Duration;

use brain::limits;
use brain::{
    Config, ConnectionId, Exit, GameId, GameInput, Input, LaunchFault, ModeId, PlayerId,
    PlayerInput,
};

use crate::model::{GamePhase, MatchPhase, Model, PlayerModel, Process};
use crate::step_context::StepContext;

impl Model {
    /// Follows an input; `None` is the passing of time.
    pub(crate) fn begin(&mut self, now: Duration, input: Option<&Input>) {
        self.now = now;
        self.resting.retain(|_, until| *until > now);
        self.context = StepContext {
            input: input.cloned(),
            // Each player gets a few notices, for each game and port there are a few actions.
            actions_max: 12 + 5 * self.players.len() + 5 * (self.games.len() + self.port_count()),
            ..StepContext::default()
        };
        match input {
            None => {
                for mode in &mut self.modes {
                    mode.retry_at = mode.retry_at.filter(|at| *at > now);
                }
                self.note_rounds_of_the_absent();
            }
            Some(Input::Player(PlayerInput::Lost { connection })) => self.note_lost(*connection),
            Some(Input::Player(PlayerInput::Answer { connection, accepts: true })) => {
                self.note_accepted(*connection);
            }
            Some(Input::Drain | Input::Stop) => self.begin_drain(),
            Some(Input::Undrain) => self.end_drain(),
            Some(Input::Reconfigure(config)) => self.note_reconfigured(config),
            Some(Input::Game(GameInput::End { game, .. })) => self.note_end_game(*game),
            Some(Input::Player(PlayerInput::Quit { connection })) => self.note_quit(*connection),
            Some(input) => self.note_game(input),
        }
        self.expect_replacement();
        self.note_parties(input);
    }

    fn note_game(&mut self, input: &Input) {
        match input {
            Input::Game(GameInput::Launched { game }) => {
                if let Some(process) = self.games.get_mut(game) {
                    process.is_alive = true;
                }
            }
            Input::Game(GameInput::LaunchFailed { game, fault }) => {
                self.note_launch_failed(*game, fault);
            }
            Input::Game(GameInput::Ready { game }) => self.note_ready(*game),
            Input::Game(GameInput::Started { game }) => {
                self.expect_move(*game, GamePhase::Starting);
            }
            Input::Game(GameInput::Joined { game, slot }) => self.note_joined(*game, *slot),
            Input::Game(GameInput::Left { game, slot }) => {
                if let Some(process) = self.games.get_mut(game) {
                    process.present.remove(slot);
                }
            }
            Input::Game(GameInput::Backfill { game, slots }) => self.note_open(*game, slots),
            Input::Game(GameInput::Alive { game }) => self.note_alive(*game),
            Input::Game(GameInput::Result { game, .. }) => self.note_result(*game),
            Input::Game(GameInput::Broken { game, .. }) => {
                self.context.moves_on = self.games.get(game).map(|it| (*game, it.phase));
            }
            Input::Game(GameInput::Exited { game, exit }) => self.note_exited(*game, *exit),
            // Requests follow from the notices, and no port of a running game is ever taken.
            _ => {}
        }
    }

    // ---- Players ----

    /// Follows who is in a party and who is not.
    fn note_parties(&mut self, input: Option<&Input>) {
        match input {
            Some(
                Input::Player(PlayerInput::CreateParty { connection, skill, .. })
                | Input::Player(PlayerInput::JoinParty { connection, skill, .. }),
            ) if !self.parties.values().any(|party| party.contains(connection)) => {
                self.skills.insert(*connection, *skill);
            }
            Some(
                Input::Player(PlayerInput::Quit { connection })
                | Input::Player(PlayerInput::Lost { connection }),
            ) => {
                self.leave_party(*connection);
            }
            // A queued player has to leave the queue first.
            Some(Input::Player(PlayerInput::LeaveParty { connection }))
                if self.player_on(*connection).is_none() =>
            {
                self.leave_party(*connection);
            }
            _ => {}
        }
    }

    fn leave_party(&mut self, connection: ConnectionId) {
        for members in self.parties.values_mut() {
            members.remove(&connection);
        }
        self.parties.retain(|_, members| !members.is_empty());
    }

    fn note_quit(&mut self, connection: ConnectionId) {
        if let Some(id) = self.player_on(connection) {
            self.take_out(id);
            self.totals.left += 1;
        }
    }

    fn note_lost(&mut self, connection: ConnectionId) {
        let Some(id) = self.player_on(connection) else { return };
        if self.config.resume_window.is_zero() || !self.is_serving() {
            // The player expires at once, as the brain has to report.
            return;
        }
        let now = self.now;
        self.leave_match(id);
        if let Some(player) = self.players.get_mut(&id) {
            player.connection = None;
            player.away_since = Some(now);
            player.notified = None;
            player.asked = None;
        }
        self.tally.count("players away");
    }

    fn note_accepted(&mut self, connection: ConnectionId) {
        let offer = |id| self.offer_to(id).map(|match_id| (id, match_id));
        let Some((id, match_id)) = self.player_on(connection).and_then(offer) else { return };
        let Some(found) = self.matches.get_mut(&match_id) else { return };
        found.accepted.insert(id);
        if found.accepted.len() == found.players.len() {
            found.phase = MatchPhase::Waiting;
            self.tally.count("matches accepted by all");
        }
    }

    /// The connection that a session is about to be resumed from is known before anything else happens.
    fn expect_replacement(&mut self) {
        if let Some(Input::Player(PlayerInput::Resume { connection, key: Some(key), .. })) =
            self.context.input.clone()
            && self.player_on(connection).is_none()
            && let Some(id) = self.waiting_with(&key)
        {
            self.context.replaced = self.players[&id].connection;
        }
    }

    /// Where no player of a ticket is connected, no notice says that a round is over.
    fn note_rounds_of_the_absent(&mut self) {
        let is_absent = |player: &PlayerModel| {
            player.match_id.is_none()
                && self.ticket_of(player).all(|(_, mate)| mate.connection.is_none())
        };
        let absent = self.players.iter().filter(|(_, player)| is_absent(player));
        let absent: Vec<PlayerId> = absent.map(|(id, _)| *id).collect();
        for id in absent {
            let mode = self.mode(self.players[&id].mode);
            let (max_wait, rounds, now) = (mode.max_wait, mode.rounds, self.now);
            let (Some(wait), Some(player)) = (max_wait, self.players.get_mut(&id)) else {
                continue;
            };
            if player.round < rounds && player.round_since + wait <= now {
                player.round += 1;
                player.round_since = now;
            }
        }
    }

    // ---- Operators ----

    fn begin_drain(&mut self) {
        if self.draining_since.is_some() {
            return;
        }
        self.draining_since = Some(self.now);
        self.tally.count("drains begun");
        // Players who are away cannot be notified, and are not kept.
        let before = self.players.len();
        self.players.retain(|_, player| player.connection.is_some());
        self.totals.refused += (before - self.players.len()) as u64;
        // A process that does not exist yet is killed as soon as it does. A game with players continues.
        let is_idle = |process: &&mut Process| !process.is_alive && process.match_id.is_none();
        for process in self.games.values_mut().filter(is_idle) {
            process.phase = GamePhase::Ending;
        }
    }

    fn end_drain(&mut self) {
        if !self.is_drained && self.draining_since.take().is_some() {
            self.tally.count("drains taken back");
        }
    }

    fn note_reconfigured(&mut self, config: &Config) {
        let changes = |mode: ModeId| {
            let (before, now) = (&self.config.modes[mode.0], &config.modes[mode.0]);
            now.is_closed || now.program != before.program
        };
        let is_idle = |it: &&mut Process| it.phase == GamePhase::Launching && changes(it.mode);
        let mut unborn = 0;
        for process in self.games.values_mut().filter(is_idle).filter(|it| !it.is_alive) {
            process.phase = GamePhase::Ending;
            unborn += 1;
        }
        if unborn > 0 {
            self.tally.count("launches out of date");
        }
        self.tally.count("configurations changed");
        let is_resized = |player: &PlayerModel| {
            let sizes = [&self.config, config].map(|it| it.modes[player.mode.0].players);
            sizes[0] != sizes[1]
        };
        let is_notified = |(_, player): &(&PlayerId, &PlayerModel)| {
            let phase = self.match_phase(player);
            let waits =
                matches!(phase, None | Some(MatchPhase::Offered { .. } | MatchPhase::Waiting));
            waits && player.connection.is_some() && is_resized(player)
        };
        self.context.resized = self.players.iter().filter(is_notified).map(|(id, _)| *id).collect();
        if !self.context.resized.is_empty() {
            self.tally.count("queues of another size");
        }
        self.config = config.clone();
        for mode in &mut self.modes {
            (mode.short_since, mode.surplus_since) = (None, None);
        }
    }

    /// A process that does not exist yet cannot be asked to stop; it is killed as soon as it does.
    fn note_end_game(&mut self, game: GameId) {
        let Some(process) = self.games.get_mut(&game) else { return };
        self.tally.count("games ended by operators");
        if process.is_alive {
            self.context.moves_on = Some((game, process.phase));
            return;
        }
        process.phase = GamePhase::Ending;
        if let Some(match_id) = process.match_id.take() {
            self.take_back(match_id);
        }
    }

    // ---- Games ----

    fn note_launch_failed(&mut self, game: GameId, fault: &LaunchFault) {
        if self.games.get(&game).is_none_or(|process| process.is_alive) {
            return;
        }
        let Some(process) = self.games.remove(&game) else { return };
        if *fault == LaunchFault::PortBusy {
            let rest = self.config.quarantine.max(limits::BUSY_PORT_REST_MIN);
            self.resting.insert(process.port, self.now + rest);
            self.tally.count("ports found busy");
        }
        if *fault == LaunchFault::Interrupted {
            self.tally.count("launches interrupted");
        }
        if let Some(match_id) = process.match_id {
            self.take_back(match_id);
            self.tally.count("seated games not launched");
        }
        self.context.ended = Some((game, process));
    }

    fn note_ready(&mut self, game: GameId) {
        self.expect_move(game, GamePhase::Launching);
        let now = self.now;
        let is_new = |process: &&mut Process| process.is_alive && process.ready_at.is_none();
        if let Some(process) = self.games.get_mut(&game).filter(is_new) {
            process.ready_at = Some(now);
        }
    }

    fn expect_move(&mut self, game: GameId, from: GamePhase) {
        let moves = |process: &&Process| process.is_alive && process.phase == from;
        self.context.moves_on = self.games.get(&game).filter(moves).map(|_| (game, from));
    }

    fn note_joined(&mut self, game: GameId, slot: usize) {
        let size = self.players_of(game);
        let Some(process) = self.games.get_mut(&game) else { return };
        if process.assigned_at.is_none() || slot >= size {
            return;
        }
        process.present.insert(slot);
        process.arrived.insert(slot);
        process.open.remove(&slot);
        if !process.joined.contains(&slot) {
            process.joined.push(slot);
            process.joined.sort_unstable();
        }
    }

    fn note_open(&mut self, game: GameId, slots: &[usize]) {
        let is_running = |it: &&Process| it.phase == GamePhase::Running;
        let Some(process) = self.games.get(&game).filter(is_running) else { return };
        let size = self.players_of(game);
        let is_open = |slot: &usize| {
            *slot < size && !process.present.contains(slot) && !self.is_awaited(process, *slot)
        };
        let open = slots.iter().copied().filter(is_open).collect();
        if let Some(process) = self.games.get_mut(&game) {
            process.open = open;
        }
    }

    fn note_alive(&mut self, game: GameId) {
        let now = self.now;
        let is_running = |it: &&mut Process| it.phase == GamePhase::Running;
        if let Some(process) = self.games.get_mut(&game).filter(is_running) {
            process.since = now;
        }
    }

    fn note_result(&mut self, game: GameId) {
        let is_new = |process: &&mut Process| process.assigned_at.is_some() && !process.has_result;
        if let Some(process) = self.games.get_mut(&game).filter(is_new) {
            process.has_result = true;
            self.context.result_due = process.match_id;
        }
    }

    fn note_exited(&mut self, game: GameId, exit: Exit) {
        if !self.games.get(&game).is_some_and(|process| process.is_alive) {
            return;
        }
        let Some(process) = self.games.remove(&game) else { return };
        self.context.return_due = Some(process.port);
        let played = process.match_id.filter(|_| process.assigned_at.is_some());
        self.context.game_end_due = Some((game, played, exit, process.joined.clone()));
        if process.assigned_at.is_some() {
            self.context.end_due = process.match_id.map(|match_id| (match_id, exit));
            if !self.config.quarantine.is_zero() {
                self.resting.insert(process.port, self.now + self.config.quarantine);
            }
        } else if let Some(match_id) = process.match_id {
            self.take_back(match_id);
        }
        self.context.ended = Some((game, process));
    }
}
