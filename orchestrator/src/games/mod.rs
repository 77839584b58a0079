//! The owner of games: their records, processes and reports, the templates, and the launcher that makes the processes.
//!
//! The loop performs the brain's actions on games through [`Games`], which turns what happens to processes into inputs.

pub(crate) mod control;
mod failures;
pub(crate) mod keys;
pub(crate) mod launcher;
pub(crate) mod output;
pub(crate) mod processes;
pub(crate) mod record;
pub(crate) mod reports;
pub(crate) mod screen;
pub(crate) mod stop_reason;
#[cfg(feature = "stub-games")]
mod stub;
mod supervisor;
pub(crate) mod templates;
mod watchdog;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::BorrowedFd;

use ::launcher::InitialPlayers;
use brain::{GameId, ModeId};
use mio::Registry;
use nix::sys::signal::Signal;
use process::Ended;
use protocol::ToGame;

use self::keys::{KeyChange, NetcodeKeys};
use self::launcher::Launcher;
use self::processes::Processes;
use self::record::{GameRecord, GameRecords};
use self::reports::Reports;
use self::templates::Templates;
use crate::clock::Instant;
use crate::config::{Config, Program};
use crate::turn::Turn;

pub(crate) use supervisor::News;

/// All games.
pub(crate) struct Games {
    records: GameRecords,
    processes: Processes,
    reports: Reports,
    templates: Templates,
    launcher: Launcher,
    /// Children that died while launches were on order, with the last of these: one of them may be the process of a
    /// launch up to that.
    unclaimed: HashMap<i32, (Ended, GameId)>,
    /// The last failure of a game, by mode.
    failures: BTreeMap<ModeId, String>,
    #[cfg(feature = "stub-games")]
    stubs: std::collections::HashSet<GameId>,
}

/// The questions of the owner of games about a game's phase.
pub(crate) trait GamePhases {
    /// Whether the game has still to start.
    fn awaits_start(&self, game: GameId) -> bool;
    /// Whether the game is being ended.
    fn is_stopping(&self, game: GameId) -> bool;
    /// Whether other processes of the game may finish after its own.
    fn may_end_in_peace(&self, game: GameId) -> bool;
    /// Whether the games of a mode keep failing.
    fn is_failing(&self, mode: ModeId) -> bool;
}

/// The saved state of a previous daemon, or nothing.
pub(crate) struct GameParts {
    pub(crate) records: GameRecords,
    pub(crate) processes: Processes,
    pub(crate) reports: Reports,
    pub(crate) templates: Templates,
    pub(crate) launcher: Launcher,
}

impl Games {
    pub(crate) fn new(parts: GameParts) -> Self {
        let GameParts { records, processes, reports, templates, launcher } = parts;
        Self {
            records,
            processes,
            reports,
            templates,
            launcher,
            unclaimed: HashMap::new(),
            failures: BTreeMap::new(),
            #[cfg(feature = "stub-games")]
            stubs: std::collections::HashSet::new(),
        }
    }

    // ---- What is known ----

    pub(crate) fn records(&self) -> &GameRecords {
        &self.records
    }

    pub(crate) fn records_mut(&mut self) -> &mut GameRecords {
        &mut self.records
    }

    pub(crate) fn record(&self, game: GameId) -> Option<&GameRecord> {
        self.records.get(game)
    }

    pub(crate) fn processes(&self) -> &Processes {
        &self.processes
    }

    pub(crate) fn reports(&self) -> &Reports {
        &self.reports
    }

    pub(crate) fn reports_mut(&mut self) -> &mut Reports {
        &mut self.reports
    }

    pub(crate) fn templates(&self) -> &Templates {
        &self.templates
    }

    pub(crate) fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    pub(crate) fn launcher_mut(&mut self) -> &mut Launcher {
        &mut self.launcher
    }

    /// The program that a game was launched as; of a game that is unknown, the one that its mode launches.
    pub(crate) fn program<'a>(
        &self,
        config: &'a Config,
        game: GameId,
        mode: ModeId,
    ) -> &'a Program {
        let launched = self.records.get(game).and_then(|it| config.programs.get(it.program));
        launched.unwrap_or_else(|| config.program_of(mode))
    }

    /// The pid and the descriptors of a game's process, to be stored. `None`: it has none, or has ended already.
    pub(crate) fn stored(&self, game: GameId) -> Option<(i32, Vec<BorrowedFd<'_>>)> {
        let process = self.processes.get(game)?;
        Some((process.pid, process.descriptors()?))
    }

    /// The netcode keys of a game, if it speaks netcode.
    pub(crate) fn keys(&self, game: GameId) -> Option<&NetcodeKeys> {
        self.records.get(game)?.netcode.as_ref()
    }

    pub(crate) fn change_keys(&mut self, game: GameId, change: KeyChange) {
        self.records.change_keys(game, change);
    }

    // ---- Actions ----

    /// Orders the process of a game, whose record exists already.
    pub(crate) fn launch(&mut self, config: &Config, game: GameId, players: InitialPlayers) {
        let Some(record) = self.records.get(game) else { return };
        let (program, port) = (record.program, record.port);
        self.launcher.launch(game, program, (port, config.ports.bind_addresses()), players);
    }

    /// Sends a game a message. `false`: its channel is closed, or it does not read.
    pub(crate) fn send(&mut self, game: GameId, message: &ToGame, registry: &Registry) -> bool {
        let process = self.processes.get_mut(game);
        process.is_none_or(|process| process.control.tell(message, registry, game))
    }

    /// Asks all processes of a game to end.
    pub(crate) fn terminate(&mut self, game: GameId) {
        let has_group_heard = self.processes.terminate(game);
        self.launcher.terminate(game, has_group_heard);
    }

    /// Kills all processes of a game.
    pub(crate) fn kill(&mut self, game: GameId, phases: &dyn GamePhases) {
        self.signal(game, Signal::SIGKILL, phases);
        self.launcher.purge(game);
    }

    fn signal(&mut self, game: GameId, signal: Signal, phases: &dyn GamePhases) {
        if !self.processes.signal(game, signal) {
            self.clean_up(game, phases);
        }
    }

    /// Nothing of a game is left, and the brain knows it.
    pub(crate) fn remove(&mut self, game: GameId) {
        self.processes.remove(game);
    }

    // ---- Time and fairness ----

    /// When there is something to do next, if nothing happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let processes = [self.processes.next_deadline(), self.processes.next_pause()];
        processes.into_iter().chain([self.launcher.next_deadline()]).flatten().min()
    }

    /// Whether something was left undone for fairness.
    pub(crate) fn has_ready(&self) -> bool {
        self.processes.has_ready() || self.templates.has_ready()
    }

    /// Does what is due, but for a new launcher: see [`restart_launcher`](Self::restart_launcher).
    pub(crate) fn handle_deadlines(&mut self, turn: &mut Turn<'_>) {
        self.launcher.look_after(turn.now);
        self.processes.wake(turn.now);
        self.read_paused(turn);
    }

    /// Starts another launcher, if there is none and it is time. Whether it did.
    pub(crate) fn restart_launcher(&mut self, turn: &mut Turn<'_>) -> bool {
        if !self.launcher.restart(turn.now, self.records.living()) {
            return false;
        }
        if let Err(error) = self.launcher.register(turn.registry) {
            log::error!("cannot watch the launcher: {error}");
        }
        true
    }
}
