//! Games: their phases, and what the brain does with what they say and do.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deadlines::Owner;
use crate::io::{Action, Event, Exit, GameFault, LaunchFault, MatchEnd, StopReason};
use crate::limits;
use crate::matches::MatchPhase;
use crate::matchmaker::Matchmaker;
use crate::players::PlayerPhase;
use crate::ports::Return;
use protocol::{Assignment, ConnectionId, GameId, MatchId, ModeId, Notice, PlayerId};

/// One process on one port.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Game {
    pub(crate) mode: ModeId,
    pub(crate) port: u16,
    /// When its launch was ordered.
    pub(crate) ordered_at: Duration,
    /// Whether it was launched with the players of a match. Any other game is launched to be warm.
    is_seated: bool,
    /// Whether the body said that the process exists.
    has_process: bool,
    /// Whether it said `ready` although it had its players already.
    pub(crate) said_ready: bool,
    /// Whether players were told of the port: only then can their datagrams come late.
    was_told: bool,
    /// The slots of the players who came in; no more than there are players in the match.
    joined: BTreeSet<usize>,
    /// Those whose present player came in since it was last told where to play.
    arrived: BTreeSet<usize>,
    /// Those whose player is in the game now.
    present: BTreeSet<usize>,
    /// Whether something else holds its port now that it is gone.
    is_port_taken: bool,
    /// How long its port is to rest, on which it failed.
    port_rest: Duration,
    phase: GamePhase,
}

/// Where a game stands. One that is gone has no phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum GamePhase {
    /// Asked for; has not said `ready`.
    Launching,
    /// Waits for players.
    Warm,
    /// Got its players, at birth or by `start`; has not said `started`.
    Starting(MatchId),
    /// Its players were told.
    Running {
        match_id: MatchId,
        /// When it is stopped.
        until: Duration,
    },
    /// On its way to its end.
    Stopping {
        /// The match that is still played there.
        match_id: Option<MatchId>,
        next: StopStep,
    },
}

/// What comes next on a game's way to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StopStep {
    /// SIGTERM, when half the grace is over; only for a game that hears `stop`.
    Terminate { kill_at: Duration },
    /// SIGKILL, when the grace is over. SIGTERM was sent.
    Kill,
    /// Nothing: it was killed and the kernel will say when it is gone.
    AwaitExit,
}

impl Game {
    /// A game that is launched to be warm.
    pub(crate) fn new(mode: ModeId, port: u16, now: Duration) -> Self {
        Self {
            mode,
            port,
            ordered_at: now,
            is_seated: false,
            has_process: false,
            said_ready: false,
            was_told: false,
            joined: BTreeSet::new(),
            arrived: BTreeSet::new(),
            present: BTreeSet::new(),
            is_port_taken: false,
            port_rest: Duration::ZERO,
            phase: GamePhase::Launching,
        }
    }

    /// A game that is launched with the players of a match.
    pub(crate) fn seated(mode: ModeId, port: u16, match_id: MatchId, now: Duration) -> Self {
        let phase = GamePhase::Starting(match_id);
        Self { phase, is_seated: true, ..Self::new(mode, port, now) }
    }

    /// Whether the game was ordered to be warm and has no process yet.
    pub(crate) fn is_ordered_refill(&self) -> bool {
        !self.is_seated && !self.has_process
    }

    pub(crate) fn phase(&self) -> GamePhase {
        self.phase
    }

    pub(crate) fn has_process(&self) -> bool {
        self.has_process
    }

    /// Whether the game got its players at birth and has not said `started`.
    pub(crate) fn is_launching_seated(&self) -> bool {
        self.is_seated && matches!(self.phase, GamePhase::Starting(_))
    }

    /// Whether a player came in since it was last told where to play, and perhaps went again.
    pub(crate) fn has_arrived(&self, slot: usize) -> bool {
        self.arrived.contains(&slot)
    }

    /// Whether a player is in the game.
    pub(crate) fn is_present(&self, slot: usize) -> bool {
        self.present.contains(&slot)
    }

    /// A player is to come into a slot once more.
    pub(crate) fn await_anew(&mut self, slot: usize) {
        self.arrived.remove(&slot);
        self.present.remove(&slot);
    }

    /// Another player is to come into a slot, of whom nothing can be told yet.
    pub(crate) fn await_another(&mut self, slot: usize) {
        self.await_anew(slot);
        self.joined.remove(&slot);
    }

