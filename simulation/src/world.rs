//! The world: the brain, the model, a clock, and everything that can happen.

use std::collections::BTreeSet;
use std::time::Duration;

use brain::limits::ARRIVALS_WINDOW_SECONDS;
use brain::{
    Action, Brain, Config, ConnectionId, Exit, GameAction, GameId, GameInput, Input, LaunchFault,
    MatchId, PlayerId, PlayerInput,
};
use protocol::{Notice, Secret};

use crate::checkers::check_invariants;
use crate::limits::{QUIET_ROUNDS_MAX, TIMEOUTS_AT_A_TIME_MAX};
use crate::model::{GamePhase, Model, PlayerModel, Process};
use crate::restore::SavedBrain;
use crate::setup::{Faults, MODE_NAMES, account_of, draw_config};
use crate::tally::Tally;
use crate::trace::{Entry, Trace};
use crate::{CheckResult, Checker, Choices, Flaw, check};

/// A brain and everything outside of it.
pub struct World<'a> {
    pub(crate) brain: Brain,
    pub(crate) model: Model,
    pub(crate) choices: &'a mut dyn Choices,
    pub(crate) now: Duration,
    pub(crate) faults: Faults,
    /// Ports that foreign processes hold.
    pub(crate) foreign_ports: BTreeSet<u16>,
    /// Whether faults have stopped.
    pub(crate) is_quiescent: bool,
    /// The only checker that is used; `None`: all are.
    only: Option<Checker>,
    pub(crate) saved: SavedBrain,
    pub(crate) trace: Trace,
    /// Connections whose player left: they may make requests again.
    pub(crate) quiet: Vec<ConnectionId>,
    /// Connections that were replaced and may not know it yet.
    fenced: Vec<ConnectionId>,
    newest_player: PlayerId,
    next_connection: u64,
    next_secret: u128,
}

impl<'a> World<'a> {
    /// A world drawn from choices.
    pub fn new(choices: &'a mut dyn Choices, trace: Trace) -> Self {
        let config = draw_config(choices);
        let faults = Faults::draw(choices);
        let brain = Brain::new(config.clone());
        Self {
            saved: SavedBrain::new(&brain),
            brain,
            model: Model::new(config),
            choices,
            now: Duration::ZERO,
            faults,
            foreign_ports: BTreeSet::new(),
            is_quiescent: false,
            only: None,
            trace,
            quiet: Vec::new(),
            fenced: Vec::new(),
            newest_player: PlayerId(0),
            next_connection: 1,
            next_secret: 1,
        }
    }

    /// Uses one checker alone.
    #[must_use]
    pub fn checked_only_by(mut self, checker: Checker) -> Self {
        self.only = Some(checker);
        self
    }

    /// Runs `steps` operations, fewer if the choices run out; then faults stop.
    ///
    /// # Errors
    /// The first [`Flaw`] found.
    pub fn run(&mut self, steps: usize) -> Result<(), Flaw> {
        self.pass_time()?;
        for _ in 0..steps {
            if self.choices.is_spent() {
                break;
            }
            self.step()?;
        }
        self.quiesce()
    }

    /// The brain's configuration.
    pub fn config(&self) -> &Config {
        &self.model.config
    }

    /// The last entries of the trace.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The counts of what happened.
    pub fn tally(&self) -> &Tally {
        &self.model.tally
    }

    fn step(&mut self) -> CheckResult {
        match self.choices.below(104) {
            0..=15 => self.player_joins(),
            16..=17 => self.players_join_at_once(),
            18 | 102..=103 => self.party_acts(),
            19..=20 => self.player_speaks_out_of_turn(),
            21..=26 => self.player_goes(),
            27..=30 => self.player_returns(),
            31..=34 => self.player_answers(),
            35..=36 => self.stray_connection_speaks(),
            37..=61 => self.game_proceeds(),
            62 => self.players_join_without_pause(),
            63..=68 => self.game_misbehaves(),
            69..=83 => self.time_passes(),
            84..=93 => self.stale_input_arrives(),
            94..=95 => self.foreign_process_moves(),
            96 => self.launcher_dies(),
            97 => self.shutdown_begins(),
            98 => self.quiet_period(),
            99 => self.daemon_is_replaced(),
            100 => self.operator_acts(),
            _ => self.all_games_proceed().map(drop),
        }
    }

