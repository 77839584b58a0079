//! The preflight: the new program reads a copy of the snapshot, as a child, and says whether it can continue with it.
//!
//! A file that is no program, or a program that lacks a library, does not understand the snapshot or the configuration,
//! panics or hangs, is found here, where that costs nothing. A thread waits for it, so that the loop does not.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use brain::{Brain, Exit};
use crossbeam_channel::{Receiver, Sender, bounded};
use mio::Waker;
use nix::libc::SIGKILL;
use process::{Ended, Pidfd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::exec::{Program, write_snapshot};
use super::snapshot::Snapshot;
use crate::clock::Instant;
use crate::games::processes::exit_of;
use crate::notify::WATCHDOG_VARIABLES;
use crate::notify::outbox::NOTIFY_SOCKET;
use crate::operators::socket::PendingReply;
use crate::store;
use crate::units::Span;
use crate::worker::{Next, Reporter, Worker};

/// The subcommand that the new program is called with, in place of `serve`.
pub(crate) const COMMAND: &str = "preflight";

/// The last line of a program that can continue.
const PASSED: &str = "muster preflight: passed";

/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that are kept of other output.
const OUTPUT_MAX: usize = 2048;

/// What the program is tried out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// This process executes it.
    Execute,
    /// This process ends, and the service manager or the keeper starts the program.
    HandOver,
}

/// A preflight, as the loop sees it.
pub(crate) struct Preflight {
    pub(crate) aim: Aim,
    pub(crate) program: Program,
    pub(crate) asked_by: Option<PendingReply>,
    worker: Worker<Event>,
    /// Where to say that the launcher spares unknown children; `None`: it was said.
    held: Option<Sender<()>>,
    pid: Option<i32>,
    /// Children that were reaped and are unknown otherwise: one of them may be the new program.
    reaped: Vec<Ended>,
    outcome: Option<Result<(), PreflightError>>,
}

/// What the thread reports.
enum Event {
    Spawned(i32),
    Over(Result<(), PreflightError>),
}

/// What the loop has to do.
pub(crate) enum Step {
    /// The child exists, or will not: the launcher may kill unknown children again, but for this one.
    Release(Option<i32>),
    /// It is over. The pid, if there was one, is free.
    Over { pid: Option<i32>, verdict: Result<(), Unfit> },
}

/// Why a program has not passed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreflightError {
    #[error("cannot {attempt}: {source}")]
    Prepare { attempt: &'static str, source: io::Error },
    #[error("the launcher is not there; try again")]
    NoLauncher,
    #[error("it did not answer within {}", Span(TIMEOUT))]
    TimedOut,
    #[error("cannot read what it prints: {0}")]
    Read(io::Error),
    #[error("it ended without output")]
    Silent,
    /// What it printed instead.
    #[error("{0}")]
    Printed(String),
    #[error("the thread that waits for it has ended")]
    Lost,
}

/// Why a program has not passed, and how it ended, where it has.
#[derive(Debug)]
pub(crate) struct Unfit {
    error: PreflightError,
    exit: Option<Exit>,
}

impl Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)?;
        self.exit.map_or(Ok(()), |exit| write!(f, " ({exit})"))
    }
}

impl Preflight {
    /// Begins. The child is made once [`set_held`](Self::set_held) was called.
    ///
    /// # Errors
    /// When there is no thread, or no descriptor.
    pub(crate) fn begin(
        (aim, program): (Aim, Program),
        asked_by: Option<PendingReply>,
        snapshot: Snapshot,
        brain: Brain,
        waker: Arc<Waker>,
    ) -> io::Result<Self> {
        let (held, is_held) = bounded(1);
        let file = program.file().try_clone_to_owned()?;
        let name = program.path.clone().into_os_string();
        let worker = Worker::spawn("preflight", Some(waker), move |reporter| {
            let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
            command.arg0(name).arg(COMMAND).args(std::env::args_os().skip(2));
            // The service manager's variables are for the daemon alone.
            for variable in
                store::VARIABLES.into_iter().chain(WATCHDOG_VARIABLES).chain([NOTIFY_SOCKET])
            {
                command.env_remove(variable);
            }
            let outcome = run(&mut command, (&snapshot, &brain), &is_held, reporter);
            reporter.send(Event::Over(outcome));
        })?;
        let held = Some(held);
        let (pid, reaped, outcome) = (None, Vec::new(), None);
        Ok(Self { aim, program, asked_by, worker, held, pid, reaped, outcome })
    }