    pub(crate) fn match_id(&self) -> Option<MatchId> {
        match self.phase {
            GamePhase::Launching | GamePhase::Warm => None,
            GamePhase::Starting(match_id) | GamePhase::Running { match_id, .. } => Some(match_id),
            GamePhase::Stopping { match_id, .. } => match_id,
        }
    }

    /// The one place where a game changes its phase.
    fn enter(&mut self, next: GamePhase) {
        use GamePhase::{Launching, Running, Starting, Stopping, Warm};
        let legal = match (self.phase, next) {
            (Launching, Warm) | (Warm, Starting(_)) => true,
            (Starting(from), Running { match_id: to, .. }) => from == to,
            (Launching | Warm | Starting(_), Stopping { match_id, .. }) => match_id.is_none(),
            (Running { match_id: from, .. }, Stopping { match_id: to, .. }) => Some(from) == to,
            (Stopping { match_id: from, .. }, Stopping { match_id: to, .. }) => from == to,
            (_, Launching)
            | (Launching, Starting(_) | Running { .. })
            | (Warm, Warm | Running { .. })
            | (Starting(_), Warm | Starting(_))
            | (Running { .. } | Stopping { .. }, Warm | Starting(_) | Running { .. }) => false,
        };
        assert!(legal, "a game cannot go from {:?} to {next:?}", self.phase);
        self.phase = next;
    }
}

impl Matchmaker {
    /// Changes a game's phase, and all that is counted by phase with it.
    pub(crate) fn move_game(&mut self, id: GameId, next: GamePhase, deadline: Option<Duration>) {
        self.uncount_phase(id);
        let Some(game) = self.games.get_mut(&id) else { unreachable!("{id:?} does not exist") };
        let mode = game.mode;
        game.enter(next);
        match next {
            GamePhase::Warm => drop(self.modes[mode.0].warm.insert(id)),
            GamePhase::Stopping { match_id, .. } => {
                self.stopping += 1;
                self.close_slots(mode, match_id);
            }
            GamePhase::Launching | GamePhase::Starting(_) | GamePhase::Running { .. } => {}
        }
        self.deadlines.set(Owner::Game(id), deadline);
    }

    fn uncount_phase(&mut self, id: GameId) {
        let Some(game) = self.games.get(&id) else { unreachable!("{id:?} does not exist") };
        let (mode, is_seated) = (game.mode, game.is_launching_seated());
        match game.phase {
            GamePhase::Launching => {
                self.modes[mode.0].launching -= 1;
                self.launching -= 1;
            }
            GamePhase::Starting(_) if is_seated => self.uncount_seated(mode),
            GamePhase::Warm => drop(self.modes[mode.0].warm.remove(&id)),
            GamePhase::Stopping { .. } => self.stopping -= 1,
            GamePhase::Starting(_) | GamePhase::Running { .. } => {}
        }
    }

    // ---- What the body says of the process ----

    pub(crate) fn handle_launched(&mut self, id: GameId) {
        let Some(game) = self.games.get_mut(&id).filter(|game| !game.has_process) else { return };
        self.refills_ordered -= usize::from(game.is_ordered_refill());
        game.has_process = true;
        // Told to end before it existed: what could not be done then is done now.
        if matches!(game.phase, GamePhase::Stopping { .. }) {
            self.send_kill(id);
        }
    }

    pub(crate) fn handle_launch_failed(&mut self, id: GameId, fault: LaunchFault) {
        let Some(game) = self.games.get(&id).filter(|game| !game.has_process) else { return };
        let (port, phase) = (game.port, game.phase);
        if let GamePhase::Starting(match_id) = phase {
            self.take_back(match_id);
        }
        let back = match fault {
            LaunchFault::PortBusy => {
                let rest = self.config.quarantine.max(limits::BUSY_PORT_REST_MIN);
                let is_news = self.ports.is_busy_news(port, self.now);
                self.act(Action::Report(Event::PortBusy { port, rest, is_news }));
                Return::Busy(self.after(rest))
            }
            LaunchFault::Interrupted => {
                // Nothing is wrong with the mode, and nothing holds the port.
                Return::Free
            }
            LaunchFault::Other(why) => {
                if !matches!(phase, GamePhase::Stopping { .. }) {
                    self.note_failure(id, GameFault::NotLaunched(why));
                }
                Return::Free
            }
        };
        self.remove_game(id, back);
    }