    // ---- Inputs and actions ----

    /// Gives the brain an input, performs the actions, and checks everything.
    pub(crate) fn apply(&mut self, input: Input) -> CheckResult {
        self.trace.push(Entry::Input(self.now, input.clone()));
        self.model.begin(self.now, Some(&input));
        let joining = match &input {
            Input::Player(PlayerInput::Ready { .. }) => 1,
            Input::Player(PlayerInput::ReadyParty { keys, .. }) => keys.len(),
            _ => 0,
        };
        self.saved.note(self.now, Some(input.clone()));
        self.brain.handle(self.now, input);
        if joining > 0 {
            self.note_newcomers(joining);
        }
        self.perform_actions()
    }

    /// The brain numbers its players one after another.
    fn note_newcomers(&mut self, joining: usize) {
        for _ in 0..joining {
            let next = PlayerId(self.newest_player.0 + 1);
            if self.brain.joined_at(next).is_none() {
                return;
            }
            self.newest_player = next;
            self.model.context.newcomers.push(next);
        }
    }

    fn perform_actions(&mut self) -> CheckResult {
        let asks = |checker| self.only.is_none_or(|only| only == checker);
        let (asks_model, asks_invariants) = (asks(Checker::Model), asks(Checker::Invariants));
        while let Some(action) = self.brain.poll_action() {
            self.trace.push(Entry::Action(action.clone()));
            let result = self.model.check_action(&action);
            if asks_model {
                result?;
            }
            match action {
                Action::Game(GameAction::Launch { game, .. }) => self.draw_faults(game),
                Action::Send { to, notice: Notice::Replaced } => self.fenced.push(to),
                _ => {}
            }
        }
        if asks_model {
            self.model.finish(&self.brain)?;
        }
        if asks_invariants { check_invariants(&self.brain) } else { Ok(()) }
    }

    fn draw_faults(&mut self, game: GameId) {
        let Faults { mute_one_in, stubborn_one_in } = self.faults;
        let is_mute = mute_one_in > 0 && self.choices.one_in(mute_one_in);
        let is_stubborn = stubborn_one_in > 0 && self.choices.one_in(stubborn_one_in);
        if let Some(process) = self.model.games.get_mut(&game) {
            (process.is_mute, process.is_stubborn) = (is_mute, is_stubborn);
        }
    }

    /// Lets the brain handle its deadlines, as often as it wants to be called at this time.
    pub(crate) fn pass_time(&mut self) -> CheckResult {
        for _ in 0..TIMEOUTS_AT_A_TIME_MAX {
            self.trace.push(Entry::TimePassed(self.now));
            self.model.begin(self.now, None);
            self.saved.note(self.now, None);
            self.brain.handle_timeout(self.now);
            self.perform_actions()?;
            if self.brain.next_deadline().is_none_or(|next| next > self.now) {
                return self.model.check_nothing_overdue();
            }
        }
        let next = self.brain.next_deadline();
        check(false, || format!("at {:?} the next deadline is {next:?} for ever", self.now))
    }

    // ---- Players ----

    fn player_joins(&mut self) -> CheckResult {
        let connection = match self.quiet.len() {
            quiet @ 1.. if self.choices.one_in(4) => {
                self.quiet.swap_remove(self.choices.index(quiet))
            }
            _ => self.new_connection(),
        };
        let queue = self.draw_queue();
        self.send_ready(connection, queue)
    }

