//! The loop: one thread that waits for the kernel, tells the brain what happened, and does what it says.
//!
//! Events become [`Input`]s in [`talk`] and [`requests`] (clients) and in [`watch`] (games, signals);
//! [`perform`] turns [`Action`](matchmaker::Action)s into effects, [`records`] keeps what is told of games, [`figures`]
//! counts, and [`admin`] answers operators. An effect that fails (a client that is gone, a game that does not read) is an input again, so
//! that the brain hears of everything in order and no decision is taken here.

mod accessories;
mod admin;
mod dump;
mod events;
mod failures;
mod figures;
mod manager;
mod names;
mod perform;
mod records;
mod recover;
mod reload;
mod requests;
#[cfg(feature = "stub-games")]
mod stub;
mod talk;
mod upgrade;
mod view;
mod watch;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use matchmaker::{GameId, Input, Matchmaker, ModeId};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};
use process::Ended;
use protocol::Reply;

use self::accessories::Accessories;
use crate::activation;
use crate::clock::Instant;
use crate::config::Config;
use crate::games::keys::Doors;
use crate::games::launcher::Launcher;
use crate::games::processes::Games;
use crate::games::reports::Reports;
use crate::games::templates::Templates;
use crate::handoff::journal::Journal;
use crate::handoff::preflight::Preflight;
use crate::logging;
use crate::lookup::Lookup;
use crate::notify::Notifier;
use crate::operators::http::Http;
use crate::operators::metrics::Counts;
use crate::operators::socket::AdminSocket;
use crate::players::connection::READ_CHUNK;
use crate::players::connections::Clients;
use crate::players::listener::Listener;
use crate::players::secrets::Secrets;
use crate::seldom::Seldom;
use crate::signals::Signals;
use crate::store::Store;
use crate::tokens::{self, Source};
use protocol::admin::LoopStats;

pub(crate) use recover::Back;
pub(crate) use talk::RETRY_MS;

/// Events taken from the kernel at a time: few enough for a turn to be over in a millisecond, so that who is served first
/// is answered first, and nobody waits for all who come after.
const EVENTS_PER_TURN: usize = 64;

/// The whole daemon.
pub(crate) struct Server {
    config: Config,
    brain: Matchmaker,
    poll: Poll,
    clients: Clients,
    games: Games,
    doors: Doors,
    launcher: Launcher,
    notifier: Notifier,
    store: Store,
    listener: Listener,
    /// Where it is configured.
    admin: Option<AdminSocket>,
    greeting: Reply,
    secrets: Secrets,
    signals: Signals,
    reports: Reports,
    loop_stats: LoopStats,
    counts: Counts,
    /// Where it is configured.
    http: Option<Http>,
    /// What is configured and could not be had.
    accessories: Accessories,
    /// What the brain has not heard yet.
    inputs: VecDeque<Input>,
    /// The time of this turn.
    now: Instant,
    started: Instant,
    templates: Templates,
    /// Children that died while launches were on their way, with the last of these: one of them may be the
    /// process of a launch up to that.
    unclaimed: HashMap<i32, (Ended, GameId)>,
    /// What the last game did that failed, by its mode.
    failures: HashMap<ModeId, String>,
    #[cfg(feature = "stub-games")]
    stubs: std::collections::HashSet<GameId>,
    /// What wakes the loop for a thread.
    waker: Arc<Waker>,
    /// What outlives a crash, where somebody holds it.
    journal: Option<Journal>,
    /// A program is looked at that is to go on.
    preflight: Option<Preflight>,
    /// A program is to go on after this turn.
    upgrade_due: Option<upgrade::Due>,
    /// Warnings of PROXY headers, which others cause.
    header_warnings: Seldom,
    /// Where players are told a name.
    lookup: Option<Lookup>,
    /// How the configuration is read anew.
    config_source: Option<reload::Source>,
    /// What was wrong with it the last time.
    reload_error: Option<String>,
    /// An operator is to be told what the brain knows.
    dump: Option<dump::Dump>,
    closed_a_descriptor: bool,
    stop_was_asked: bool,
    is_done: bool,
    chunk: Box<[u8]>,
}

