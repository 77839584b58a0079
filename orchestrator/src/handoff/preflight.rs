//! The preflight: the new program reads a copy of the state, as a child, and says whether it can go on with it.
//!
//! A program that is no program, lacks a library, does not understand the state or the configuration, panics or hangs
//! is found out here, where that costs nothing. A thread waits for it, so that the loop does not.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use matchmaker::Matchmaker;
use mio::Waker;
use process::Ended;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::exec::{Program, write_down};
use super::snapshot::State;
use crate::clock::Instant;
use crate::games::processes;
use crate::notify::WATCHDOG_VARIABLES;
use crate::notify::outbox::NOTIFY_SOCKET;
use crate::operators::socket::PendingReply;
use crate::store;
use crate::units::Span;

/// The subcommand that the new program is called with, in place of `serve`.
pub(crate) const COMMAND: &str = "preflight";

/// What a program says last that can go on.
const PASSED: &str = "muster preflight: passed";

/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is kept of what a program says instead.
const WORDS_MAX: usize = 2048;

/// What for a program is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// This process executes it.
    Execute,
    /// This process ends, and whoever keeps it starts the program.
    HandOver,
}

/// A preflight that is under way, as the loop sees it.
pub(crate) struct Preflight {
    pub(crate) aim: Aim,
    pub(crate) program: Program,
    pub(crate) asked_by: Option<PendingReply>,
    events: Receiver<Event>,
    held: Option<Sender<()>>,
    pid: Option<i32>,
    /// Children that were reaped and that nobody else knows: one of them may be the new program.
    reaped: Vec<Ended>,
    verdict: Option<Result<(), String>>,
}

/// What the thread tells.
enum Event {
    Spawned(i32),
    Over(Result<(), String>),
}

/// What the loop is to do.
pub(crate) enum Step {
    /// The child exists, or will not: others may be killed again for being unknown.
    Release(Option<i32>),
    /// It is over. The pid, if there was one, means nothing any more.
    Over { pid: Option<i32>, verdict: Result<(), String> },
}

impl Preflight {
    /// Begins, with a state of its own. The child is made when [`set_held`](Self::set_held) has been called.
    ///
    /// # Errors
    /// When there is no thread, or no descriptor.
    pub(crate) fn begin(
        aim: Aim,
        program: Program,
        asked_by: Option<PendingReply>,
        state: State,
        brain: Matchmaker,
        waker: Arc<Waker>,
    ) -> io::Result<Self> {
        let (tell, events) = mpsc::channel();
        let (held, is_held) = mpsc::channel();
        let file = program.file().try_clone_to_owned()?;
        let name = program.path.clone().into_os_string();
        let tell = move |event| {
            // The loop is there for as long as the process is.
            let _ = tell.send(event);
            let _ = waker.wake();
        };
        std::thread::Builder::new().name("preflight".into()).spawn(move || {
            let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
            command.arg0(name).arg(COMMAND).args(std::env::args_os().skip(2));
            // What the service manager says is said to the daemon.
            for variable in
                store::VARIABLES.into_iter().chain(WATCHDOG_VARIABLES).chain([NOTIFY_SOCKET])
            {
                command.env_remove(variable);
            }
            let verdict = run(&mut command, (&state, &brain), &is_held, &tell);
            tell(Event::Over(verdict));
        })?;
        let (pid, reaped, verdict) = (None, Vec::new(), None);
        Ok(Self { aim, program, asked_by, events, held: Some(held), pid, reaped, verdict })
    }

    /// Nobody kills a child for being unknown.
    pub(crate) fn set_held(&mut self) {
        if let Some(held) = self.held.take() {
            let _ = held.send(());
        }
    }

    /// Whether the child is not made yet, for somebody might kill it.
    pub(crate) fn is_to_be_held(&self) -> bool {
        self.held.is_some()
    }

    /// A child was reaped that is no game.
    pub(crate) fn note_end(&mut self, ended: Ended) {
        self.reaped.push(ended);
    }

    /// What to do next, until there is nothing.
    pub(crate) fn next_step(&mut self) -> Option<Step> {
        match self.events.try_recv() {
            Ok(Event::Spawned(pid)) => {
                self.pid = Some(pid);
                return Some(Step::Release(Some(pid)));
            }
            Ok(Event::Over(verdict)) => {
                self.verdict = Some(verdict);
                if self.pid.is_none() {
                    return Some(Step::Release(None));
                }
            }
            Err(_) => {}
        }
        let pid = self.pid;
        let ended = self.reaped.iter().find(|ended| Some(ended.pid) == pid);
        if pid.is_some() && ended.is_none() {
            return None;
        }
        let verdict = self.verdict.take()?.map_err(|words| match ended {
            Some(ended) => format!("{words} ({})", processes::exit_of(ended)),
            None => words,
        });
        Some(Step::Over { pid, verdict })
    }
}

/// What the new program says when it can go on.
pub(crate) fn passed() -> impl Display {
    format!("{PASSED}\n")
}

/// Makes the child, and hears what it says.
fn run(
    command: &mut Command,
    (state, brain): (&State, &Matchmaker),
    is_held: &Receiver<()>,
    tell: &impl Fn(Event),
) -> Result<(), String> {
    let deadline = Instant::now() + TIMEOUT;
    let failed =
        |attempt: &'static str| move |error: io::Error| format!("cannot {attempt}: {error}");
    let copy = write_down(state, brain).map_err(failed("write the state down"))?;
    let (ours, its) = io::pipe().map_err(failed("make a pipe"))?;
    is_held.recv_timeout(TIMEOUT).map_err(|_| "the launcher is not there; try again".to_owned())?;
    let both = its.try_clone().map_err(failed("make a pipe"))?;
    command.stdin(copy).stdout(its).stderr(both);
    let child = command.spawn().map_err(failed("execute it"))?;
    // The command holds the pipe's other end.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let pid = i32::try_from(child.id()).unwrap_or_default();
    let process = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    tell(Event::Spawned(pid));
    let words = hear(&mut File::from(OwnedFd::from(ours)), deadline);
    if words.is_err()
        && let Some(process) = process
    {
        // ESRCH: it has ended meanwhile.
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
    let words = words?;
    match words.trim_end().lines().next_back() {
        Some(PASSED) => Ok(()),
        Some(_) => Err(words.trim().replace('\n', "; ")),
        None => Err("it ended without a word".to_owned()),
    }
}

/// All that is said, to its end; of much, the end.
fn hear(pipe: &mut File, deadline: Instant) -> Result<String, String> {
    let mut words = Vec::new();
    let mut chunk = [0; WORDS_MAX];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap_or_default();
        let heard = poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&left));
        match heard {
            Ok(0) => return Err(format!("it did not answer within {}", Span(TIMEOUT))),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(format!("cannot hear it: {error}")),
            Ok(_) => {}
        }
        match pipe.read(&mut chunk) {
            Ok(0) => return Ok(String::from_utf8_lossy(&words).into_owned()),
            Ok(read) => words.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(format!("cannot hear it: {error}")),
        }
        words.drain(..words.len().saturating_sub(WORDS_MAX));
    }
}