    /// The launcher spares unknown children from here on.
    pub(crate) fn set_held(&mut self) {
        if let Some(held) = self.held.take() {
            let _ = held.send(());
        }
    }

    /// Whether the launcher has to spare unknown children before the child is made.
    pub(crate) fn is_to_be_held(&self) -> bool {
        self.held.is_some()
    }

    /// A child was reaped that is no game.
    pub(crate) fn note_end(&mut self, ended: Ended) {
        self.reaped.push(ended);
    }

    /// What to do next, until there is nothing.
    pub(crate) fn next_step(&mut self) -> Option<Step> {
        let report = match self.worker.next() {
            Next::Report(report) => Some(report),
            Next::Ended if self.outcome.is_none() => Some(Event::Over(Err(PreflightError::Lost))),
            Next::Pending | Next::Ended => None,
        };
        match report {
            Some(Event::Spawned(pid)) => {
                self.pid = Some(pid);
                return Some(Step::Release(Some(pid)));
            }
            Some(Event::Over(outcome)) => {
                self.outcome = Some(outcome);
                if self.pid.is_none() {
                    return Some(Step::Release(None));
                }
            }
            None => {}
        }
        let pid = self.pid;
        let ended = self.reaped.iter().find(|ended| Some(ended.pid) == pid);
        if pid.is_some() && ended.is_none() {
            return None;
        }
        let exit = ended.map(exit_of);
        let verdict = self.outcome.take()?.map_err(|error| Unfit { error, exit });
        Some(Step::Over { pid, verdict })
    }
}

/// What a program prints that can continue.
pub(crate) fn passed() -> impl Display {
    format!("{PASSED}\n")
}

/// Makes the child, and reads what it prints.
fn run(
    command: &mut Command,
    (snapshot, brain): (&Snapshot, &Brain),
    is_held: &Receiver<()>,
    reporter: &Reporter<Event>,
) -> Result<(), PreflightError> {
    let deadline = Instant::now() + TIMEOUT;
    let failed = |attempt: &'static str| move |source| PreflightError::Prepare { attempt, source };
    let copy = write_snapshot(snapshot, brain).map_err(failed("write the snapshot"))?;
    let (ours, theirs) = io::pipe().map_err(failed("make a pipe"))?;
    is_held.recv_timeout(TIMEOUT).map_err(|_| PreflightError::NoLauncher)?;
    let both = theirs.try_clone().map_err(failed("make a pipe"))?;
    command.stdin(copy).stdout(theirs).stderr(both);
    let child = command.spawn().map_err(failed("execute it"))?;
    // The command holds the pipe's other end.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let pid = i32::try_from(child.id()).unwrap_or_default();
    let process = Pidfd::open(pid).ok();
    reporter.send(Event::Spawned(pid));
    let output = read_output(&mut File::from(OwnedFd::from(ours)), deadline);
    if output.is_err()
        && let Some(process) = process
    {
        // `false`: it has ended meanwhile.
        let _ = process.signal(SIGKILL);
    }
    let output = output?;
    match output.trim_end().lines().next_back() {
        Some(PASSED) => Ok(()),
        Some(_) => Err(PreflightError::Printed(output.trim().replace('\n', "; "))),
        None => Err(PreflightError::Silent),
    }
}

/// Reads a program's output to its end, and keeps the last bytes of it.
fn read_output(pipe: &mut File, deadline: Instant) -> Result<String, PreflightError> {
    let mut output = Vec::new();
    let mut chunk = [0; OUTPUT_MAX];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Err(PreflightError::TimedOut),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(PreflightError::Read(error.into())),
            Ok(_) => {}
        }
        match pipe.read(&mut chunk) {
            Ok(0) => return Ok(String::from_utf8_lossy(&output).into_owned()),
            Ok(read) => output.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(PreflightError::Read(error)),
        }
        output.drain(..output.len().saturating_sub(OUTPUT_MAX));
    }
}