/// What a daemon begins with, or goes on with.
struct Parts {
    poll: Poll,
    brain: Matchmaker,
    clients: Clients,
    games: Games,
    doors: Doors,
    launcher: Launcher,
    listener: Listener,
    /// Watched already.
    admin: Option<AdminSocket>,
    store: Store,
    reports: Reports,
    templates: Templates,
    started: Instant,
}

impl Server {
    /// Takes hold of everything that the loop needs. The address is bound here, so that an error shows at once.
    ///
    /// # Errors
    /// When a descriptor cannot be had.
    pub(crate) fn new(
        config: Config,
        signals: Signals,
        listener: Listener,
        mut admin: Option<AdminSocket>,
        launcher: Launcher,
        store: Store,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        if let Some(admin) = &mut admin {
            admin.register(poll.registry())?;
        }
        let parts = Parts {
            poll,
            brain: Matchmaker::new(config.for_brain()),
            clients: Clients::new(),
            games: Games::default(),
            doors: Doors::new(config.ports.public_addresses()),
            launcher,
            listener,
            admin,
            store,
            reports: Reports::new(config.reports.keep),
            templates: Templates::default(),
            started: Instant::now(),
        };
        let mut server = Self::assemble(config, signals, parts)?;
        server.wait_for_lookup();
        server.begin_journal();
        Ok(server)
    }

    fn assemble(mut config: Config, signals: Signals, parts: Parts) -> io::Result<Self> {
        config.listen.bound = Some(parts.listener.address());
        for warning in config.warnings(parts.store.is_short_for(config.ports.range.len())) {
            log::warn!("{warning}");
        }
        let Parts { poll, mut listener, launcher, .. } = parts;
        listener.register(poll.registry())?;
        let signal_source = signals.as_raw_fd();
        poll.registry().register(
            &mut SourceFd(&signal_source),
            tokens::SIGNALS,
            Interest::READABLE,
        )?;
        launcher.register(poll.registry())?;
        let waker = upgrade::waker(&poll)?;
        let now = Instant::now();
        let mut this = Self {
            waker,
            brain: parts.brain,
            launcher,
            notifier: Notifier::open(now),
            store: parts.store,
            poll,
            clients: parts.clients,
            games: parts.games,
            doors: parts.doors,
            listener,
            admin: parts.admin,
            greeting: talk::greeting(&config),
            secrets: Secrets::default(),
            signals,
            reports: parts.reports,
            loop_stats: LoopStats::default(),
            counts: Counts::new(config.modes.len()),
            http: None,
            accessories: Accessories::default(),
            inputs: VecDeque::new(),
            now,
            started: parts.started,
            templates: parts.templates,
            journal: None,
            preflight: None,
            upgrade_due: None,
            header_warnings: Seldom::default(),
            lookup: None,
            config_source: None,
            reload_error: None,
            dump: None,
            unclaimed: HashMap::new(),
            failures: HashMap::new(),
            #[cfg(feature = "stub-games")]
            stubs: std::collections::HashSet::new(),
            closed_a_descriptor: false,
            stop_was_asked: false,
            is_done: false,
            chunk: vec![0; READ_CHUNK].into_boxed_slice(),
            config,
        };
        this.open_accessories(true);
        this.begin_lookup();
        Ok(this)
    }

