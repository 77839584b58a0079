//! The loop's part of upgrades, handovers and the journal.

use std::path::PathBuf;

use protocol::admin::{Done, Refusal};
use service::HANDED_OVER;

use super::Server;
use crate::clock::Instant;
use crate::handoff::descriptors::{FORMAT, InheritedFds};
use crate::handoff::journal::Record;
use crate::handoff::preflight::Aim;
use crate::handoff::snapshot::{Durable, Live, Snapshot};
use crate::handoff::upgrade::{DueUpgrade, PreflightStep, RefusedUpgrade, UpgradeError};
use crate::operators::socket::PendingReply;

/// This program's version.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Server {
    // ---- Snapshots ----

    /// What outlives this process.
    pub(super) fn durable_snapshot(&self) -> Snapshot {
        let durable = Durable {
            started: self.started,
            places: self.config.places(),
            stop_was_asked: self.handoff.stop_was_asked(),
            games: self.games.records().clone(),
            reports: self.games.reports().save(),
            work_directory: self.games.launcher().work_directory().to_owned(),
            resolved: self.resolved(),
        };
        Snapshot { format: FORMAT, version: VERSION.to_owned(), durable, live: None }
    }

    /// All that another program needs in this process.
    fn live_snapshot(&self, kept: &mut InheritedFds, asked_by: Option<PendingReply>) -> Snapshot {
        let live = Live {
            written: Instant::now(),
            listener: self.players.listener().socket().map(|socket| kept.keep(socket)),
            admin: self.admin.as_ref().map(|admin| admin.save(kept)),
            connections: self.players.save(kept),
            processes: self.games.processes().save(kept),
            launcher: self.games.launcher().save(),
            templates: self.games.templates().save(kept),
            upgrades: self.counts.upgrades,
            journal: self.handoff.save_journal(kept),
            asked_by,
        };
        Snapshot { live: Some(live), ..self.durable_snapshot() }
    }

    /// Begins the journal, where the configuration has one.
    pub(super) fn begin_journal(&mut self) {
        if self.config.crash_safe {
            let snapshot = self.durable_snapshot();
            self.handoff.begin_journal(&snapshot, &self.brain);
        }
    }

    /// Compacts the journal where it is long.
    pub(super) fn tend_journal(&mut self) {
        if self.handoff.poll_journal() {
            let snapshot = self.durable_snapshot();
            self.handoff.begin_snapshot(snapshot, self.brain.clone());
        }
    }

    // ---- Upgrades ----

    /// Begins an upgrade to a program, or a handover. What comes of it is answered later.
    ///
    /// # Errors
    /// Why it cannot even be tried.
    pub(super) fn begin_upgrade(
        &mut self,
        aim: Aim,
        binary: Option<PathBuf>,
        asked_by: Option<PendingReply>,
    ) -> Result<(), UpgradeError> {
        let program = self.handoff.open_program(aim, binary)?;
        let snapshot = self.live_snapshot(&mut InheritedFds::default(), None);
        let brain = self.brain.clone();
        self.handoff.begin_preflight((aim, program), asked_by, snapshot, brain)?;
        self.games.launcher_mut().hold();
        Ok(())
    }

    pub(super) fn upgrade_on_signal(&mut self) {
        if let Err(error) = self.begin_upgrade(Aim::Execute, None, None) {
            log::error!("upgrade refused: {error}");
        }
    }

    /// Does what the preflight needs.
    pub(super) fn tend_preflight(&mut self) {
        while let Some(step) = self.handoff.next_preflight_step() {
            match step {
                PreflightStep::Release(spared) => self.games.launcher_mut().release(spared),
                PreflightStep::Over { pid, refused } => {
                    pid.into_iter().for_each(|pid| self.games.launcher_mut().forget(pid));
                    refused.into_iter().for_each(|refused| self.refuse_upgrade(&refused));
                }
            }
        }
    }

    fn refuse_upgrade(&mut self, refused: &RefusedUpgrade) {
        let error = refused.report();
        let refusal = serde_json::to_string(&Refusal { error }).unwrap_or_default();
        self.answer_asker(refused.asked_by, &refusal);
    }

    /// Answers an operator who waits.
    pub(super) fn answer_asker(&mut self, asked_by: Option<PendingReply>, answer: &str) {
        if let (Some(admin), Some(asker)) = (&mut self.admin, asked_by) {
            admin.send_deferred(asker, answer);
        }
    }

    /// Becomes the other program, if one is due, or makes room for it. Returns only if that fails.
    pub(super) fn upgrade(&mut self) {
        let Some(due) = self.handoff.take_due() else { return };
        // What is decided is done, and what the launcher has answered is read: what is not read now is lost.
        self.now = Instant::now();
        self.handle_answers();
        self.settle();
        self.tell_manager();
        if self.handoff.has_unsent() {
            if self.now < due.wait_until {
                return self.handoff.postpone(due);
            }
            log::warn!("the service manager does not read what is stored; some of it is lost");
        }
        self.look_after_dump();
        self.break_dump_off();
        let DueUpgrade { aim, program, asked_by, .. } = due;
        if aim == Aim::HandOver {
            self.hand_over(asked_by);
        }
        let mut kept = InheritedFds::default();
        let snapshot = self.live_snapshot(&mut kept, asked_by);
        let error = program.execute(&snapshot, &self.brain, &kept);
        self.refuse_upgrade(&RefusedUpgrade::execute(program, asked_by, error));
    }

    /// Ends without a message to players and games: their connections are lost, and they reconnect to the next daemon.
    fn hand_over(&mut self, asked_by: Option<PendingReply>) -> ! {
        self.handoff.note(|| Record::HandedOver);
        let games = self.games.processes().living_count();
        log::info!("handed over games={games}; the next daemon takes over");
        let done = Done {
            done: "handed over: the next daemon takes over".to_owned(),
            warnings: Vec::new(),
        };
        let answer = serde_json::to_string(&done).unwrap_or_default();
        self.answer_asker(asked_by, &answer);
        // Not by way of main: the games' working directories have to stay.
        std::process::exit(HANDED_OVER)
    }
}
