//! `muster serve --keep`: a small process that starts the daemon, monitors it, and restarts it when it dies.
//!
//! It does what systemd does, with the same protocol (sd_notify(3), sd_listen_fds(3)), on hosts without systemd: it
//! receives the daemon's messages in its `mailbox`, holds the descriptors that are `stored`, and passes them to the
//! next daemon at its [`start`]; `restarts` decides when. Signals are passed on. When a daemon was killed its games
//! keep running and become the keeper's children, which only reaps them.
//!
//! One thread, one poll, and everything is bounded, as nothing monitors the keeper. A daemon that is replaced in place
//! (exec) keeps its pid, and the keeper need not notice.

#![forbid(unsafe_code)]

mod mailbox;
mod restarts;
pub mod start;
mod stored;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use log::LevelFilter;
use nix::sys::signal::Signal;
use process::{Ended, Pidfd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use service::notify::outbox::NOTIFY_SOCKET;
use service::signals::Signals;
use service::{HANDED_OVER, logging, store, units};

use self::mailbox::{Mailbox, Word};
use self::restarts::Restarts;
use self::stored::Stored;

/// How long a daemon may take to listen, and to exit after it reported that it stops, regardless of the watchdog.
const GRACE: Duration = Duration::from_secs(60);

/// The largest number of messages that are read before other events.
const WORDS_PER_TURN: usize = 1024;

/// The exit status that shells use for a killed program, plus the signal's number.
const KILLED: i32 = 128;

/// An exit status of the daemon: a resource is unavailable; sysexits.h.
const UNAVAILABLE: i32 = 69;

/// An exit status of the daemon: its arguments or its configuration are wrong, so a restart would not help.
const USAGE: i32 = 2;
const CONFIG: i32 = 78;

/// The name of the process, as `ps` shows it.
const NAME: &std::ffi::CStr = c"muster-keeper";

/// Why the keeper failed.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A service manager supervises this process already.
    #[error(
        "cannot keep the daemon: {NOTIFY_SOCKET} is set, so a service manager keeps this process \
         already; leave --keep out"
    )]
    Managed,
    /// The environment and the inherited descriptors do not agree.
    #[error(transparent)]
    Take(#[from] store::TakeError),
    /// A system call failed.
    #[error("cannot {attempt}: {source}")]
    Run {
        /// The attempted operation.
        attempt: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
}

impl KeepError {
    /// The exit codes of sysexits(3) that apply.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Managed => 2,
            Self::Take(_) => 78,
            Self::Run { .. } => 1,
        }
    }

    fn run(attempt: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Run { attempt, source }
    }
}

/// The keeper.
struct Keeper {
    signals: Signals,
    mailbox: Mailbox,
    stored: Stored,
    /// After daemons that died.
    restarts: Restarts,
    /// After daemons that exited because a resource was unavailable.
    retries: Restarts,
    /// The longest permitted silence of a daemon that listens.
    silence: Duration,
    phase: Phase,
    stop_was_asked: bool,
    /// Whether this daemon or an earlier one was ready: there can be games and positions to recover.
    was_ready: bool,
}

/// The state of the daemon.
enum Phase {
    Running(Daemon),
    /// It died; the next one is started at this time.
    Pausing(Instant),
    /// The keeper exits with this status.
    Over(i32),
}

/// A daemon that is alive, as far as is known.
struct Daemon {
    process: Pidfd,
    started: Instant,
    /// When it is killed if no message arrives.
    due: Instant,
    is_ready: bool,
    is_stopping: bool,
}

/// Keeps a daemon running, until it exits by itself or is not to be restarted. `silence` is the longest time without a
/// message of the daemon. Returns its exit status.
///
/// # Errors
/// When there is a service manager already, or a resource is unavailable.
pub fn run(silence: Duration, level: LevelFilter, config: Option<&Path>) -> Result<u8, KeepError> {
    if process::variable(NOTIFY_SOCKET).is_some() {
        return Err(KeepError::Managed);
    }
    let flaws = service::start::begin(config, false);
    // The keeper holds what the daemon stores, which exceeds the limit of most processes.
    service::raise_descriptor_limit();
    let stored = Stored::of(store::take()?);
    logging::start(level);
    flaws.tell();
    // The name is for people; without it the arguments identify the process.
    let _ = nix::sys::prctl::set_name(NAME);
    let signals = Signals::take_over().map_err(KeepError::run("take over the signals"))?;
    logging::write_in_background();
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|error| KeepError::run("become the reaper of games")(error.into()))?;
    let mailbox = Mailbox::open().map_err(KeepError::run("open a socket for the daemon"))?;
    let mut keeper = Keeper {
        signals,
        mailbox,
        stored,
        restarts: Restarts::default(),
        retries: Restarts::default(),
        silence,
        phase: Phase::Pausing(Instant::now()),
        stop_was_asked: false,
        was_ready: false,
    };
    keeper.start().map_err(KeepError::run("start the daemon"))?;
    let status = keeper.run().map_err(KeepError::run("wait for the daemon"))?;
    Ok(u8::try_from(status).unwrap_or(1))
}

impl Keeper {
    fn run(&mut self) -> io::Result<i32> {
        loop {
            if let Phase::Over(status) = self.phase {
                return Ok(status);
            }
            self.wait()?;
            // The daemon's last messages arrive before its exit.
            self.read_words();
            while let Some(signal) = self.signals.next() {
                self.handle_signal(signal);
            }
            while let Some(ended) = process::reap() {
                // Messages that arrived since.
                self.read_words();
                self.handle_end(&ended);
            }
            self.handle_deadline();
        }
    }

