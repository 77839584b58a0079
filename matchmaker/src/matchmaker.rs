//! The state machine's front: its four calls.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::{Notice, Refusal};
use serde::{Deserialize, Serialize};

use crate::accounts::{Charges, Conducts};
use crate::config::{Config, Mode};
use crate::deadlines::{Deadlines, Owner};
use crate::games::Game;
use crate::io::{Action, Input};
use crate::joining::Profile;
use crate::matches::Match;
use crate::modes::ModeState;
use crate::parties::Parties;
use crate::players::Player;
use crate::ports::PortRing;
use crate::queue::Ticket;
use crate::sessions::Sessions;
use protocol::{ConnectionId, GameId, MatchId, ModeId, PlayerId};

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
    /// Who is on a ticket with others; who is not in here came alone.
    pub(crate) companies: BTreeMap<Ticket, Vec<PlayerId>>,
    /// Those who gather, to be queued together.
    pub(crate) parties: Parties,
    /// How accounts have behaved.
    pub(crate) conducts: Conducts,
    /// What accounts have; counted anew when the brain is read.
    #[serde(skip)]
    pub(crate) charges: Charges,
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
    pub(crate) next_player: u64,
    pub(crate) next_match: u64,
    next_game: u64,
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
    /// Waited for longer than their mode lets anybody wait.
    pub timed_out: u64,
    /// Out because of what they did, or did not do, or what one of their party did.
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
        let mut brain = Self {
            now: Duration::ZERO,
            phase: Phase::Serving,
            players: BTreeMap::new(),
            connections: BTreeMap::new(),
            sessions: Sessions::default(),
            companies: BTreeMap::new(),
            parties: Parties::default(),
            conducts: Conducts::default(),
            charges: Charges::default(),
            modes: config.modes.iter().map(|mode| ModeState::new(mode.rules())).collect(),
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
        };
        brain.note_missing();
        brain
    }

    /// Says what happened at `now`, a time since the start that never goes back.
    pub fn handle(&mut self, now: Duration, input: Input) {
        self.advance_to(now);
        match input {
            Input::Ready { connection, queue, name, skill, resume_key, token, account } => {
                let (keys, profile) = ((resume_key, token), Profile { name, skill, account });
                self.handle_ready(connection, queue.as_deref(), profile, keys);
            }
            Input::ReadyParty { connection, queue, keys } => {
                self.handle_ready_party(connection, queue.as_deref(), keys);
            }
            Input::CreateParty { connection, code, name, skill, account } => {
                self.handle_create_party(connection, &code, Profile { name, skill, account });
            }
            Input::JoinParty { connection, code, name, skill, account } => {
                self.handle_join_party(connection, &code, Profile { name, skill, account });
            }
            Input::LeaveParty { connection } => self.handle_leave_party(connection),
            Input::Resume { connection, key, token, account } => {
                self.handle_resume(connection, key, token, account);
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
            Input::GameBackfill { game, slots } => self.handle_backfill(game, slots),
            Input::GameAlive { game } => self.handle_game_alive(game),
            Input::GameResult { game, result } => self.handle_game_result(game, result),
            Input::GameBroken { game, what } => self.handle_game_broken(game, what),
            Input::GameExited { game, exit } => self.handle_game_exited(game, exit),
            Input::PortTaken { game } => self.handle_port_taken(game),
            Input::Kick { player } => self.handle_kick(player),
            Input::EndGame { game, now } => self.handle_end_game(game, now),
            Input::Reconfigure(config) => drop(self.reconfigure(*config)),
            Input::Drain => self.handle_drain(),
            Input::Undrain => self.handle_undrain(),
            Input::Stop => self.handle_stop(),
        }
        self.settle();
    }

    /// The time that it was last told.
    pub fn now(&self) -> Duration {
        self.now
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
                Owner::Wait(player) => self.handle_wait_over(player),
                Owner::Game(game) => self.handle_game_deadline(game),
                Owner::Mode(mode) => self.modes[mode.0].end_pause(self.now),
                // `settle` looks at the queues, at the ring and at the warm games in any case.
                Owner::Windows(mode) => self.modes[mode.0].fill_is_due = true,
                Owner::Ports | Owner::Surplus(_) | Owner::Refill | Owner::Telling(_) => {}
                Owner::Drain => self.stop_games(),
                Owner::Pause(account) => self.charges.note_changed(account),
                Owner::Arrivals(match_id) => self.handle_arrivals_due(match_id),
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
        let away = state.players_away;
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
        self.count_charges();
    }

    /// Brings everything that an input may have loosened back to rest: whoever can be matched is matched,
    /// whoever can have a game has one, and all who wait know what for.
    fn settle(&mut self) {
        self.ports.end_quarantine(self.now);
        self.review_accounts();
        if self.phase == Phase::Serving {
            for mode in self.mode_ids() {
                self.fill_open_slots(mode);
                self.form_matches(mode);
                self.serve_from_warm(mode);
            }
            self.supply_games();
            self.refill();
            for mode in self.mode_ids() {
                self.stop_surplus(mode);
                self.tell_waiting(mode);
                if self.mode(mode).skill.is_some() {
                    let next = self.modes[mode.0].queue.next_change();
                    self.deadlines.set(Owner::Windows(mode), next);
                }
                self.deadlines.set(Owner::Mode(mode), self.modes[mode.0].next_change());
            }
        }
        self.deadlines.set(Owner::Ports, self.ports.next_rested());
        if self.phase == Phase::Draining && self.games.is_empty() {
            self.phase = Phase::Drained;
            self.deadlines.set(Owner::Drain, None);
            self.act(Action::Drained);
        }
    }

    // ---- Small things that all use ----

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    pub(crate) fn send(&mut self, to: ConnectionId, notice: Notice) {
        self.act(Action::Send { to, notice });
    }

    pub(crate) fn refuse(&mut self, to: ConnectionId, refusal: Refusal) {
        self.send(to, Notice::Refused(refusal));
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
