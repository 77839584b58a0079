//! The loop: one thread that waits for the kernel, tells the brain what happened, and does what it says.
//!
//! Events become [`Input`]s in the owners, [`Players`] and [`Games`]; [`perform`] turns
//! [`Action`](brain::Action)s into effects, [`figures`] counts, and [`admin`] answers operators. An effect that fails
//! (a client that is gone, a game that does not read) is an input again, so that the brain gets everything in order and
//! takes every decision.

mod accessories;
mod admin;
mod dump;
mod events;
mod figures;
mod handover;
mod manager;
mod names;
mod perform;
mod reload;
mod start;
mod view;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use brain::{Brain, ConnectionId, GameId, Input, ModeId, ModeStatus};
use mio::event::Event;
use mio::{Events, Poll, Waker};
use nix::sys::signal::Signal;
use protocol::admin::LoopStats;

use self::accessories::Accessories;
use crate::activation;
use crate::clock::Instant;
use crate::config::Config;
use crate::games::{GamePhases, Games, News};
use crate::handoff::Handoff;
use crate::logging;
use crate::lookup::Lookup;
use crate::notify::Notifier;
use crate::operators::http::Http;
use crate::operators::metrics::Counts;
use crate::operators::socket::AdminSocket;
use crate::players::{Players, QueueView, Served};
use crate::signals::Signals;
use crate::tokens::{self, Source};
use crate::turn::Turn;

pub(crate) use start::{Origin, StartError};

/// Events taken from the kernel at a time: few enough for a turn to be over in a millisecond, so that who is served first
/// is answered first, and nobody waits for all who come after.
const EVENTS_PER_TURN: usize = 64;

/// Connections accepted in a turn, so that a flood of them does not starve connected players.
const ACCEPTS_PER_TURN: usize = 32;

/// Lines of one client handled in a turn, so that one that sends without pause does not starve the others.
const LINES_PER_TURN: usize = 64;

/// The whole daemon.
pub(crate) struct Server {
    config: Config,
    brain: Brain,
    poll: Poll,
    players: Players,
    games: Games,
    handoff: Handoff,
    notifier: Notifier,
    /// Where it is configured.
    admin: Option<AdminSocket>,
    signals: Signals,
    loop_stats: LoopStats,
    counts: Counts,
    /// Where it is configured.
    http: Option<Http>,
    /// What is configured and could not be opened yet.
    accessories: Accessories,
    /// What the brain handles next.
    inputs: VecDeque<Input>,
    /// The time of this turn.
    now: Instant,
    started: Instant,
    /// Wakes the loop for a thread.
    waker: Arc<Waker>,
    /// Where `ports.public_host` is a name.
    lookup: Option<Lookup>,
    /// How the configuration is read anew.
    config_source: Option<reload::Source>,
    /// Why the last reload was refused.
    reload_error: Option<String>,
    /// A dump of the brain that an operator waits for.
    dump: Option<dump::Dump>,
    closed_a_descriptor: bool,
    is_done: bool,
    chunk: Box<[u8]>,
}

impl QueueView for Brain {
    fn is_serving(&self) -> bool {
        self.is_serving()
    }

    fn is_waiting(&self, connection: ConnectionId) -> bool {
        self.is_waiting(connection)
    }

    fn party_size(&self, connection: ConnectionId) -> usize {
        self.party_size(connection)
    }

    fn mode_status(&self, mode: ModeId) -> ModeStatus {
        self.mode_status(mode)
    }
}

impl GamePhases for Brain {
    fn awaits_start(&self, game: GameId) -> bool {
        self.awaits_start(game)
    }

    fn is_stopping(&self, game: GameId) -> bool {
        self.is_stopping(game)
    }

    fn may_end_in_peace(&self, game: GameId) -> bool {
        self.may_end_in_peace(game)
    }

    fn is_failing(&self, mode: ModeId) -> bool {
        self.mode_figures(mode).is_failing
    }
}

