//! Upgrading in place: from the request through the preflight to the exec, and on the other side of it. Handing over is the
//! same up to the exec: this process ends there, and whoever keeps it starts the program, which goes on as after a crash.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use matchmaker::ConnectionId;
use mio::{Poll, Waker};

use super::{Parts, Server, names};
use crate::clock::Instant;
use crate::config::Config;
use crate::games::keys::Doors;
use crate::games::launcher::Launcher;
use crate::games::processes::Games;
use crate::games::reports::Reports;
use crate::games::templates::Templates;
use crate::handoff::descriptors::{FORMAT, InheritedFds, StateError, take};
use crate::handoff::exec::Program;
use crate::handoff::journal::Journal;
use crate::handoff::preflight::{Aim, Preflight, Step};
use crate::handoff::snapshot::{Halves, State, read_brain, side_by_side};
use crate::operators::socket::{AdminSocket, PendingReply};
use crate::players::connections::Clients;
use crate::players::listener::Listener;
use crate::signals::Signals;
use crate::store::Store;
use crate::tokens;
use crate::units::Span;
use protocol::admin::{Done, Refusal, Upgraded};

/// This program's version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long an upgrade waits for the store.
const STORE_WAIT_MAX: Duration = Duration::from_secs(2);

/// A program that has passed its preflight.
pub(super) struct Due {
    aim: Aim,
    program: Program,
    asked_by: Option<PendingReply>,
    /// How long it waits for the store to take what it had no room for.
    wait_until: Instant,
}

impl Server {
    /// Somebody wants another program to go on. What comes of it is told later.
    ///
    /// # Errors
    /// Why it cannot even be tried.
    pub(super) fn begin_upgrade(
        &mut self,
        binary: Option<PathBuf>,
        asked_by: Option<PendingReply>,
    ) -> Result<(), String> {
        self.begin_preflight(Aim::Execute, binary, asked_by)
    }

    /// Somebody wants the daemon to end, and the next one to go on. What comes of it is told later.
    ///
    /// # Errors
    /// Why it cannot even be tried.
    pub(super) fn begin_handover(&mut self, asked_by: Option<PendingReply>) -> Result<(), String> {
        if self.stop_was_asked {
            return Err("a signal told the daemon to stop".to_owned());
        }
        if self.journal.is_none() {
            return Err("nobody keeps what the next daemon would go on with: that takes systemd's descriptor store \
                        (FileDescriptorStoreMax=) or muster serve --keep, and state.crash_safe"
                .to_owned());
        }
        self.begin_preflight(Aim::HandOver, None, asked_by)
    }

    fn begin_preflight(
        &mut self,
        aim: Aim,
        binary: Option<PathBuf>,
        asked_by: Option<PendingReply>,
    ) -> Result<(), String> {
        if self.preflight.is_some() || self.upgrade_due.is_some() {
            return Err("another upgrade is under way".to_owned());
        }
        let program = Program::open(binary)?;
        let state = self.write_down(&mut InheritedFds::default(), None);
        let what = match aim {
            Aim::Execute => "upgrade",
            Aim::HandOver => "handover",
        };
        log::info!("{what} asked for binary={}", program.path.display());
        let waker = Arc::clone(&self.waker);
        let preflight = Preflight::begin(aim, program, asked_by, state, self.brain.clone(), waker)
            .map_err(|error| format!("cannot look at the program: {error}"))?;
        self.preflight = Some(preflight);
        self.launcher.hold();
        Ok(())
    }

    pub(super) fn upgrade_on_signal(&mut self) {
        if let Err(reason) = self.begin_upgrade(None, None) {
            log::error!("upgrade refused: {reason}");
        }
    }

    /// The preflight may have something to say.
    pub(super) fn look_after_preflight(&mut self) {
        while let Some(preflight) = &mut self.preflight {
            match preflight.next_step() {
                None => return,
                Some(Step::Release(spared)) => self.launcher.release(spared),
                Some(Step::Over { pid, verdict }) => {
                    pid.into_iter().for_each(|pid| self.launcher.forget(pid));
                    self.end_preflight(verdict);
                }
            }
        }
    }

    fn end_preflight(&mut self, verdict: Result<(), String>) {
        let Some(Preflight { aim, program, asked_by, .. }) = self.preflight.take() else { return };
        match verdict {
            Ok(()) => {
                let wait_until = Instant::now() + STORE_WAIT_MAX;
                self.upgrade_due = Some(Due { aim, program, asked_by, wait_until });
            }
            Err(reason) => self.refuse_upgrade(&program, asked_by, &reason),
        }
    }

    fn refuse_upgrade(&mut self, program: &Program, asked_by: Option<PendingReply>, reason: &str) {
        let binary = program.path.display();
        log::error!("upgrade refused binary={binary}: {reason}");
        let error = format!("{binary} is not fit to go on: {reason}");
        let refusal = serde_json::to_string(&Refusal { error }).unwrap_or_default();
        if let (Some(admin), Some(asker)) = (&mut self.admin, asked_by) {
            admin.send_deferred(asker, &refusal);
        }
    }