    /// Enough players join for several matches.
    fn players_join_at_once(&mut self) -> CheckResult {
        let queue = self.draw_queue();
        for _ in 0..2 + self.choices.below(9) {
            let connection = self.new_connection();
            self.send_ready(connection, queue.clone())?;
        }
        Ok(())
    }

    /// Players join one by one with little time between them, and games do their part.
    fn players_join_without_pause(&mut self) -> CheckResult {
        let queue = self.draw_queue();
        for _ in 0..8 + self.choices.below(24) {
            let connection = self.new_connection();
            self.send_ready(connection, queue.clone())?;
            self.all_games_proceed()?;
            self.now += Duration::from_millis(self.choices.below(6).into());
            self.pass_time()?;
        }
        Ok(())
    }

    fn draw_queue(&mut self) -> Option<String> {
        let modes = self.model.config.modes.len();
        match self.choices.index(modes + 2) {
            index if index < modes => Some(MODE_NAMES[index].to_owned()),
            index if index == modes => None,
            _ if self.choices.one_in(4) => Some("no such queue".to_owned()),
            _ => Some(MODE_NAMES[0].to_owned()),
        }
    }

    pub(crate) fn send_ready(
        &mut self,
        connection: ConnectionId,
        queue: Option<String>,
    ) -> CheckResult {
        let is_named = self.choices.one_in(2);
        let name = is_named.then(|| format!("ada {connection}\n"));
        let (resume_key, token) = (self.new_secret(), self.new_secret());
        let (skill, account) = (self.draw_skill(), account_of(connection));
        self.apply(Input::Player(PlayerInput::Ready {
            connection,
            queue,
            name,
            skill,
            resume_key,
            token,
            account,
        }))
    }

    fn draw_skill(&mut self) -> Option<i32> {
        let skill = i32::try_from(self.choices.below(1_000)).ok();
        skill.filter(|_| self.choices.one_in(2))
    }

    /// Players form a party and queue together, or act in one that exists.
    fn party_acts(&mut self) -> CheckResult {
        let code = format!("K{}", self.choices.below(4));
        let queue = self.draw_queue();
        let member = self.model.parties.values().flatten().next().copied();
        let member = match member.filter(|_| self.choices.one_in(2)) {
            Some(member) => member,
            None => self.new_connection(),
        };
        match self.choices.below(6) {
            0 => self.apply(Input::Player(PlayerInput::LeaveParty { connection: member })),
            1 => self.apply(Input::Player(PlayerInput::Lost { connection: member })),
            2 => self.send_ready(member, queue),
            3 => self.send_ready_party(member, queue),
            _ => {
                let (connection, skill) = (member, self.draw_skill());
                let (code_of_first, name, account) = (code.clone(), None, account_of(connection));
                let founds = Input::Player(PlayerInput::CreateParty {
                    connection,
                    code: code_of_first,
                    name,
                    skill,
                    account,
                });
                self.apply(founds)?;
                for _ in 0..self.choices.below(4) {
                    let (connection, skill) = (self.new_connection(), self.draw_skill());
                    let (code, name) = (code.clone(), Some("bob".to_owned()));
                    let account = account_of(connection);
                    self.apply(Input::Player(PlayerInput::JoinParty {
                        connection,
                        code,
                        name,
                        skill,
                        account,
                    }))?;
                }
                self.send_ready_party(member, queue)
            }
        }
    }

    fn send_ready_party(&mut self, connection: ConnectionId, queue: Option<String>) -> CheckResult {
        let mut keys = Vec::new();
        for _ in 0..self.brain.party_size(connection) {
            keys.push((self.new_secret(), self.new_secret()));
        }
        self.apply(Input::Player(PlayerInput::ReadyParty { connection, queue, keys }))
    }

    pub(crate) fn new_connection(&mut self) -> ConnectionId {
        self.next_connection += 1;
        ConnectionId::local(self.next_connection)
    }

    fn new_secret(&mut self) -> Secret {
        self.next_secret += 1;
        Secret::from_bytes(self.next_secret.to_be_bytes())
    }

