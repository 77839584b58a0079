//! The state machine's front: its four calls, and what players ask of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::{ErrorCode, Secret};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Mode};
use crate::deadlines::{Deadlines, Owner};
use crate::games::Game;
use crate::ids::{ConnectionId, GameId, MatchId, ModeId, PlayerId};
use crate::io::{Action, Event, Input};
use crate::matches::{Match, MatchPhase};
use crate::modes::ModeState;
use crate::players::{Player, PlayerPhase};
use crate::ports::PortRing;
use crate::queue::Ticket;
use crate::sessions::Sessions;

/// The brain. See the [crate's head](crate) for how to drive it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Matchmaker {
    pub(crate) config: Config,
    pub(crate) now: Duration,
    pub(crate) phase: Phase,
    pub(crate) players: BTreeMap<PlayerId, Player>,
    /// Who speaks on a connection; only players who were not assigned yet.
    pub(crate) connections: BTreeMap<ConnectionId, PlayerId>,
    pub(crate) sessions: Sessions,
    /// By [`ModeId`].
    pub(crate) modes: Vec<ModeState>,
    pub(crate) matches: BTreeMap<MatchId, Match>,
    pub(crate) games: BTreeMap<GameId, Game>,
    /// Games launching, in all modes together.
    pub(crate) launching: usize,
    /// Games that were ordered to be warm and whose processes do not exist yet, in all modes together.
    pub(crate) refills_ordered: usize,
    /// Since when a warm game is missing that could be launched, in whatever mode.
    pub(crate) missing_since: Option<Duration>,
    /// When a match last took a step towards its players.
    pub(crate) last_match_step: Option<Duration>,
    /// Games on their way to their end, in all modes together: their ports come back soon.
    pub(crate) stopping: usize,
    pub(crate) ports: PortRing,
    pub(crate) deadlines: Deadlines,
    pub(crate) totals: Totals,
    /// None is left when the brain is saved.
    #[serde(skip)]
    actions: VecDeque<Action>,
    next_player: u64,
    next_match: u64,
    next_game: u64,
    #[cfg(any(test, feature = "simulation"))]
    #[serde(skip)]
    pub(crate) planted: Option<crate::simulation::Defect>,
}

/// What the whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Taking players in.
    Serving,
    /// Letting games end; nobody is taken in.
    Draining,
    /// No game is left.
    Drained,
}

/// What became of all players so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Told QUEUED.
    pub joined: u64,
    /// Told where to play.
    pub assigned: u64,
    /// Left by their own word.
    pub left: u64,
    /// Away for longer than their place is kept.
    pub expired: u64,
    /// Out because of what they did, or did not do.
    pub evicted: u64,
    /// Told that Muster goes down.
    pub refused: u64,
}

/// How full a mode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeStatus {
    /// Players who wait and are here, those in a match without a game included.
    pub waiting: usize,
    /// Players who are away and whose place is kept.
    pub away: usize,
    /// Games, in any phase.
    pub games: usize,
    /// Free ports, for all modes together.
    pub ports_free: usize,
}

impl Matchmaker {
    /// A brain with nobody in it. Warm games are asked for by the first [`handle_timeout`](Self::handle_timeout).
    ///
    /// # Panics
    /// When the configuration is not valid; see [`Config::assert_valid`].
    pub fn new(config: Config) -> Self {
        config.assert_valid();
        Self {
            now: Duration::ZERO,
            phase: Phase::Serving,
            players: BTreeMap::new(),
            connections: BTreeMap::new(),
            sessions: Sessions::default(),
            modes: config.modes.iter().map(|_| ModeState::default()).collect(),
            matches: BTreeMap::new(),
            games: BTreeMap::new(),
            launching: 0,
            refills_ordered: 0,
            missing_since: None,
            last_match_step: None,
            stopping: 0,
            ports: PortRing::new(config.ports.clone()),
            deadlines: Deadlines::default(),
            totals: Totals::default(),
            actions: VecDeque::new(),
            next_player: 1,
            next_match: 1,
            next_game: 1,
            config,
            #[cfg(any(test, feature = "simulation"))]
            planted: None,
        }
    }