    /// Becomes the other program, if one is due, or makes room for it. Returns only if that fails.
    pub(super) fn upgrade(&mut self) {
        let Some(due) = self.upgrade_due.take() else { return };
        // What is decided is done, and what the launcher has said is known: what is not heard now is lost with it.
        self.now = Instant::now();
        self.handle_answers();
        self.settle();
        self.tell_manager();
        if self.store.has_unsent() {
            if self.now < due.wait_until {
                self.upgrade_due = Some(due);
                return;
            }
            log::warn!("the service manager does not read what is stored; some of it is lost");
        }
        self.look_after_dump();
        self.break_dump_off();
        let Due { aim, program, asked_by, .. } = due;
        if aim == Aim::HandOver {
            self.hand_over(asked_by);
        }
        let mut kept = InheritedFds::default();
        let state = self.write_down(&mut kept, asked_by);
        let error = program.execute(&state, &self.brain, &kept);
        self.refuse_upgrade(&program, asked_by, &format!("it cannot be executed: {error}"));
    }

    /// Ends without a word to players and games: their connections are lost, and they come back to the next daemon.
    fn hand_over(&mut self, asked_by: Option<PendingReply>) -> ! {
        self.note_handover();
        log::info!("handed over games={}; the next daemon goes on", self.games.living_count());
        let done =
            Done { done: "handed over: the next daemon goes on".to_owned(), warnings: Vec::new() };
        let answer = serde_json::to_string(&done).unwrap_or_default();
        if let (Some(admin), Some(asker)) = (&mut self.admin, asked_by) {
            admin.send_deferred(asker, &answer);
        }
        // Not by way of main: nothing that the games work in is to be taken away.
        std::process::exit(service::HANDED_OVER)
    }

    fn write_down(&self, kept: &mut InheritedFds, asked_by: Option<PendingReply>) -> State {
        State {
            format: FORMAT,
            version: VERSION.to_owned(),
            written: Instant::now(),
            started: self.started,
            places: Some(self.config.places()),
            listener: self.listener.socket().map(|socket| kept.keep(socket)),
            admin: self.admin.as_ref().map(|admin| admin.save(kept)),
            clients: self.clients.save(kept),
            games: self.games.save(kept),
            doors: self.doors.save(),
            launcher: self.launcher.save(),
            templates: self.templates.save(kept),
            reports: self.reports.save(),
            stop_was_asked: self.stop_was_asked,
            upgrades: self.counts.upgrades,
            journal: self.journal.as_ref().map(|journal| journal.save(kept)),
            resolved: self.resolved(),
            asked_by,
        }
    }

    /// Goes on where the program before this one left off, by its state.
    ///
    /// # Errors
    /// When the state is not understood, or a descriptor is missing or cannot be watched.
    pub(crate) fn resume(
        mut config: Config,
        signals: Signals,
        store: Store,
        text: &[u8],
    ) -> Result<Self, StateError> {
        let poll = Poll::new()?;
        let registry = poll.registry();
        let halves = Halves::of(text)?;
        let (others, brain) = side_by_side(
            || {
                let mut state = State::read(halves)?;
                let clients = std::mem::take(&mut state.clients);
                Ok::<_, StateError>((Clients::restore(clients, registry)?, state))
            },
            || read_brain(halves),
        );
        let (mut brain, (clients, state)) = (brain?, others?);
        state.fit(&mut brain, &mut config)?;
        names::keep_resolved(&mut config, state.resolved);
        let lost_timeout = config.limits.lost_timeout;
        let listener = match state.listener {
            Some(listener) => {
                Listener::take(take(listener, "the listening socket")?, lost_timeout)?
            }
            None => Listener::absent(config.listen.tcp, lost_timeout),
        };
        let games = Games::restore(state.games, registry)?;
        let admin = state.admin.map(|admin| AdminSocket::restore(admin, registry)).transpose()?;
        let parts = Parts {
            brain,
            clients,
            doors: Doors::restore(state.doors, config.ports.public_addresses()),
            launcher: Launcher::resume(&config, state.launcher),
            listener,
            store,
            templates: Templates::restore(state.templates, registry)?,
            reports: Reports::restore(state.reports, config.reports.keep),
            started: state.started,
            games,
            admin,
            poll,
        };
        let mut server = Self::assemble(config, signals, parts)?;
        server.stop_was_asked = state.stop_was_asked;
        server.journal = state.journal.as_ref().map(Journal::restore).transpose()?;
        server.cut_journal_off()?;
        let pause = state.written.elapsed();
        server.counts.upgrades = state.upgrades + 1;
        server.counts.upgrade_pause = pause;
        server.reap();
        let clients = server.clients.ids();
        clients.iter().for_each(|&id: &ConnectionId| server.set_client_deadline(id));
        let upgraded = Upgraded {
            from: state.version,
            to: VERSION.to_owned(),
            pid: std::process::id(),
            gap_us: u64::try_from(pause.as_micros()).unwrap_or(u64::MAX),
        };
        log::info!(
            "upgraded from={} to={} clients={} games={} gap={}",
            upgraded.from,
            upgraded.to,
            clients.len(),
            server.games.living_count(),
            Span(pause)
        );
        let answer = serde_json::to_string(&upgraded).unwrap_or_default();
        if let (Some(admin), Some(asker)) = (&mut server.admin, state.asked_by) {
            admin.send_deferred(asker, &answer);
        }
        Ok(server)
    }
}

/// What wakes the loop for a thread.
///
/// # Errors
/// When there is no descriptor.
pub(super) fn waker(poll: &Poll) -> std::io::Result<Arc<Waker>> {
    Waker::new(poll.registry(), tokens::WAKER).map(Arc::new)
}