    pub(crate) fn handle_port_taken(&mut self, id: GameId) {
        if let Some(game) = self.games.get_mut(&id) {
            game.is_port_taken = true;
        }
    }

    pub(crate) fn handle_game_exited(&mut self, id: GameId, exit: Exit) {
        let Some(game) = self.games.get(&id).filter(|game| game.has_process) else { return };
        let (phase, was_told, port) = (game.phase, game.was_told, game.port);
        let match_id = game.match_id().filter(|_| was_told);
        match phase {
            GamePhase::Launching | GamePhase::Warm => self.note_failure(id, GameFault::Ended(exit)),
            GamePhase::Starting(match_id) => {
                self.note_failure(id, GameFault::Ended(exit));
                self.take_back(match_id);
            }
            GamePhase::Running { match_id, .. } => {
                let has_result = self.matches[&match_id].has_result;
                let lasted = self.end_match(match_id, MatchEnd::Finished(exit));
                self.note_match_end(id, exit, lasted, has_result);
            }
            GamePhase::Stopping { match_id: Some(match_id), .. } => {
                let lasted = self.end_match(match_id, MatchEnd::Stopped(exit));
                self.note_match_end(id, Exit::Unknown, lasted, false);
            }
            GamePhase::Stopping { match_id: None, .. } => {}
        }
        self.report_ended(id, match_id, exit);
        let rest = if was_told { self.config.quarantine } else { Duration::ZERO };
        let rest = rest.max(self.games[&id].port_rest);
        self.act(Action::Report(Event::PortReturned { port, rest }));
        let back = if rest.is_zero() { Return::Free } else { Return::Resting(self.after(rest)) };
        self.remove_game(id, back);
    }

    fn report_ended(&mut self, id: GameId, match_id: Option<MatchId>, exit: Exit) {
        let game = &self.games[&id];
        let lived = self.now.saturating_sub(game.ordered_at);
        let (mode, joined) = (game.mode, game.joined.iter().copied().collect());
        let ended = Event::GameEnded { game: id, mode, match_id, exit, lived, joined };
        self.act(Action::Report(ended));
    }

    /// Forgets a game that is gone, and takes its port back.
    pub(crate) fn remove_game(&mut self, id: GameId, back: Return) {
        self.uncount_phase(id);
        let Some(game) = self.games.remove(&id) else { unreachable!("{id:?} does not exist") };
        self.refills_ordered -= usize::from(game.is_ordered_refill());
        self.modes[game.mode.0].games -= 1;
        self.deadlines.set(Owner::Game(id), None);
        self.ports.release(game.port, id, back);
    }

    /// Whether a game has still to say that it can be played with, to be warm or for its players.
    pub fn awaits_start(&self, id: GameId) -> bool {
        let phase = self.games.get(&id).map(Game::phase);
        matches!(phase, Some(GamePhase::Launching | GamePhase::Starting(_)))
    }

    // ---- What the game says ----

    pub(crate) fn handle_game_ready(&mut self, id: GameId) {
        let Some(game) = self.games.get(&id).filter(|game| game.has_process) else { return };
        if game.is_launching_seated() {
            return self.handle_seated_ready(id);
        }
        if game.phase != GamePhase::Launching {
            return;
        }
        let mode = game.mode;
        self.note_launch_time(id);
        self.move_game(id, GamePhase::Warm, None);
        self.act(Action::Report(Event::GameWarm { game: id, mode }));
    }

    pub(crate) fn handle_game_started(&mut self, id: GameId) {
        let Some(game) = self.games.get_mut(&id).filter(|game| game.has_process) else { return };
        let GamePhase::Starting(match_id) = game.phase else { return };
        game.was_told = true;
        let (mode, port) = (game.mode, game.port);
        self.ports.clear(port);
        let until = self.after(self.mode(mode).max_duration);
        let next = GamePhase::Running { match_id, until };
        self.move_game(id, next, Some(self.running_deadline(mode, until)));
        self.modes[mode.0].note_start(self.now);
        self.assign(match_id, id);
    }