impl Server {
    /// Runs until the drain is over.
    ///
    /// # Errors
    /// When the kernel refuses to wait for events, which nothing here can mend.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        self.handle_timeout();
        self.settle();
        self.notifier.ready();
        if self.handoff.stop_was_asked() {
            // By a signal to the program before this one.
            self.notifier.stopping(self.now);
        }
        self.tell_manager();
        while !self.is_done {
            self.upgrade();
            let wait = self.time_to_wait();
            let due = wait.filter(|it| !it.is_zero()).map(|wait| Instant::now() + wait);
            match self.poll.poll(&mut events, wait) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.now = Instant::now();
            if let Some(due) = due.filter(|_| events.is_empty()) {
                self.count_lag(self.now.saturating_duration_since(due));
            }
            let _turn = logging::hold_for_a_turn();
            for event in &events {
                self.handle_event(event);
            }
            self.handle_leftover_work();
            self.handle_deadlines();
            self.settle();
            let (players, _, mut turn, queues) = self.lend();
            players.flush_all(&mut turn, queues);
            self.tend_journal();
            self.tell_manager();
            let took = self.now.elapsed();
            self.loop_stats.note(took);
            self.counts.turns.observe(took);
        }
        let (players, _, mut turn, queues) = self.lend();
        players.close_all(&mut turn, queues);
        self.handoff.end_journal();
        Ok(())
    }

    /// How long the kernel may let us sleep: until the next deadline, or not at all if there is work left.
    fn time_to_wait(&self) -> Option<Duration> {
        if self.players.has_ready()
            || self.games.has_ready()
            || self.admin.as_ref().is_some_and(AdminSocket::is_ready)
            || !self.inputs.is_empty()
        {
            return Some(Duration::ZERO);
        }
        let brain = self.brain.next_deadline().map(|at| self.started + at);
        let manager = self.manager_deadline();
        let owners = [self.players.next_deadline(), self.games.next_deadline()];
        let retries = [self.lookup_deadline(), self.accessories_deadline()];
        let next = [brain, manager].into_iter().chain(owners).chain(retries).flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn handle_event(&mut self, event: &Event) {
        match tokens::source(event.token()) {
            Some(Source::Listener) => self.players.listener_mut().set_has_more(),
            Some(Source::Signals) => self.handle_signals(),
            Some(Source::Launcher) => {
                self.games.launcher_mut().send();
                self.handle_answers();
            }
            // A poll has one waker for all threads. The journal is tended in each turn.
            Some(Source::Waker) => {
                self.tend_preflight();
                self.look_after_dump();
                self.send_view();
            }
            Some(Source::Process(game)) => {
                self.games.handle_foreign_end(game, event.is_read_closed(), &self.brain);
            }
            Some(Source::Admin) => self.admin.iter_mut().for_each(AdminSocket::set_has_more),
            Some(Source::Operator(place)) => {
                self.admin.iter_mut().for_each(|admin| admin.set_ready(place));
            }
            Some(Source::Template(number)) => {
                let (_, games, mut turn, _) = self.lend();
                games.read_template(number, &mut turn);
            }
            Some(Source::Client(id)) => {
                let end_is_near = event.is_read_closed() || event.is_error();
                let (players, _, mut turn, _) = self.lend();
                players.handle_event(id, event.is_readable(), end_is_near, &mut turn);
                self.serve_player(id);
            }
            Some(Source::Control(game)) => {
                let end_is_near = event.is_read_closed() || event.is_error();
                let (_, games, mut turn, _) = self.lend();
                games.handle_control_event(game, end_is_near, &mut turn);
                self.settle();
            }
            Some(Source::Output(game)) => {
                let end_is_near = event.is_read_closed() || event.is_error();
                let (_, games, mut turn, phases) = self.lend();
                games.handle_output_event(game, end_is_near, &mut turn, phases);
                self.settle();
            }
            None => log::error!("poll event with an unknown token: {}", event.token().0),
        }
    }

    /// What was left undone for fairness, and what can be tried again.
    fn handle_leftover_work(&mut self) {
        for id in self.players.take_ready() {
            self.serve_player(id);
        }
        let (_, games, mut turn, phases) = self.lend();
        games.read_ready(&mut turn, phases);
        self.settle();
        let a_descriptor_was_closed = std::mem::take(&mut self.closed_a_descriptor);
        self.players.retry_listener(self.now, a_descriptor_was_closed);
        self.accept();
        self.serve_operators();
    }

    fn handle_deadlines(&mut self) {
        let (_, games, mut turn, _) = self.lend();
        games.handle_deadlines(&mut turn);
        self.settle();
        self.restart_launcher();
        self.look_after_lookup();
        self.listen_again();
        self.open_accessories(false);
        loop {
            let (players, _, mut turn, queues) = self.lend();
            if !players.handle_deadline(&mut turn, queues) {
                break;
            }
        }
        if self.brain.next_deadline().is_some_and(|at| at <= self.brain_now()) {
            self.handle_timeout();
            self.perform_all();
        }
    }

    /// Calls the brain because time has passed.
    fn handle_timeout(&mut self) {
        let now = self.brain_now();
        self.handoff.note_input(now, None);
        self.brain.handle_timeout(now);
    }

    /// Binds the address that could not be bound when the daemon recovered.
    fn listen_again(&mut self) {
        if self.players.bind_again(self.poll.registry(), self.now) {
            let address = self.players.listener().address();
            self.config.listen.bound = Some(address);
            activation::keep(self.players.listener(), self.handoff.store());
            log::info!("listening tcp={address}");
        }
    }

    /// Has the brain handle its inputs, and performs its actions, until there are none.
    fn settle(&mut self) {
        self.perform_all();
        while let Some(input) = self.inputs.pop_front() {
            let now = self.brain_now();
            self.handoff.note_input(now, Some(&input));
            self.games.records_mut().follow_input(&input);
            self.brain.handle(now, input);
            self.perform_all();
        }
    }

    fn perform_all(&mut self) {
        while let Some(action) = self.brain.poll_action() {
            self.perform(action);
        }
    }

    fn tell_brain(&mut self, input: Input) {
        self.inputs.push_back(input);
        self.settle();
    }

    fn brain_now(&self) -> Duration {
        self.now.saturating_duration_since(self.started)
    }

    /// The owners of players and of games, what both work with in this iteration, and the brain, which they only ask.
    fn lend(&mut self) -> (&mut Players, &mut Games, Turn<'_>, &Brain) {
        let Self { players, games, poll, config, counts, inputs, chunk, .. } = self;
        let closed_a_descriptor = &mut self.closed_a_descriptor;
        let (now, registry) = (self.now, poll.registry());
        let turn = Turn { now, registry, config, counts, inputs, chunk, closed_a_descriptor };
        (players, games, turn, &self.brain)
    }

    // ---- Players ----

    /// Accepts waiting connections, up to a turn's share.
    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.players.listener().is_ready() {
                return;
            }
            let (players, _, mut turn, queues) = self.lend();
            if let Some(id) = players.accept(&mut turn, queues) {
                self.serve_player(id);
            }
        }
    }

    /// Handles what a client sent, up to its share of a turn.
    fn serve_player(&mut self, id: ConnectionId) {
        for _ in 0..LINES_PER_TURN {
            let (players, _, mut turn, queues) = self.lend();
            let served = players.serve(id, &mut turn, queues);
            self.settle();
            if served == Served::Done {
                return self.set_deadline(id);
            }
        }
        self.set_deadline(id);
        self.players.set_ready(id);
    }

    fn set_deadline(&mut self, id: ConnectionId) {
        let (players, _, turn, queues) = self.lend();
        players.set_deadline(id, &turn, queues);
    }

    // ---- Games ----

    /// Handles what the launcher has answered.
    fn handle_answers(&mut self) {
        loop {
            let (_, games, mut turn, phases) = self.lend();
            let Some(news) = games.handle_answer(&mut turn, phases) else { return };
            match news {
                News::Launched(game) => {
                    if let Some((pid, descriptors)) = self.games.stored(game) {
                        self.handoff.store_game(game, pid, &descriptors);
                    }
                    self.settle();
                }
                News::Gone(game) => {
                    self.settle();
                    self.games.remove(game);
                    self.handoff.forget_game(game);
                }
                News::Holding => self.handoff.set_held(),
                News::LauncherLost => self.restart_launcher(),
                News::Handled => self.settle(),
            }
        }
    }

    /// Starts another launcher, if there is none and it is time.
    fn restart_launcher(&mut self) {
        let (_, games, mut turn, _) = self.lend();
        // What the last one was asked was lost with it.
        if games.restart_launcher(&mut turn) && self.handoff.is_to_be_held() {
            self.games.launcher_mut().hold();
        }
    }

    /// Reaps the children that have ended.
    fn reap(&mut self) {
        let (_, games, mut turn, phases) = self.lend();
        let others = games.reap(&mut turn, phases);
        others.into_iter().for_each(|ended| self.handoff.note_end(ended));
        self.tend_preflight();
    }

    // ---- Signals ----

    fn handle_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::SIGCHLD => self.reap(),
                Signal::SIGTERM | Signal::SIGINT if self.handoff.stop_was_asked() => {
                    log::info!("{signal} again: stopping now");
                    self.tell_brain(Input::Stop);
                }
                Signal::SIGTERM | Signal::SIGINT => {
                    self.handoff.note_stop_asked();
                    log::info!("{signal}: draining; once more stops at once");
                    self.notifier.stopping(self.now);
                    self.tell_brain(Input::Drain);
                }
                Signal::SIGHUP => {
                    log::info!("{signal}: reading the configuration anew");
                    // What came of it is in the log.
                    drop(self.reload());
                }
                Signal::SIGUSR2 => self.upgrade_on_signal(),
                _ => log::error!("unexpected {signal}"),
            }
        }
    }
}