    fn wait(&self) -> io::Result<()> {
        let at = match &self.phase {
            Phase::Running(daemon) => daemon.due,
            Phase::Pausing(at) => *at,
            Phase::Over(_) => return Ok(()),
        };
        let timeout = Timespec::try_from(at.saturating_duration_since(Instant::now())).ok();
        let mut sources = [self.signals.as_fd(), self.mailbox.as_fd()]
            .map(|source: BorrowedFd<'_>| PollFd::from_borrowed_fd(source, PollFlags::IN));
        match poll(&mut sources, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    // ---- The daemon's messages ----

    fn read_words(&mut self) {
        for _ in 0..WORDS_PER_TURN {
            let Some(mut message) = self.mailbox.next() else { return };
            let descriptors = std::mem::take(&mut message.descriptors);
            // Only messages of the daemon itself count, not those of games or of a daemon that was killed.
            let Phase::Running(daemon) = &mut self.phase else { continue };
            if message.pid != Some(daemon.process.pid()) {
                continue;
            }
            match message.word() {
                Word::Ready if !daemon.is_ready => {
                    daemon.is_ready = true;
                    self.was_ready = true;
                    log::info!("the daemon is ready pid={}", daemon.process.pid());
                }
                Word::Stopping => daemon.is_stopping = true,
                Word::Store { name } => self.stored.put(name, descriptors),
                Word::Remove { name } => self.stored.remove(name),
                Word::Ready | Word::Watchdog | Word::Other => {}
            }
            daemon.note_sign_of_life(self.silence);
        }
    }

    // ---- Signals ----

    fn handle_signal(&mut self, signal: Signal) {
        if signal == Signal::SIGCHLD {
            return;
        }
        self.stop_was_asked |= matches!(signal, Signal::SIGTERM | Signal::SIGINT);
        match &self.phase {
            Phase::Running(daemon) => daemon.send(signal),
            Phase::Pausing(_) if self.stop_was_asked => self.phase = Phase::Over(0),
            Phase::Pausing(_) | Phase::Over(_) => {}
        }
    }

    // ---- Exits ----

    fn handle_end(&mut self, ended: &Ended) {
        let Phase::Running(daemon) = &self.phase else { return };
        // Otherwise it is a game of an earlier daemon, or a leftover.
        if ended.pid != daemon.process.pid() {
            return;
        }
        self.phase = match ended.end {
            Ok(HANDED_OVER) if !self.stop_was_asked => {
                log::info!("the daemon has handed over pid={}; starting the next one", ended.pid);
                Phase::Pausing(Instant::now())
            }
            Ok(status) if !self.is_worth_another(status) => Phase::Over(status),
            Ok(status) => {
                let pause = self.retries.after(daemon.started.elapsed());
                log::error!(
                    "the daemon exited with status {status} pid={}; restarting it {}",
                    ended.pid,
                    units::after(pause)
                );
                Phase::Pausing(Instant::now() + pause)
            }
            Err(signal) if self.stop_was_asked => {
                log::error!("the daemon died of signal {signal} while stopping pid={}", ended.pid);
                Phase::Over(KILLED + signal)
            }
            Err(signal) => match self.restarts.after(daemon.started.elapsed()) {
                pause if !self.restarts.are_many() => {
                    log::error!(
                        "the daemon died of signal {signal} pid={}; restarting it {}",
                        ended.pid,
                        units::after(pause)
                    );
                    Phase::Pausing(Instant::now() + pause)
                }
                _ => {
                    log::error!(
                        "the daemon died of signal {signal} pid={}, too many times in a row; giving up",
                        ended.pid
                    );
                    Phase::Over(KILLED + signal)
                }
            },
        };
    }

    /// Whether a daemon that exited by itself is restarted: an unavailable resource may be available by then. A daemon
    /// that was ready before is restarted, unless a restart would not help.
    fn is_worth_another(&self, status: i32) -> bool {
        !self.stop_was_asked
            && (status == UNAVAILABLE || self.was_ready && ![0, USAGE, CONFIG].contains(&status))
    }

    fn handle_deadline(&mut self) {
        let now = Instant::now();
        match &mut self.phase {
            Phase::Running(daemon) if daemon.due <= now => {
                log::error!(
                    "killing the daemon, which does not answer pid={}",
                    daemon.process.pid()
                );
                daemon.send(Signal::SIGKILL);
                // Its exit will be reported soon.
                daemon.due = now + GRACE;
            }
            Phase::Pausing(at) if *at <= now => {
                if let Err(error) = self.start() {
                    log::error!("cannot start the daemon: {error}; retrying");
                    let pause = self.retries.after(Duration::ZERO);
                    self.phase = match self.retries.are_many() && !self.was_ready {
                        false => Phase::Pausing(now + pause),
                        true => Phase::Over(1),
                    };
                }
            }
            Phase::Running(_) | Phase::Pausing(_) | Phase::Over(_) => {}
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let process = start::start(&self.stored, self.mailbox.address(), self.silence)?;
        let stored = self.stored.len();
        log::info!("keeping the daemon pid={} stored={stored}", process.pid());
        let started = Instant::now();
        let due = started + GRACE;
        let (is_ready, is_stopping) = (false, false);
        self.phase = Phase::Running(Daemon { process, started, due, is_ready, is_stopping });
        Ok(())
    }
}

impl Daemon {
    fn note_sign_of_life(&mut self, silence: Duration) {
        let is_watched = self.is_ready && !self.is_stopping;
        self.due = Instant::now() + if is_watched { silence } else { silence.max(GRACE) };
    }

    fn send(&self, signal: Signal) {
        // An error or `false` means that it is dead, and its exit will be reported soon.
        let _ = self.process.signal(signal as i32);
    }
}