    fn draw_connection(&mut self) -> Option<ConnectionId> {
        let here = self.model.players.values().filter_map(|player| player.connection);
        let here: Vec<ConnectionId> = here.collect();
        let count = here.len();
        (count > 0).then(|| here[self.choices.index(count)])
    }

    /// A queued player asks to be queued, or makes another request out of turn.
    fn player_speaks_out_of_turn(&mut self) -> CheckResult {
        let Some(connection) = self.draw_connection() else { return Ok(()) };
        match self.choices.below(3) {
            0 => self.send_ready(connection, None),
            1 => self.answer(connection),
            _ => self.send_resume(connection),
        }
    }

    fn answer(&mut self, connection: ConnectionId) -> CheckResult {
        let accepts = !self.choices.one_in(4);
        self.apply(Input::Player(PlayerInput::Answer { connection, accepts }))
    }

    /// A player who was asked to accept a match answers.
    fn player_answers(&mut self) -> CheckResult {
        let asked = self.model.players.values().filter(|player| player.asked.is_some());
        let asked: Vec<ConnectionId> = asked.filter_map(|player| player.connection).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let index = self.choices.index(asked.len());
        self.answer(asked[index])
    }

    /// All players who are asked accept. Returns whether there was one.
    fn all_accept(&mut self) -> Result<bool, Flaw> {
        let has_accepted = |id: &PlayerId, match_id: &MatchId| {
            self.model.matches.get(match_id).is_some_and(|matched| matched.accepted.contains(id))
        };
        let is_silent = |(id, player): &(&PlayerId, &PlayerModel)| {
            player.asked.is_some_and(|match_id| !has_accepted(id, &match_id))
        };
        let silent = self.model.players.iter().filter(is_silent);
        let silent: Vec<ConnectionId> = silent.filter_map(|(_, it)| it.connection).collect();
        for connection in &silent {
            self.apply(Input::Player(PlayerInput::Answer {
                connection: *connection,
                accepts: true,
            }))?;
        }
        Ok(!silent.is_empty())
    }

    /// A request to resume with the key of any player, or with an unknown one.
    fn send_resume(&mut self, connection: ConnectionId) -> CheckResult {
        let token = self.new_secret();
        let keys = self.model.players.values().chain(self.model.assigned.values());
        let mut keys: Vec<Secret> = keys.map(|player| player.key).collect();
        keys.extend(self.choices.one_in(8).then(|| Secret::from_bytes([0; Secret::BYTES])));
        let key = match keys.len() {
            0 => None,
            count => Some(keys[self.choices.index(count)]),
        };
        let key = key.filter(|_| !self.choices.one_in(16));
        let account = account_of(connection);
        self.apply(Input::Player(PlayerInput::Resume { connection, key, token, account }))
    }

    /// A player reconnects, or resumes a session that has a connection.
    fn player_returns(&mut self) -> CheckResult {
        let connection = self.new_connection();
        if self.choices.one_in(6) {
            return self.player_returns_late(connection);
        }
        self.send_resume(connection)
    }

    /// A player reconnects when the window is just over and the timer has not fired yet.
    fn player_returns_late(&mut self, connection: ConnectionId) -> CheckResult {
        let window = self.model.config.resume_window;
        let away = self.model.players.values();
        let away = away.filter_map(|player| Some((player.away_since? + window, player.key)));
        let Some((end, key)) = away.min_by_key(|&(end, _)| end) else { return Ok(()) };
        self.now = self.now.max(end);
        let (token, account) = (self.new_secret(), account_of(connection));
        self.apply(Input::Player(PlayerInput::Resume {
            connection,
            key: Some(key),
            token,
            account,
        }))
    }

