//! Random faults for a daemon that runs under its keeper.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Dice, Muster, proc};

/// Injects faults into a daemon that runs under its keeper. The seed alone determines the order.
#[derive(Debug)]
pub struct ChaosMonkey<'a> {
    muster: &'a Muster,
    configs: &'a [String],
    dice: Dice,
    counts: BTreeMap<Fault, usize>,
    /// The daemon's pid, and when it was seen first.
    daemon: i32,
    seen_since: Instant,
    /// How many daemons before it were killed young, without a break.
    young: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Upgrade,
    Reload,
    /// The daemon is killed.
    Crash,
    /// The daemon is stopped, until its keeper kills it.
    Hang,
    /// The daemon is stopped for a moment.
    Hiccup,
    LauncherDies,
    LauncherHangs,
    GameDies,
    GameHangs,
}

/// The faults to draw from; one that is listed more often is more likely.
const FAULTS: [Fault; 18] = [
    Fault::Upgrade,
    Fault::Upgrade,
    Fault::Upgrade,
    Fault::Upgrade,
    Fault::Reload,
    Fault::Reload,
    Fault::Crash,
    Fault::Crash,
    Fault::Crash,
    Fault::Crash,
    Fault::Hang,
    Fault::Hiccup,
    Fault::LauncherDies,
    Fault::LauncherDies,
    Fault::LauncherHangs,
    Fault::GameDies,
    Fault::GameDies,
    Fault::GameHangs,
];

/// A daemon killed before this age counts as young; after eight young ones in a row the keeper gives up.
const YOUTH: Duration = Duration::from_secs(11);
const YOUNG_MAX: usize = 5;

/// The pause after a fault, and the longest hiccup, in milliseconds.
const PAUSE_MS: std::ops::Range<usize> = 50..2000;
const HICCUP_MS: usize = 1000;

impl<'a> ChaosMonkey<'a> {
    /// A monkey with a seed. A reload takes one of `configs`.
    pub fn new(muster: &'a Muster, seed: u64, configs: &'a [String]) -> Self {
        let (daemon, seen_since) = (muster.pid(), Instant::now());
        Self {
            muster,
            configs,
            dice: Dice::new(seed),
            counts: BTreeMap::new(),
            daemon,
            seen_since,
            young: 0,
        }
    }

    /// Draws the pause until the next fault.
    pub fn pause(&mut self) -> Duration {
        self.millis(PAUSE_MS.len()) + Duration::from_millis(PAUSE_MS.start as u64)
    }

    /// Injects the next fault.
    pub fn strike(&mut self) {
        let daemon = self.muster.pid();
        if daemon != self.daemon {
            (self.daemon, self.seen_since) = (daemon, Instant::now());
        }
        let fault = self.dice.one_of(&FAULTS);
        let was_injected = match fault {
            Fault::Upgrade => self.signal(Signal::SIGUSR2),
            Fault::Reload => {
                self.muster.configure(&self.configs[self.dice.below(self.configs.len())]);
                self.signal(Signal::SIGHUP)
            }
            Fault::Crash => self.kill(Signal::SIGKILL),
            Fault::Hang => self.kill(Signal::SIGSTOP),
            Fault::Hiccup => {
                let pause = self.millis(HICCUP_MS);
                let was_injected = self.signal(Signal::SIGSTOP);
                // Not a wait for a fact: the elapsed time is the fault.
                std::thread::sleep(pause);
                self.signal(Signal::SIGCONT);
                was_injected
            }
            Fault::LauncherDies => self.signal_launcher(Signal::SIGKILL),
            Fault::LauncherHangs => self.signal_launcher(Signal::SIGSTOP),
            Fault::GameDies => self.signal_game(Signal::SIGKILL),
            Fault::GameHangs => self.signal_game(Signal::SIGSTOP),
        };
        *self.counts.entry(fault).or_default() += usize::from(was_injected);
    }

    /// The faults so far and how often each was injected.
    pub fn summary(&self) -> String {
        let counts = self.counts.iter().map(|(fault, count)| format!("{fault:?} {count}"));
        counts.collect::<Vec<_>>().join(", ")
    }

    fn signal(&self, signal: Signal) -> bool {
        send(self.muster.pid(), signal)
    }

    /// Sends a signal that the daemon does not survive, unless too many young daemons were killed already.
    fn kill(&mut self, signal: Signal) -> bool {
        let is_young = self.seen_since.elapsed() < YOUTH;
        // A daemon that dies during recovery loses its state.
        if self.is_down() || is_young && self.young >= YOUNG_MAX {
            return false;
        }
        self.young = if is_young { self.young + 1 } else { 1 };
        self.signal(signal)
    }

    fn is_down(&self) -> bool {
        let log = self.muster.log();
        let lives = log.lines_with(&["listening tcp="]).len();
        lives <= log.lines_with(&["the daemon died of signal "]).len()
            || proc::state(self.muster.pid()).is_none_or(|state| matches!(state, 'T' | 'Z'))
    }

    fn signal_launcher(&self, signal: Signal) -> bool {
        let is_launcher = |pid: &i32| proc::command_line(*pid) == ["muster-launcher"];
        let launcher = proc::children(self.muster.pid()).into_iter().find(is_launcher);
        launcher.is_some_and(|pid| send(pid, signal))
    }

    /// Signals any game: launching, warm or running.
    fn signal_game(&mut self, signal: Signal) -> bool {
        let games = proc::working_in(self.muster.directory());
        !games.is_empty() && send(self.dice.one_of(&games), signal)
    }

    fn millis(&mut self, below: usize) -> Duration {
        Duration::from_millis(self.dice.below(below) as u64)
    }
}

/// Whether the process existed.
fn send(pid: i32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid), signal).is_ok()
}
