//! The state machine's front: its four calls.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use machine::Deadlines;
use protocol::placement::{Capacity, ModeDemand, ToHosting};
use protocol::report::Event;
use protocol::{ConnectionId, MatchId, ModeId, Notice, PlayerId, Refusal};
use serde::{Deserialize, Serialize};

use crate::accounts::{Charges, Conducts};
use crate::config::{Config, Mode};
use crate::deadlines::Owner;
use crate::io::{Input, Output, PlayerInput};
use crate::joining::Profile;
use crate::matches::Match;
use crate::parties::Parties;
use crate::placements::Placements;
use crate::players::Player;
use crate::queue::Ticket;
use crate::queue_state::QueueState;
use crate::sessions::Sessions;

/// The half of the brain that makes matches. See the [crate's head](crate) for how to drive it.
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
    pub(crate) modes: Vec<QueueState>,
    pub(crate) matches: BTreeMap<MatchId, Match>,
    pub(crate) placements: Placements,
    pub(crate) deadlines: Deadlines<Owner>,
    pub(crate) totals: Totals,
    /// Empty when the matchmaker is saved.
    #[serde(skip)]
    outputs: VecDeque<Output>,
    pub(crate) next_player: u64,
    pub(crate) next_match: u64,
}

/// What the whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// Accepts players.
    Serving,
    /// Refuses players.
    Draining,
}

/// The players so far, by how they left the queue.
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

impl Matchmaker {
    /// A matchmaker without players. It places nothing until hosting has reported its capacity.
    pub fn new(config: Config) -> Self {
        Self {
            now: Duration::ZERO,
            phase: Phase::Serving,
            players: BTreeMap::new(),
            connections: BTreeMap::new(),
            sessions: Sessions::default(),
            companies: BTreeMap::new(),
            parties: Parties::default(),
            conducts: Conducts::default(),
            charges: Charges::default(),
            modes: config.modes.iter().map(|mode| QueueState::new(mode.rules())).collect(),
            matches: BTreeMap::new(),
            placements: Placements::default(),
            deadlines: Deadlines::default(),
            totals: Totals::default(),
            outputs: VecDeque::new(),
            next_player: 1,
            next_match: 1,
            config,
        }
    }

    /// Takes an input at `now`, a time since the start that never goes back.
    pub fn handle(&mut self, now: Duration, input: Input) {
        self.advance_to(now);
        match input {
            Input::Player(input) => self.handle_player(input),
            Input::Message(message) => return self.handle_message(message),
            Input::Capacity(capacity) => self.set_capacity(capacity),
            Input::Reconfigure(config) => return self.reconfigure(*config),
            Input::Drain => self.handle_drain(),
            Input::Undrain => self.handle_undrain(),
        }
        self.settle();
    }

    fn handle_player(&mut self, input: PlayerInput) {
        match input {
            PlayerInput::Ready { connection, queue, name, skill, resume_key, token, account } => {
                let (keys, profile) = ((resume_key, token), Profile { name, skill, account });
                self.handle_ready(connection, queue.as_deref(), profile, keys);
            }
            PlayerInput::ReadyParty { connection, queue, keys } => {
                self.handle_ready_party(connection, queue.as_deref(), keys);
            }
            PlayerInput::CreateParty { connection, code, name, skill, account } => {
                self.handle_create_party(connection, &code, Profile { name, skill, account });
            }
            PlayerInput::JoinParty { connection, code, name, skill, account } => {
                self.handle_join_party(connection, &code, Profile { name, skill, account });
            }
            PlayerInput::LeaveParty { connection } => self.handle_leave_party(connection),
            PlayerInput::Resume { connection, key, token, account } => {
                self.handle_resume(connection, key, token, account);
            }
            PlayerInput::Leave { connection } => self.handle_leave(connection),
            PlayerInput::Quit { connection } => self.handle_quit(connection),
            PlayerInput::Answer { connection, accepts } => self.handle_answer(connection, accepts),
            PlayerInput::Lost { connection } => self.handle_lost(connection),
            PlayerInput::Kick { player } => self.handle_kick(player),
        }
    }

    /// The time of the last call.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The next output, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if nothing happens before; `None` is never.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.next()
    }

    /// Handles the deadlines that are due at `now`. Calling it early, late or twice does no harm.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.advance_to(now);
        while let Some(owner) = self.deadlines.pop_due(self.now) {
            match owner {
                Owner::Away(player) => self.expire(player),
                Owner::Offer(match_id) => self.handle_offer_deadline(match_id),
                Owner::Wait(player) => self.handle_wait_over(player),
                Owner::Windows(mode) => self.modes[mode.0].fill_is_due = true,
                // `settle` tells waiting players in any case.
                Owner::Telling(_) => {}
                Owner::Pause(account) => self.charges.note_changed(account),
                Owner::Arrivals(match_id) => self.handle_arrivals_due(match_id),
            }
        }
        self.settle();
    }

    /// Whether a player waits on this connection: queued, or in a match without a game.
    pub fn is_waiting(&self, connection: ConnectionId) -> bool {
        self.connections.contains_key(&connection)
    }

    /// Whether players are accepted.
    pub fn is_serving(&self) -> bool {
        self.phase == Phase::Serving
    }

    /// The players so far, by how they left the queue.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn advance_to(&mut self, now: Duration) {
        debug_assert!(now >= self.now, "the time went back from {:?} to {now:?}", self.now);
        self.now = self.now.max(now);
        self.count_charges();
    }

    /// Forms and places every match that can be, and tells waiting players what they wait for.
    fn settle(&mut self) {
        self.review_accounts();
        if self.phase != Phase::Serving {
            return;
        }
        for mode in self.mode_ids() {
            self.fill_open_slots(mode);
            self.form_matches(mode);
            self.place_in_warm_games(mode);
        }
        self.place_in_launched_games();
        for mode in self.mode_ids() {
            self.tell_waiting(mode);
            if self.mode(mode).skill.is_some() {
                let next = self.modes[mode.0].queue.next_change();
                self.deadlines.set(Owner::Windows(mode), next);
            }
        }
    }

    /// The demand that the warm pool has to serve, to be sent to hosting at the end of each turn.
    pub fn demand(&self) -> ToHosting {
        let demand =
            |mode: &QueueState| ModeDemand { waiting: mode.waiting.len(), formed: mode.formed };
        ToHosting::Demand { modes: self.modes.iter().map(demand).collect() }
    }

    /// The number of players and matches, those in games included.
    pub fn size(&self) -> usize {
        self.players.len() + self.matches.len()
    }

    /// Takes the capacity of hosting and places nothing: the next input does.
    pub fn set_capacity(&mut self, capacity: Capacity) {
        self.placements.set_capacity(capacity);
    }

    /// Whether this is the capacity that the matchmaker reckons with.
    pub fn agrees_with(&self, capacity: &Capacity) -> bool {
        self.placements.agrees_with(capacity)
    }

    // ---- Shared by all files ----

    pub(crate) fn report(&mut self, event: Event) {
        self.outputs.push_back(Output::Report(event));
    }

    pub(crate) fn ask_hosting(&mut self, message: ToHosting) {
        self.outputs.push_back(Output::Message(message));
    }

    pub(crate) fn send(&mut self, to: ConnectionId, notice: Notice) {
        self.outputs.push_back(Output::Send { to, notice });
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
}