    fn player_goes(&mut self) -> CheckResult {
        let Some(connection) = self.draw_connection() else { return Ok(()) };
        match self.choices.below(8) {
            0..=4 => self.apply(Input::Player(PlayerInput::Lost { connection })),
            5 => self.apply(Input::Player(PlayerInput::Quit { connection })),
            _ => {
                self.quiet.push(connection);
                self.apply(Input::Player(PlayerInput::Leave { connection }))
            }
        }
    }

    /// Requests on a connection without a player.
    fn stray_connection_speaks(&mut self) -> CheckResult {
        let connection = match self.fenced.pop() {
            Some(connection) => connection,
            None => self.new_connection(),
        };
        match self.choices.below(5) {
            3 => self.apply(Input::Player(PlayerInput::Quit { connection })),
            4 => self.apply(Input::Player(PlayerInput::Lost { connection })),
            0 => self.apply(Input::Player(PlayerInput::Leave { connection })),
            1 => self.answer(connection),
            _ => self.send_resume(connection),
        }
    }

    // ---- Games ----

    pub(crate) fn draw_game(&mut self) -> Option<GameId> {
        let count = self.model.games.len();
        if count == 0 {
            return None;
        }
        let index = self.choices.index(count);
        self.model.games.keys().nth(index).copied()
    }

    fn game_proceeds(&mut self) -> CheckResult {
        let Some(game) = self.draw_game() else { return Ok(()) };
        match self.next_input(game) {
            Some(input) => self.apply(input),
            None => Ok(()),
        }
    }

    /// Lets every game take its next step. Returns whether one did.
    pub(crate) fn all_games_proceed(&mut self) -> Result<bool, Flaw> {
        let mut did = self.all_accept()?;
        let games: Vec<GameId> = self.model.games.keys().copied().collect();
        for game in games {
            if let Some(input) = self.next_input(game) {
                did = true;
                self.apply(input)?;
            }
        }
        Ok(did)
    }

    /// The next step of a process without faults.
    pub(crate) fn next_input(&mut self, game: GameId) -> Option<Input> {
        let process: &Process = self.model.games.get(&game)?;
        if !process.is_alive {
            return Some(if self.foreign_ports.contains(&process.port) {
                Input::Game(GameInput::LaunchFailed { game, fault: LaunchFault::PortBusy })
            } else {
                Input::Game(GameInput::Launched { game })
            });
        }
        if process.is_killed {
            return Some(Input::Game(GameInput::Exited { game, exit: Exit::Signal(SIGKILL) }));
        }
        match process.phase {
            GamePhase::Ending if process.is_stubborn => None,
            GamePhase::Ending => {
                Some(Input::Game(GameInput::Exited { game, exit: Exit::Status(0) }))
            }
            _ if process.is_mute => None,
            GamePhase::Launching => Some(Input::Game(GameInput::Ready { game })),
            GamePhase::Warm => None,
            GamePhase::Starting if process.is_seated && process.ready_at.is_none() => {
                // A program without a control channel never sends `ready`.
                let says_ready = self.choices.one_in(2);
                Some(match says_ready {
                    true => Input::Game(GameInput::Ready { game }),
                    false => Input::Game(GameInput::Started { game }),
                })
            }
            GamePhase::Starting => Some(Input::Game(GameInput::Started { game })),
            GamePhase::Running if self.is_quiescent => {
                Some(Input::Game(GameInput::Exited { game, exit: Exit::Status(0) }))
            }
            GamePhase::Running => Some(self.play(game)),
        }
    }

    fn play(&mut self, game: GameId) -> Input {
        let slot = self.choices.index(6);
        match self.choices.below(8) {
            0 => Input::Game(GameInput::Joined { game, slot }),
            1 => Input::Game(GameInput::Left { game, slot }),
            6 => Input::Game(GameInput::Backfill { game, slots: vec![slot, (slot + 1) % 4] }),
            2 => Input::Game(GameInput::Alive { game }),
            3 => Input::Game(GameInput::Result { game, result: "{}".to_owned() }),
            _ => Input::Game(GameInput::Exited { game, exit: Exit::Status(0) }),
        }
    }