    /// Says what happened at `now`, a time since the start that never goes back.
    pub fn handle(&mut self, now: Duration, input: Input) {
        self.advance_to(now);
        match input {
            Input::Ready { connection, queue, name, resume_key, token } => {
                self.handle_ready(connection, queue.as_deref(), name, resume_key, token);
            }
            Input::Resume { connection, key, token } => {
                self.handle_resume(connection, key, token);
            }
            Input::Leave { connection } => self.handle_leave(connection),
            Input::Quit { connection } => self.handle_quit(connection),
            Input::Answer { connection, accepts } => self.handle_answer(connection, accepts),
            Input::Lost { connection } => self.handle_lost(connection),
            Input::Launched { game } => self.handle_launched(game),
            Input::LaunchFailed { game, fault } => self.handle_launch_failed(game, fault),
            Input::GameReady { game } => self.handle_game_ready(game),
            Input::GameStarted { game } => self.handle_game_started(game),
            Input::GameJoined { game, slot } => self.handle_presence(game, slot, true),
            Input::GameLeft { game, slot } => self.handle_presence(game, slot, false),
            Input::GameAlive { game } => self.handle_game_alive(game),
            Input::GameResult { game, result } => self.handle_game_result(game, result),
            Input::GameBroken { game, what } => self.handle_game_broken(game, what),
            Input::GameExited { game, exit } => self.handle_game_exited(game, exit),
            Input::Drain => self.handle_drain(),
            Input::Stop => self.handle_stop(),
        }
        self.settle();
    }