    /// Tells the players of a match where to play.
    fn assign(&mut self, match_id: MatchId, game: GameId) {
        let (now, port) = (self.now, self.games[&game].port);
        let assigned = self.match_mut(match_id);
        assigned.enter(MatchPhase::Assigned { game, since: now });
        let (mode, players) = (assigned.mode, assigned.players.clone());
        let waited = now.saturating_sub(assigned.formed_at);
        self.note_match_step();
        self.act(Action::Report(Event::MatchAssigned { match_id, mode, game, port, waited }));
        for (slot, id) in players.into_iter().enumerate() {
            self.let_go(id, match_id, slot);
        }
        self.await_arrivals(match_id);
    }

    /// Tells a player where to play, for whom the game waits from now on. It waits for nothing here any more.
    pub(crate) fn let_go(&mut self, id: PlayerId, match_id: MatchId, slot: usize) {
        let now = self.now;
        let player = self.player_mut(id);
        player.enter(PlayerPhase::Assigned(match_id));
        player.assigned_at = now;
        let (mode, ticket, account) = (player.mode, player.ticket, player.account);
        let (connection, waited) = (player.connection.take(), now.saturating_sub(player.joined_at));
        self.act(Action::Report(Event::PlayerAssigned { player: id, mode, waited }));
        self.charge_seat(id);
        self.charges.remove_waiting(account, id);
        self.companies.remove(&ticket);
        self.modes[mode.0].players_waiting -= 1;
        self.totals.assigned += 1;
        if let Some(connection) = connection {
            self.connections.remove(&connection);
            self.send_assignment(id, match_id, slot, connection);
        }
    }

    /// Tells a player where to play.
    pub(crate) fn send_assignment(
        &mut self,
        player: PlayerId,
        match_id: MatchId,
        slot: usize,
        to: ConnectionId,
    ) {
        let Some(game) = self.game_of(match_id) else {
            unreachable!("{match_id:?} has no game and {player:?} is told of one")
        };
        let (mode, port) = (self.games[&game].mode, self.games[&game].port);
        let (players, token) = (self.matches[&match_id].players.len(), self.players[&player].token);
        let assignment = Assignment { mode, match_id, game, port, slot, players, token };
        self.send(to, Notice::Assigned(assignment));
    }

    pub(crate) fn handle_presence(&mut self, id: GameId, slot: usize, joined: bool) {
        let Some(game) = self.games.get_mut(&id).filter(|game| game.was_told) else { return };
        let Some(match_id) = game.match_id() else { return };
        if slot >= self.matches[&match_id].players.len() {
            return;
        }
        if joined {
            game.joined.insert(slot);
            game.arrived.insert(slot);
            game.present.insert(slot);
            let mode = game.mode;
            self.close_slot(mode, match_id, slot);
            self.note_arrival(self.matches[&match_id].players[slot]);
        } else {
            game.present.remove(&slot);
        }
        self.act(Action::Report(match joined {
            true => Event::PlayerJoined { match_id, slot },
            false => Event::PlayerLeft { match_id, slot },
        }));
    }

    pub(crate) fn handle_game_alive(&mut self, id: GameId) {
        let Some(game) = self.games.get(&id) else { return };
        if let GamePhase::Running { until, .. } = game.phase {
            self.deadlines.set(Owner::Game(id), Some(self.running_deadline(game.mode, until)));
        }
    }

    /// When a running game is looked at next: at its end, or when its heartbeat is missed.
    fn running_deadline(&self, mode: ModeId, until: Duration) -> Duration {
        self.mode(mode).alive_timeout.map_or(until, |silence| until.min(self.after(silence)))
    }

    pub(crate) fn handle_game_result(&mut self, id: GameId, result: String) {
        let Some(game) = self.games.get(&id).filter(|game| game.was_told) else { return };
        let Some(match_id) = game.match_id() else { return };
        let played = self.match_mut(match_id);
        if std::mem::replace(&mut played.has_result, true) {
            return;
        }
        let mode = played.mode;
        self.act(Action::Report(Event::MatchResult { match_id, mode, game: id, result }));
    }

    pub(crate) fn handle_game_broken(&mut self, id: GameId, what: String) {
        let Some(game) = self.games.get(&id) else { return };
        match game.phase {
            GamePhase::Stopping { .. } => {}
            GamePhase::Running { .. } => self.act(Action::Report(Event::GameStopping {
                game: id,
                reason: StopReason::BrokeContract(what),
            })),
            GamePhase::Launching | GamePhase::Warm | GamePhase::Starting(_) => {
                self.note_failure(id, GameFault::Broken(what));
            }
        }
        self.kill(id);
    }

    // ---- What time does ----

