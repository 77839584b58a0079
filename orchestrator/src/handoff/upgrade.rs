//! Upgrading in place: from the request through the preflight to the exec. A handover is the same up to the exec: this
//! process ends there, and the service manager or the keeper starts the program, which recovers as after a crash.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use brain::Brain;
use process::Ended;

use super::Handoff;
use super::exec::{Program, ProgramError};
use super::preflight::{Aim, Preflight, Step, Unfit};
use super::snapshot::Snapshot;
use crate::clock::Instant;
use crate::operators::socket::PendingReply;

/// How long an upgrade waits for the store.
const STORE_WAIT_MAX: Duration = Duration::from_secs(2);

/// A program that has passed its preflight.
pub(crate) struct DueUpgrade {
    pub(crate) aim: Aim,
    pub(crate) program: Program,
    pub(crate) asked_by: Option<PendingReply>,
    /// How long it waits for the store to take what it had no room for.
    pub(crate) wait_until: Instant,
}

/// Why an upgrade or a handover is not even tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    #[error("a signal told the daemon to stop")]
    StopAsked,
    #[error(
        "nobody keeps the state for the next daemon: that takes systemd's descriptor store (FileDescriptorStoreMax=) or \
         muster serve --keep, and state.crash_safe"
    )]
    NotKept,
    #[error("another upgrade is under way")]
    UnderWay,
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("cannot try the program out: {0}")]
    Preflight(io::Error),
}

/// An upgrade that was begun and came to nothing.
pub(crate) struct RefusedUpgrade {
    program: Program,
    reason: RefusalReason,
    /// The operator who asked for it, and waits for an answer.
    pub(crate) asked_by: Option<PendingReply>,
}

enum RefusalReason {
    Unfit(Unfit),
    Execute(io::Error),
}

/// What the loop has to do for a preflight.
pub(crate) enum PreflightStep {
    /// [`Step::Release`].
    Release(Option<i32>),
    /// It is over, and this pid is free.
    Over { pid: Option<i32>, refused: Option<RefusedUpgrade> },
}

impl Handoff {
    /// Opens the program of an upgrade or a handover.
    ///
    /// # Errors
    /// Why it cannot be tried.
    pub(crate) fn open_program(
        &self,
        aim: Aim,
        binary: Option<PathBuf>,
    ) -> Result<Program, UpgradeError> {
        if aim == Aim::HandOver && self.stop_was_asked {
            return Err(UpgradeError::StopAsked);
        }
        if aim == Aim::HandOver && self.journal.is_none() {
            return Err(UpgradeError::NotKept);
        }
        if self.preflight.is_some() || self.due.is_some() {
            return Err(UpgradeError::UnderWay);
        }
        Ok(Program::open(binary)?)
    }

    /// Begins the preflight of a program. The launcher has to spare unknown children before the child is made: see
    /// [`set_held`](Self::set_held).
    ///
    /// # Errors
    /// Why it cannot be tried.
    pub(crate) fn begin_preflight(
        &mut self,
        (aim, program): (Aim, Program),
        asked_by: Option<PendingReply>,
        snapshot: Snapshot,
        brain: Brain,
    ) -> Result<(), UpgradeError> {
        let what = match aim {
            Aim::Execute => "upgrade",
            Aim::HandOver => "handover",
        };
        log::info!("{what} asked for binary={}", program.path.display());
        let waker = Arc::clone(&self.waker);
        let preflight = Preflight::begin((aim, program), asked_by, snapshot, brain, waker)
            .map_err(UpgradeError::Preflight)?;
        self.preflight = Some(preflight);
        Ok(())
    }

    /// The launcher spares unknown children from here on.
    pub(crate) fn set_held(&mut self) {
        self.preflight.iter_mut().for_each(Preflight::set_held);
    }

    /// Whether a new launcher has to be asked to spare unknown children.
    pub(crate) fn is_to_be_held(&self) -> bool {
        self.preflight.as_ref().is_some_and(Preflight::is_to_be_held)
    }

    /// A child was reaped that is no game.
    pub(crate) fn note_end(&mut self, ended: Ended) {
        if let Some(preflight) = &mut self.preflight {
            preflight.note_end(ended);
        }
    }

    /// What there is to do for the preflight, until there is nothing.
    pub(crate) fn next_preflight_step(&mut self) -> Option<PreflightStep> {
        match self.preflight.as_mut()?.next_step()? {
            Step::Release(spared) => Some(PreflightStep::Release(spared)),
            Step::Over { pid, verdict } => {
                let Preflight { aim, program, asked_by, .. } = self.preflight.take()?;
                let refused = match verdict {
                    Ok(()) => {
                        let wait_until = Instant::now() + STORE_WAIT_MAX;
                        self.due = Some(DueUpgrade { aim, program, asked_by, wait_until });
                        None
                    }
                    Err(unfit) => {
                        let reason = RefusalReason::Unfit(unfit);
                        Some(RefusedUpgrade { program, reason, asked_by })
                    }
                };
                Some(PreflightStep::Over { pid, refused })
            }
        }
    }

    /// Takes the upgrade that is due.
    pub(crate) fn take_due(&mut self) -> Option<DueUpgrade> {
        self.due.take()
    }

    /// Puts an upgrade back, for the next turn.
    pub(crate) fn postpone(&mut self, due: DueUpgrade) {
        self.due = Some(due);
    }
}

impl RefusedUpgrade {
    /// A program that could not be executed.
    pub(crate) fn execute(
        program: Program,
        asked_by: Option<PendingReply>,
        error: io::Error,
    ) -> Self {
        Self { program, reason: RefusalReason::Execute(error), asked_by }
    }

    /// Logs it; what the operator is told.
    pub(crate) fn report(&self) -> String {
        let (binary, reason) = (self.program.path.display(), &self.reason);
        log::error!("upgrade refused binary={binary}: {reason}");
        format!("{binary} is not fit to take over: {reason}")
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(unfit) => unfit.fmt(f),
            Self::Execute(error) => write!(f, "it cannot be executed: {error}"),
        }
    }
}