    fn game_misbehaves(&mut self) -> CheckResult {
        let Some(game) = self.draw_game() else { return Ok(()) };
        if !self.model.games[&game].is_alive {
            let fault = match self.choices.below(6) {
                0 | 1 => LaunchFault::PortBusy,
                2 => LaunchFault::Interrupted,
                _ => LaunchFault::Other("no such file".to_owned()),
            };
            return self.apply(Input::Game(GameInput::LaunchFailed { game, fault }));
        }
        let input = match self.choices.below(9) {
            0 => Input::Game(GameInput::Exited { game, exit: Exit::Status(1) }),
            1 => Input::Game(GameInput::Exited { game, exit: Exit::Signal(SIGSEGV) }),
            2 => Input::Game(GameInput::Broken { game, what: "not JSON".to_owned() }),
            3 => Input::Game(GameInput::Ready { game }),
            4 => Input::Game(GameInput::Started { game }),
            5 => Input::Game(GameInput::Joined { game, slot: usize::MAX }),
            6 => Input::Game(GameInput::Left { game, slot: self.choices.index(6) }),
            7 => Input::Game(GameInput::Result { game, result: "{}".to_owned() }),
            _ => Input::Game(GameInput::Alive { game }),
        };
        self.apply(input)
    }

    /// The launcher dies, and with it the launches under way.
    pub(crate) fn launcher_dies(&mut self) -> CheckResult {
        let is_ordered =
            |(&game, process): (&GameId, &Process)| (!process.is_alive).then_some(game);
        let lost: Vec<GameId> = self.model.games.iter().filter_map(is_ordered).collect();
        for game in lost {
            let fault = LaunchFault::Interrupted;
            self.apply(Input::Game(GameInput::LaunchFailed { game, fault }))?;
        }
        Ok(())
    }

    fn foreign_process_moves(&mut self) -> CheckResult {
        let ports = self.model.config.ports.clone();
        let port = ports.start() + u16::try_from(self.choices.index(ports.len())).unwrap_or(0);
        let is_bound = self.model.games.values().any(|game| game.port == port && game.is_alive);
        if self.foreign_ports.remove(&port) {
            self.trace.push(Entry::Noted(format!("a foreign process leaves port {port}")));
        } else if !is_bound {
            self.foreign_ports.insert(port);
            self.trace.push(Entry::Noted(format!("a foreign process takes port {port}")));
        }
        Ok(())
    }

    fn shutdown_begins(&mut self) -> CheckResult {
        match self.choices.below(60) {
            58 => self.apply(Input::Stop),
            59 => self.apply(Input::Drain),
            _ => Ok(()),
        }
    }

    // ---- Time ----

    fn time_passes(&mut self) -> CheckResult {
        let next = self.brain.next_deadline().unwrap_or(self.now).max(self.now);
        let a_while = Duration::from_millis(self.choices.below(20_000).into());
        self.now = match self.choices.below(8) {
            0 => self.now,
            1 => next.saturating_sub(Duration::from_nanos(1)).max(self.now),
            2..=4 => next,
            5 => next + a_while,
            6 => self.now + a_while,
            _ => self.now + a_while / 1000,
        };
        // A body that is late handles other events first.
        if self.choices.one_in(6) {
            return Ok(());
        }
        self.pass_time()?;
        self.expect_no_effect(None)
    }

    /// About two minutes in which games do their part and nothing else happens.
    fn quiet_period(&mut self) -> CheckResult {
        let end = self.now + 2 * Duration::from_secs(ARRIVALS_WINDOW_SECONDS);
        for _ in 0..QUIET_ROUNDS_MAX {
            self.all_games_proceed()?;
            let Some(next) = self.brain.next_deadline().filter(|next| *next < end) else { break };
            self.now = next.max(self.now);
            self.pass_time()?;
        }
        Ok(())
    }
}

const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
