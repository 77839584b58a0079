//! The start of the loop: new, after a crash, or in place of another program.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use brain::{Brain, ConnectionId, Exit, GameId, GameInput, Input, PlayerInput};
use mio::unix::SourceFd;
use mio::{Interest, Poll, Waker};
use protocol::admin::{LoopStats, Upgraded};

use super::accessories::Accessories;
use super::handover::VERSION;
use super::{Server, names};
use crate::clock::Instant;
use crate::config::Config;
use crate::games::launcher::{Launcher, SavedLauncher};
use crate::games::processes::Processes;
use crate::games::record::GameRecords;
use crate::games::reports::Reports;
use crate::games::templates::Templates;
use crate::games::{GameParts, Games};
use crate::handoff::Handoff;
use crate::handoff::descriptors::{StateError, take};
use crate::handoff::journal::Journal;
use crate::handoff::recovery::{Recovered, StoredGames, end_unknown};
use crate::handoff::snapshot::{Durable, Live, Snapshot, SnapshotText, run_parallel};
use crate::notify::Notifier;
use crate::operators::metrics::Counts;
use crate::operators::socket::{AdminSocket, PendingReply};
use crate::players::Players;
use crate::players::connection::READ_CHUNK;
use crate::players::connections::Connections;
use crate::players::listener::Listener;
use crate::signals::Signals;
use crate::store::Store;
use crate::tokens;
use crate::units::Span;

/// What the daemon starts from.
pub(crate) enum Origin {
    /// Nothing.
    New { launcher: Box<Launcher>, listener: Listener, admin: Option<AdminSocket> },
    /// What a daemon that crashed left.
    Crash { recovered: Box<Recovered>, listener: Listener, admin: Option<AdminSocket> },
    /// The snapshot of the program before this one, with its descriptors.
    Upgrade(Vec<u8>),
}