    pub(crate) fn handle_game_deadline(&mut self, id: GameId) {
        let Some(game) = self.games.get(&id) else { return };
        match game.phase {
            GamePhase::Launching => {
                self.note_failure(id, GameFault::NotReady);
                self.kill(id);
            }
            GamePhase::Starting(_) => {
                let is_launching = game.is_launching_seated() && !game.said_ready;
                let fault = if is_launching { GameFault::NotReady } else { GameFault::NotStarted };
                self.note_failure(id, fault);
                self.kill(id);
            }
            GamePhase::Running { until, .. } if self.now < until => {
                let silence = self.mode(game.mode).alive_timeout.unwrap_or_default();
                let reason = StopReason::AliveTimeout(silence);
                self.act(Action::Report(Event::GameStopping { game: id, reason }));
                self.kill(id);
            }
            GamePhase::Running { .. } => {
                let longest = self.mode(game.mode).max_duration;
                self.stop(id, StopReason::MaxDuration(longest));
            }
            GamePhase::Stopping { match_id, next: StopStep::Terminate { kill_at } } => {
                let phase = GamePhase::Stopping { match_id, next: StopStep::Kill };
                self.move_game(id, phase, Some(kill_at));
                self.act(Action::Terminate { game: id });
            }
            GamePhase::Stopping { next: StopStep::Kill, .. } => self.kill(id),
            GamePhase::Stopping { next: StopStep::AwaitExit, .. } => {
                let reason = StopReason::OutlivedKill;
                self.act(Action::Report(Event::GameStopping { game: id, reason }));
                self.send_kill(id);
            }
            GamePhase::Warm => unreachable!("{id:?} has no deadline while it is warm"),
        }
    }

    // ---- What the brain does to games ----

    /// Sends a warm game its players.
    pub(crate) fn start_match(&mut self, match_id: MatchId, game: GameId) {
        let starting = self.match_mut(match_id);
        starting.enter(MatchPhase::Starting(game));
        let mode = starting.mode;
        let deadline = self.after(self.mode(mode).start_timeout);
        self.move_game(game, GamePhase::Starting(match_id), Some(deadline));
        let seats = self.seats_of(match_id);
        self.act(Action::Start { game, mode, match_id, seats });
        self.note_match_step();
    }

    /// A match of whose game its players were told has ended. Where one after another dies as soon as its players come,
    /// the mode's games fail, although they started.
    fn note_match_end(&mut self, id: GameId, exit: Exit, lasted: Duration, has_result: bool) {
        let has_died = match exit {
            Exit::Status(status) => status != 0,
            Exit::Signal(_) => true,
            Exit::Unknown => false,
        };
        let is_soon = lasted < limits::MATCH_MIN && has_died && !has_result;
        let mode = self.games[&id].mode;
        if is_soon && self.games[&id].is_port_taken {
            // It could not have its port, and is not to blame.
            self.rest_port_of(id);
        } else if !is_soon {
            self.modes[mode.0].note_good_match();
        } else if self.modes[mode.0].note_early_end() {
            self.note_failure(id, GameFault::EndedSoon { exit, lasted });
        }
    }

    /// Takes note of a game that failed. Where games of its mode start elsewhere, that may be the fault of its port: the port
    /// rests, and if it was suspected already, the mode is not to blame.
    fn note_failure(&mut self, id: GameId, fault: GameFault) {
        let game = &self.games[&id];
        let (mode, port, is_taken) = (game.mode, game.port, game.is_port_taken);
        let had_port =
            matches!(fault, GameFault::Ended(_) | GameFault::NotReady | GameFault::NotStarted);
        let has_better = self.ports.has_better(port);
        let is_suspect = self.ports.is_suspect(port) && has_better;
        let is_failing = self.modes[mode.0].is_failing();
        let is_of_port = had_port && !is_failing && (is_taken || is_suspect);
        let retry_in = match is_of_port {
            true => Duration::ZERO,
            false => self.modes[mode.0].note_failure(self.now),
        };
        if had_port && (is_taken || (has_better && !self.modes[mode.0].is_failing())) {
            self.rest_port_of(id);
        }
        self.act(Action::Report(Event::GameFailed { game: id, mode, fault, retry_in }));
    }

    fn rest_port_of(&mut self, id: GameId) {
        let Some(game) = self.games.get_mut(&id) else { return };
        game.port_rest = self.ports.suspect(game.port);
    }
}