    /// Runs until the drain is over.
    ///
    /// # Errors
    /// When the kernel refuses to wait for events, which nothing here can mend.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        self.note_input(None);
        self.brain.handle_timeout(self.brain_now());
        self.settle();
        self.notifier.ready();
        if self.stop_was_asked {
            // Of the program before this one.
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
            self.write_to_clients();
            self.look_after_journal();
            self.tell_manager();
            let took = self.now.elapsed();
            self.loop_stats.note(took);
            self.counts.turns.observe(took);
        }
        self.say_goodbye();
        self.end_journal();
        Ok(())
    }

    /// How long the kernel may let us sleep: until the next deadline, or not at all if there is work left.
    fn time_to_wait(&self) -> Option<Duration> {
        if self.clients.has_ready()
            || self.games.has_ready()
            || self.templates.has_ready()
            || self.listener.is_ready()
            || self.admin.as_ref().is_some_and(AdminSocket::is_ready)
            || !self.inputs.is_empty()
        {
            return Some(Duration::ZERO);
        }
        let brain = self.brain.next_deadline().map(|at| self.started + at);
        let launcher = self.launcher.next_deadline();
        let manager = self.manager_deadline();
        let (clients, listener) = (self.clients.next_deadline(), self.listener.retry_at());
        let games = [self.games.next_deadline(), self.games.next_pause()];
        let deadlines = [brain, clients, listener, launcher, manager];
        let retries = [self.lookup_deadline(), self.accessories_deadline()];
        let next = deadlines.into_iter().chain(games).chain(retries).flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn handle_event(&mut self, event: &Event) {
        match tokens::source(event.token()) {
            Some(Source::Listener) => self.listener.set_has_more(),
            Some(Source::Signals) => self.handle_signals(),
            Some(Source::Launcher) => {
                self.launcher.send();
                self.handle_answers();
            }
            // A poll has one waker; whoever used it is served, and the others not harmed. The journal is looked after
            // in each turn.
            Some(Source::Waker) => {
                self.look_after_preflight();
                self.look_after_dump();
                self.send_view();
            }
            Some(Source::Process(game)) => {
                self.handle_foreign_end(game, event.is_read_closed());
            }
            Some(Source::Admin) => self.admin.iter_mut().for_each(AdminSocket::set_has_more),
            Some(Source::Operator(place)) => {
                self.admin.iter_mut().for_each(|admin| admin.set_ready(place));
            }
            Some(Source::Template(number)) => self.read_template(number),
            Some(Source::Client(id)) => {
                if let Some(client) = self.clients.get_mut(id) {
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        client.set_readable(event.is_read_closed() || event.is_error());
                    }
                    self.write_to_client(id);
                    self.serve_client(id);
                }
            }
            Some(Source::Control(game)) => {
                self.handle_control_event(game, event.is_read_closed() || event.is_error());
            }
            Some(Source::Output(game)) => {
                self.handle_output_event(game, event.is_read_closed() || event.is_error());
            }
            None => log::error!("an event of nobody: token {}", event.token().0),
        }
    }

    /// What was left undone for fairness, and what can be tried again.
    fn handle_leftover_work(&mut self) {
        for id in self.clients.take_ready() {
            self.serve_client(id);
        }
        for game in self.games.take_ready() {
            self.read_control(game);
            self.read_output(game);
        }
        self.read_ready_templates();
        self.listener.retry(self.now, std::mem::take(&mut self.closed_a_descriptor));
        if self.listener.is_ready() {
            self.accept();
        }
        self.serve_operators();
    }

    fn handle_deadlines(&mut self) {
        self.launcher.look_after(self.now);
        self.restart_launcher();
        self.look_after_lookup();
        self.listen_again();
        self.open_accessories(false);
        self.games.wake(self.now);
        self.look_after_pauses();
        while let Some(id) = self.clients.pop_due(self.now) {
            self.handle_client_deadline(id);
        }
        let now = self.brain_now();
        if self.brain.next_deadline().is_some_and(|at| at <= now) {
            self.note_input(None);
            self.brain.handle_timeout(now);
            self.perform_all();
        }
    }

    /// Listens where it could not be listened when the daemon came back.
    fn listen_again(&mut self) {
        if self.listener.bind_again(self.poll.registry(), self.now) {
            let address = self.listener.address();
            self.config.listen.bound = Some(address);
            activation::keep(&self.listener, &mut self.store);
            log::info!("listening tcp={address}");
        }
    }

    /// Tells the brain what happened, and does what it says, until both are at rest.
    fn settle(&mut self) {
        self.perform_all();
        while let Some(input) = self.inputs.pop_front() {
            self.note_input(Some(&input));
            self.brain.handle(self.brain_now(), input);
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
}