/// Why the loop cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot start the loop: {0}")]
    Loop(#[from] io::Error),
    #[error(transparent)]
    State(#[from] StateError),
}

/// What the loop is made of, whatever it started from.
struct Parts {
    poll: Poll,
    brain: Brain,
    started: Instant,
    clients: Connections,
    listener: Listener,
    admin: Option<AdminSocket>,
    games: Games,
    journal: Option<Journal>,
    stop_was_asked: bool,
}

/// What is reported once the loop is there.
enum Arrival {
    New,
    Crash { games: StoredGames, known: Vec<(GameId, bool)>, replayed: usize, has_handed_over: bool },
    Upgrade { from: String, written: Instant, upgrades: u64, asked_by: Option<PendingReply> },
}

impl Server {
    /// Starts the loop.
    ///
    /// # Errors
    /// When there is no descriptor, the snapshot is not understood, or a descriptor that it names is missing.
    pub(crate) fn start(
        mut config: Config,
        signals: Signals,
        store: Store,
        origin: Origin,
    ) -> Result<Self, StartError> {
        let poll = Poll::new()?;
        let (parts, arrival) = match origin {
            Origin::New { launcher, listener, admin } => {
                (Parts::new(&config, poll, *launcher, listener, admin)?, Arrival::New)
            }
            Origin::Crash { recovered, listener, admin } => {
                Parts::recover(&mut config, poll, *recovered, listener, admin)?
            }
            Origin::Upgrade(text) => Parts::resume(&mut config, poll, &text)?,
        };
        let mut server = Self::assemble(config, signals, store, parts)?;
        match arrival {
            Arrival::New => {
                server.wait_for_lookup();
                server.begin_journal();
            }
            Arrival::Crash { games, known, replayed, has_handed_over } => {
                for (game, descriptors) in games {
                    end_unknown(game, descriptors, server.handoff.store());
                }
                server.report_losses(&known);
                // The next crash is not this one again.
                server.compact_journal()?;
                server.log_recovery(replayed, has_handed_over);
            }
            Arrival::Upgrade { from, written, upgrades, asked_by } => {
                server.compact_journal()?;
                server.counts.upgrades = upgrades + 1;
                server.counts.upgrade_pause = written.elapsed();
                server.reap();
                let clients = server.players.ids();
                clients.iter().for_each(|&id: &ConnectionId| server.set_deadline(id));
                server.report_upgrade(from, clients.len(), asked_by);
            }
        }
        Ok(server)
    }

    fn assemble(
        mut config: Config,
        signals: Signals,
        store: Store,
        parts: Parts,
    ) -> io::Result<Self> {
        config.listen.bound = Some(parts.listener.address());
        for warning in config.warnings(store.is_short_for(config.ports.range.len())) {
            log::warn!("{warning}");
        }
        let Parts { poll, mut listener, games, .. } = parts;
        listener.register(poll.registry())?;
        let signal_source = signals.as_raw_fd();
        poll.registry().register(
            &mut SourceFd(&signal_source),
            tokens::SIGNALS,
            Interest::READABLE,
        )?;
        games.launcher().register(poll.registry())?;
        let waker = Arc::new(Waker::new(poll.registry(), tokens::WAKER)?);
        let now = Instant::now();
        let handoff = Handoff::new(store, Arc::clone(&waker));
        let mut this = Self {
            waker,
            brain: parts.brain,
            notifier: Notifier::open(now),
            handoff: handoff.with(parts.journal, parts.stop_was_asked),
            poll,
            players: Players::new(listener, parts.clients, &config),
            games,
            admin: parts.admin,
            signals,
            loop_stats: LoopStats::default(),
            counts: Counts::new(config.modes.len()),
            http: None,
            accessories: Accessories::default(),
            inputs: VecDeque::new(),
            now,
            started: parts.started,
            lookup: None,
            config_source: None,
            reload_error: None,
            dump: None,
            closed_a_descriptor: false,
            is_done: false,
            chunk: vec![0; READ_CHUNK].into_boxed_slice(),
            config,
        };
        this.open_accessories(true);
        this.begin_lookup();
        Ok(this)
    }

    fn compact_journal(&mut self) -> io::Result<()> {
        let snapshot = self.durable_snapshot();
        self.handoff.compact_journal(&snapshot, &self.brain)
    }

    /// Reports to the brain what was lost in the crash.
    fn report_losses(&mut self, known: &[(GameId, bool)]) {
        for connection in self.brain.connections() {
            self.inputs.push_back(Input::Player(PlayerInput::Lost { connection }));
        }
        self.settle();
        for &(game, has_process) in known {
            let is_there = self.games.processes().get(game).is_some();
            if !is_there && has_process {
                log::error!("game {game} was not handed over; its match counts as ended");
                self.tell_brain(Input::Game(GameInput::Exited { game, exit: Exit::Unknown }));
            }
            // The daemon died before the brain knew of the process.
            if is_there && !has_process {
                let (_, games, mut turn, _) = self.lend();
                games.report_launched(game, &mut turn);
                self.settle();
            }
        }
    }

    fn log_recovery(&self, replayed: usize, has_handed_over: bool) {
        let (games, totals) = (self.games.processes().living_count(), self.brain.totals());
        if has_handed_over {
            return log::info!("taken over from the daemon before games={games}");
        }
        log::warn!(
            "back after a crash games={games} replayed={replayed} joined={} assigned={} left={} expired={} \
             timed_out={} evicted={} refused={}",
            totals.joined,
            totals.assigned,
            totals.left,
            totals.expired,
            totals.timed_out,
            totals.evicted,
            totals.refused
        );
    }

    fn report_upgrade(&mut self, from: String, clients: usize, asked_by: Option<PendingReply>) {
        let pause = self.counts.upgrade_pause;
        let upgraded = Upgraded {
            from,
            to: VERSION.to_owned(),
            pid: std::process::id(),
            gap_us: u64::try_from(pause.as_micros()).unwrap_or(u64::MAX),
        };
        log::info!(
            "upgraded from={} to={} clients={clients} games={} gap={}",
            upgraded.from,
            upgraded.to,
            self.games.processes().living_count(),
            Span(pause)
        );
        let answer = serde_json::to_string(&upgraded).unwrap_or_default();
        self.answer_asker(asked_by, &answer);
    }
}

impl Parts {
    fn new(
        config: &Config,
        poll: Poll,
        launcher: Launcher,
        listener: Listener,
        mut admin: Option<AdminSocket>,
    ) -> io::Result<Self> {
        if let Some(admin) = &mut admin {
            admin.register(poll.registry())?;
        }
        let games = Games::new(GameParts {
            records: GameRecords::default(),
            processes: Processes::default(),
            reports: Reports::new(config.reports.keep),
            templates: Templates::default(),
            launcher,
        });
        Ok(Self {
            poll,
            brain: Brain::new(config.for_brain()),
            started: Instant::now(),
            clients: Connections::new(),
            listener,
            admin,
            games,
            journal: None,
            stop_was_asked: false,
        })
    }

    /// From what a daemon that crashed left: the durable part of its snapshot, and the descriptors in the store.
    fn recover(
        config: &mut Config,
        poll: Poll,
        recovered: Recovered,
        listener: Listener,
        mut admin: Option<AdminSocket>,
    ) -> io::Result<(Self, Arrival)> {
        let Recovered { brain, durable, journal, mut games, replayed, has_handed_over } = recovered;
        if let Some(admin) = &mut admin {
            admin.register(poll.registry())?;
        }
        let rate = config.limits.output_lines_per_second;
        let mut processes = Processes::default();
        for (game, record) in durable.games.from(GameId(0)) {
            if let Some(pid) = record.pid
                && let Some(descriptors) = games.remove(&game)
            {
                processes.adopt(game, pid, descriptors, poll.registry(), rate);
            }
        }
        let known: Vec<(GameId, bool)> = brain.games().collect();
        // Where there is a process, the brain does not know of it yet.
        let is_lost = |game, has_process: bool| !has_process && processes.get(game).is_none();
        let lost = known.iter().filter(|(game, has_process)| is_lost(*game, *has_process));
        let lost = lost.map(|(game, _)| *game);
        let launcher = SavedLauncher::after_a_crash(durable.work_directory.clone(), lost);
        let clients = Connections::after(&brain.connections());
        let rest = (clients, listener, admin, processes, Templates::default(), launcher);
        let parts = Self::restore(config, poll, brain, durable, rest, Some(journal));
        Ok((parts, Arrival::Crash { games, known, replayed, has_handed_over }))
    }

    /// From a snapshot with a live part.
    fn resume(config: &mut Config, poll: Poll, text: &[u8]) -> Result<(Self, Arrival), StateError> {
        let text = SnapshotText::of(text)?;
        let registry = poll.registry();
        let (others, brain) = run_parallel(
            || {
                let Snapshot { version, durable, live, .. } = text.snapshot()?;
                let mut live = live.ok_or(StateError::NotLive)?;
                let connections = std::mem::take(&mut live.connections);
                let clients = Connections::restore(connections, registry)?;
                Ok::<_, StateError>((clients, version, durable, live))
            },
            || text.brain(),
        );
        let (mut brain, (clients, from, durable, live)) = (brain?, others?);
        durable.reconcile(&mut brain, config)?;
        let Live { written, upgrades, asked_by, .. } = live;
        let lost_timeout = config.limits.lost_timeout;
        let listener = match live.listener {
            Some(listener) => {
                Listener::take(take(listener, "the listening socket")?, lost_timeout)?
            }
            None => Listener::absent(config.listen.tcp, lost_timeout),
        };
        let processes = Processes::restore(live.processes, registry)?;
        let admin = live.admin.map(|admin| AdminSocket::restore(admin, registry)).transpose()?;
        let templates = Templates::restore(live.templates, registry)?;
        let journal = live.journal.as_ref().map(Journal::restore).transpose()?;
        let rest = (clients, listener, admin, processes, templates, live.launcher);
        let parts = Self::restore(config, poll, brain, durable, rest, journal);
        Ok((parts, Arrival::Upgrade { from, written, upgrades, asked_by }))
    }

    /// What a recovery and an upgrade have in common.
    fn restore(
        config: &mut Config,
        poll: Poll,
        brain: Brain,
        durable: Durable,
        rest: (Connections, Listener, Option<AdminSocket>, Processes, Templates, SavedLauncher),
        journal: Option<Journal>,
    ) -> Self {
        let (clients, listener, admin, processes, templates, launcher) = rest;
        // A name service that is not there now costs no game.
        names::keep_resolved(config, durable.resolved);
        let games = Games::new(GameParts {
            records: durable.games,
            processes,
            reports: Reports::restore(durable.reports, config.reports.keep),
            templates,
            launcher: Launcher::resume(config, launcher),
        });
        Self {
            poll,
            brain,
            started: durable.started,
            clients,
            listener,
            admin,
            games,
            journal,
            stop_was_asked: durable.stop_was_asked,
        }
    }
}