    /// The next thing to do, until there is none.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before; `None` is never.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.next()
    }

    /// Lets pass what is due at `now`. Calling it early, late or twice does no harm.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.advance_to(now);
        while let Some(owner) = self.deadlines.pop_due(self.now) {
            match owner {
                Owner::Away(player) => self.expire(player),
                Owner::Offer(match_id) => self.handle_offer_deadline(match_id),
                Owner::Game(game) => self.handle_game_deadline(game),
                Owner::Mode(mode) => self.modes[mode.0].end_pause(self.now),
                // `settle` looks at the ring and at the warm games in any case.
                Owner::Ports | Owner::Surplus(_) | Owner::Refill => {}
                Owner::Drain => self.stop_games("the drain time is over"),
            }
        }
        self.settle();
    }

    /// How full a mode is.
    ///
    /// # Panics
    /// When the mode is not one of the configuration.
    pub fn mode_status(&self, mode: ModeId) -> ModeStatus {
        let state = &self.modes[mode.0];
        let ports_free = self.ports.free_count();
        let away = state.queue.away().len();
        ModeStatus { waiting: state.players_waiting - away, away, games: state.games, ports_free }
    }

    /// Whether a player waits on this connection: queued, or in a match without a game.
    pub fn is_waiting(&self, connection: ConnectionId) -> bool {
        self.connections.contains_key(&connection)
    }

    /// Whether players are taken in.
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// What became of all players so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn advance_to(&mut self, now: Duration) {
        debug_assert!(now >= self.now, "the time went back from {:?} to {now:?}", self.now);
        self.now = self.now.max(now);
    }

    /// Brings everything that an input may have loosened back to rest: whoever can be matched is matched,
    /// whoever can have a game has one, and all who wait know what for.
    fn settle(&mut self) {
        self.ports.end_quarantine(self.now);
        if self.phase == Phase::Serving {
            for mode in self.mode_ids() {
                self.form_matches(mode);
                self.serve_from_warm(mode);
            }
            self.supply_games();
            self.refill();
            for mode in self.mode_ids() {
                self.stop_surplus(mode);
                self.tell_waiting(mode);
                self.deadlines.set(Owner::Mode(mode), self.modes[mode.0].retry_at());
            }
        }
        self.deadlines.set(Owner::Ports, self.ports.next_rested());
        if self.phase == Phase::Draining && self.games.is_empty() {
            self.phase = Phase::Drained;
            self.deadlines.set(Owner::Drain, None);
            self.act(Action::Drained);
        }
    }

    // ---- Players ----

    fn handle_ready(
        &mut self,
        connection: ConnectionId,
        queue: Option<&str>,
        name: Option<String>,
        resume_key: Secret,
        token: Secret,
    ) {
        if self.connections.contains_key(&connection) {
            return self.refuse(connection, ErrorCode::BadState, ALREADY_QUEUED);
        }
        if self.phase != Phase::Serving {
            return self.refuse(connection, ErrorCode::Draining, GOING_DOWN);
        }
        let Some(mode) = self.find_mode(queue) else {
            return self.refuse(connection, ErrorCode::NoSuchQueue, "STATUS lists the queues");
        };
        if self.modes[mode.0].players_waiting >= self.config.queue_max {
            return self.refuse(connection, ErrorCode::QueueFull, "the queue is full");
        }
        // A ticket's number is its player's: both are drawn from one sequence, and neither is used twice.
        let player = PlayerId(self.next_player);
        let ticket = Ticket(self.next_player);
        self.next_player += 1;
        let name = name.unwrap_or_else(|| format!("player-{player}"));
        let joined = Player::new(connection, mode, ticket, name, (resume_key, token), self.now);
        self.players.insert(player, joined);
        self.sessions.insert(&resume_key, player);
        self.connections.insert(connection, player);
        self.modes[mode.0].queue.insert(ticket, player);
        self.modes[mode.0].players_waiting += 1;
        self.totals.joined += 1;
        let (position, needed) = self.place(mode, ticket);
        self.act(Action::TellQueued { connection, mode, position, needed, resume_key });
    }

    fn handle_leave(&mut self, connection: ConnectionId) {
        let Some(player) = self.connections.get(&connection).copied() else {
            return self.refuse(connection, ErrorCode::BadState, "you are not queued");
        };
        self.totals.left += 1;
        self.act(Action::TellLeft { connection });
        self.remove_waiting_player(player);
    }

    fn handle_quit(&mut self, connection: ConnectionId) {
        if let Some(player) = self.connections.get(&connection).copied() {
            self.totals.left += 1;
            self.remove_waiting_player(player);
        }
    }

    /// Takes a player out who was not assigned yet. A match that loses a player comes to nothing, and the
    /// others go back to where they stood.
    pub(crate) fn remove_waiting_player(&mut self, id: PlayerId) {
        let Some(player) = self.forget(id) else { return };
        match player.phase() {
            PlayerPhase::Queued => self.modes[player.mode.0].queue.remove(player.ticket),
            PlayerPhase::Matched(match_id) => self.dissolve(match_id, &[id]),
            PlayerPhase::Assigned(_) => unreachable!("an assigned player waits for nothing"),
        }
    }

    /// Forgets a player who waits: its session, its connection, its window. Its queue or its match is for the caller to
    /// see to.
    pub(crate) fn forget(&mut self, id: PlayerId) -> Option<Player> {
        let player = self.players.remove(&id)?;
        self.sessions.remove(&player.resume_key, id);
        match player.connection {
            Some(connection) => drop(self.connections.remove(&connection)),
            None => self.deadlines.set(Owner::Away(id), None),
        }
        self.modes[player.mode.0].players_waiting -= 1;
        Some(player)
    }

    fn find_mode(&self, queue: Option<&str>) -> Option<ModeId> {
        match queue {
            None => Some(ModeId(0)),
            Some(name) => self.config.modes.iter().position(|mode| mode.name == name).map(ModeId),
        }
    }

    /// A ticket's position, and how many must wait for its match to form: the position, rounded up to whole
    /// matches.
    pub(crate) fn place(&self, mode: ModeId, ticket: Ticket) -> (usize, usize) {
        let position = self.modes[mode.0].queue.position(ticket);
        (position, position.next_multiple_of(self.mode(mode).players))
    }

    // ---- Matches ----

    /// Forms matches while enough players wait, strictly in the order of their tickets.
    pub(crate) fn form_matches(&mut self, mode: ModeId) {
        let size = self.mode(mode).players;
        while let Some(picked) = self.modes[mode.0].queue.take_first(size) {
            let match_id = MatchId(self.next_match);
            self.next_match += 1;
            for id in &picked {
                self.player_mut(*id).enter(PlayerPhase::Matched(match_id));
            }
            let ticket = self.players[&picked[0]].ticket;
            self.act(Action::Report(Event::MatchFormed {
                match_id,
                mode,
                players: picked.clone(),
            }));
            let accept_until = self.mode(mode).accept_timeout.map(|span| self.after(span));
            let formed = Match::new(mode, picked, ticket, self.now, accept_until);
            self.matches.insert(match_id, formed);
            match accept_until {
                Some(_) => self.offer(match_id),
                None => self.await_game(match_id),
            }
            self.modes[mode.0].arrivals.note_match(self.now);
            self.note_match_step();
        }
    }

    /// Puts a match into the line of those that wait for a game, at its own place.
    pub(crate) fn await_game(&mut self, match_id: MatchId) {
        let waiting = &self.matches[&match_id];
        let mode = &mut self.modes[waiting.mode.0];
        let before = mode.waiting.insert(waiting.ticket, match_id);
        assert!(before.is_none(), "two matches on one ticket");
        mode.untold.push(match_id);
    }

    /// Takes a match apart because `gone` went; the others go back to where they stood.
    pub(crate) fn dissolve(&mut self, match_id: MatchId, gone: &[PlayerId]) {
        let Some(dissolved) = self.matches.remove(&match_id) else {
            unreachable!("{match_id:?} has a player and does not exist");
        };
        let mode = dissolved.mode;
        match dissolved.phase() {
            MatchPhase::Offered { .. } => self.deadlines.set(Owner::Offer(match_id), None),
            MatchPhase::Waiting => drop(self.modes[mode.0].waiting.remove(&dissolved.ticket)),
            // The game was sent players who will not all come. It is of no use to others.
            MatchPhase::Starting(game) => self.kill(game),
            MatchPhase::Assigned { .. } => unreachable!("an assigned match is not taken apart"),
        }
        if let Some(&player) = gone.first() {
            self.act(Action::Report(Event::MatchDissolved { match_id, mode, player }));
        }
        let survivors: Vec<PlayerId> =
            dissolved.players.into_iter().filter(|id| !gone.contains(id)).collect();
        #[cfg(any(test, feature = "simulation"))]
        let survivors = match self.is_planted(crate::simulation::Defect::SurvivorForgotten) {
            true => survivors.into_iter().skip(1).collect(),
            false => survivors,
        };
        for id in &survivors {
            self.requeue(*id);
        }
        if self.phase != Phase::Serving {
            return self.refuse_waiting(&survivors);
        }
        self.tell_requeued(mode, &survivors);
    }

    /// Tells players their places, once all of them are back.
    pub(crate) fn tell_requeued(&mut self, mode: ModeId, players: &[PlayerId]) {
        for id in players {
            let player = &self.players[id];
            let (position, _) = self.place(mode, player.ticket);
            if let Some(connection) = player.connection {
                self.act(Action::TellRequeued { connection, mode, position });
            }
        }
    }

    pub(crate) fn requeue(&mut self, id: PlayerId) {
        #[cfg(any(test, feature = "simulation"))]
        if self.is_planted(crate::simulation::Defect::PlaceLostOnTheWayBack) {
            let ticket = Ticket(self.next_player);
            self.next_player += 1;
            self.player_mut(id).ticket = ticket;
        }
        let player = self.player_mut(id);
        player.enter(PlayerPhase::Queued);
        let (mode, ticket) = (player.mode, player.ticket);
        self.modes[mode.0].queue.insert(ticket, id);
    }

    // ---- Going down ----

    fn handle_drain(&mut self) {
        if self.phase != Phase::Serving {
            return;
        }
        self.phase = Phase::Draining;
        for mode in self.mode_ids() {
            self.deadlines.set(Owner::Mode(mode), None);
            self.deadlines.set(Owner::Surplus(mode), None);
        }
        self.deadlines.set(Owner::Refill, None);
        self.deadlines.set(Owner::Drain, Some(self.after(self.config.drain_timeout)));
        let is_sent_off = |player: &Player| match player.phase() {
            PlayerPhase::Queued => true,
            PlayerPhase::Matched(id) => {
                !matches!(self.matches[&id].phase(), MatchPhase::Starting(_))
            }
            PlayerPhase::Assigned(_) => false,
        };
        let sent_off = self.players.iter().filter(|(_, player)| is_sent_off(player));
        let refused: Vec<PlayerId> = sent_off.map(|(&id, _)| id).collect();
        self.refuse_waiting(&refused);
        self.stop_idle_games();
        let games = self.games.values().filter(|game| game.match_id().is_some()).count();
        let timeout = self.config.drain_timeout;
        self.act(Action::Report(Event::Draining { games, timeout }));
    }

    /// Sends players off who were not assigned yet, and forgets their matches, none of which has a game.
    pub(crate) fn refuse_waiting(&mut self, players: &[PlayerId]) {
        for id in players {
            let Some(player) = self.forget(*id) else {
                unreachable!("{id:?} is refused and does not exist");
            };
            let mode = &mut self.modes[player.mode.0];
            match player.phase() {
                PlayerPhase::Queued => mode.queue.remove(player.ticket),
                PlayerPhase::Matched(match_id) => {
                    // The first of its players takes the match along.
                    if let Some(forgotten) = self.matches.remove(&match_id) {
                        mode.waiting.remove(&forgotten.ticket);
                        self.deadlines.set(Owner::Offer(match_id), None);
                    }
                }
                PlayerPhase::Assigned(_) => unreachable!("an assigned player waits for nothing"),
            }
            self.totals.refused += 1;
            if let Some(connection) = player.connection {
                self.refuse(connection, ErrorCode::Draining, GOING_DOWN);
            }
        }
    }

    fn handle_stop(&mut self) {
        self.handle_drain();
        let games: Vec<GameId> = self.games.keys().copied().collect();
        for game in games {
            self.kill(game);
        }
    }

    // ---- Small things that all use ----

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn refuse(&mut self, connection: ConnectionId, code: ErrorCode, text: &str) {
        self.act(Action::Refuse { connection, code, text: text.to_owned() });
    }

    /// The time that comes `span` from now. A span of the configuration may be as long as for ever.
    pub(crate) fn after(&self, span: Duration) -> Duration {
        self.now.saturating_add(span)
    }

    pub(crate) fn mode(&self, mode: ModeId) -> &Mode {
        &self.config.modes[mode.0]
    }

    pub(crate) fn mode_ids(&self) -> impl DoubleEndedIterator<Item = ModeId> + use<> {
        (0..self.config.modes.len()).map(ModeId)
    }

    pub(crate) fn player_mut(&mut self, id: PlayerId) -> &mut Player {
        let Some(player) = self.players.get_mut(&id) else { unreachable!("{id:?} does not exist") };
        player
    }

    pub(crate) fn match_mut(&mut self, id: MatchId) -> &mut Match {
        let Some(found) = self.matches.get_mut(&id) else { unreachable!("{id:?} does not exist") };
        found
    }

    pub(crate) fn next_game_id(&mut self) -> GameId {
        let id = GameId(self.next_game);
        self.next_game += 1;
        id
    }
}

/// What a player reads while Muster goes down.
const GOING_DOWN: &str = "the server is going down";

/// What a player reads who says READY twice.
pub(crate) const ALREADY_QUEUED: &str = "you are queued; LEAVE comes first";
