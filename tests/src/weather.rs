//! What befalls a daemon in a storm.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Dice, Muster, proc};

/// Bad weather for a daemon that is kept. What comes next follows from the seed alone.
#[derive(Debug)]
pub struct Weather<'a> {
    muster: &'a Muster,
    configs: &'a [String],
    dice: Dice,
    told: BTreeMap<Blow, usize>,
    /// The daemon, since when it has been seen, and how many died young before it, one after the other.
    daemon: i32,
    seen_since: Instant,
    young: usize,
}

/// One thing that befalls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Upgrade,
    Reload,
    /// The daemon is killed.
    Crash,
    /// The daemon stands still, until its keeper has had enough.
    Hang,
    /// The daemon stands still for a moment.
    Hiccup,
    LauncherDies,
    LauncherHangs,
    GameDies,
    GameHangs,
}

/// As often as they are here.
const BLOWS: [Blow; 18] = [
    Blow::Upgrade,
    Blow::Upgrade,
    Blow::Upgrade,
    Blow::Upgrade,
    Blow::Reload,
    Blow::Reload,
    Blow::Crash,
    Blow::Crash,
    Blow::Crash,
    Blow::Crash,
    Blow::Hang,
    Blow::Hiccup,
    Blow::LauncherDies,
    Blow::LauncherDies,
    Blow::LauncherHangs,
    Blow::GameDies,
    Blow::GameDies,
    Blow::GameHangs,
];

/// A daemon that lived for a shorter time died young, and after eight of them the keeper gives up.
const YOUTH: Duration = Duration::from_secs(11);
const YOUNG_MAX: usize = 5;

/// The pause after a blow, and the longest hiccup, in milliseconds.
const PAUSE_MS: std::ops::Range<usize> = 50..2000;
const HICCUP_MS: usize = 1000;

impl<'a> Weather<'a> {
    /// Weather that a seed determines, in which one of these configurations is to be read every now and then.
    pub fn new(muster: &'a Muster, seed: u64, configs: &'a [String]) -> Self {
        let (daemon, seen_since) = (muster.pid(), Instant::now());
        Self {
            muster,
            configs,
            dice: Dice::new(seed),
            told: BTreeMap::new(),
            daemon,
            seen_since,
            young: 0,
        }
    }

    /// The pause until the next blow.
    pub fn pause(&mut self) -> Duration {
        self.millis(PAUSE_MS.len()) + Duration::from_millis(PAUSE_MS.start as u64)
    }

    /// The next thing befalls the daemon.
    pub fn blow(&mut self) {
        let daemon = self.muster.pid();
        if daemon != self.daemon {
            (self.daemon, self.seen_since) = (daemon, Instant::now());
        }
        let blow = self.dice.one_of(&BLOWS);
        let has_struck = match blow {
            Blow::Upgrade => self.strike(Signal::SIGUSR2),
            Blow::Reload => {
                self.muster.configure(&self.configs[self.dice.below(self.configs.len())]);
                self.strike(Signal::SIGHUP)
            }
            Blow::Crash => self.fell(Signal::SIGKILL),
            Blow::Hang => self.fell(Signal::SIGSTOP),
            Blow::Hiccup => {
                let pause = self.millis(HICCUP_MS);
                let has_struck = self.strike(Signal::SIGSTOP);
                // No wait for a fact: that this passes is what befalls it.
                std::thread::sleep(pause);
                self.strike(Signal::SIGCONT);
                has_struck
            }
            Blow::LauncherDies => self.strike_launcher(Signal::SIGKILL),
            Blow::LauncherHangs => self.strike_launcher(Signal::SIGSTOP),
            Blow::GameDies => self.strike_game(Signal::SIGKILL),
            Blow::GameHangs => self.strike_game(Signal::SIGSTOP),
        };
        *self.told.entry(blow).or_default() += usize::from(has_struck);
    }

    /// What it was, in words.
    pub fn story(&self) -> String {
        let told = self.told.iter().map(|(blow, count)| format!("{blow:?} {count}"));
        told.collect::<Vec<_>>().join(", ")
    }

    fn strike(&self, signal: Signal) -> bool {
        strike(self.muster.pid(), signal)
    }

    /// Something that the daemon does not survive, unless it has too often.
    fn fell(&mut self, signal: Signal) -> bool {
        let is_young = self.seen_since.elapsed() < YOUTH;
        // Who dies while it comes back from a crash is not brought back to where it was.
        if self.is_down() || is_young && self.young >= YOUNG_MAX {
            return false;
        }
        self.young = if is_young { self.young + 1 } else { 1 };
        self.strike(signal)
    }

    fn is_down(&self) -> bool {
        let log = self.muster.log();
        let lives = log.lines_with(&["listening tcp="]).len();
        lives <= log.lines_with(&["the daemon died of signal "]).len()
            || proc::state(self.muster.pid()).is_none_or(|state| matches!(state, 'T' | 'Z'))
    }

    fn strike_launcher(&self, signal: Signal) -> bool {
        let is_launcher = |pid: &i32| proc::words(*pid) == ["muster-launcher"];
        let launcher = proc::children(self.muster.pid()).into_iter().find(is_launcher);
        launcher.is_some_and(|pid| strike(pid, signal))
    }

    /// Any game, whether it begins, waits or is played.
    fn strike_game(&mut self, signal: Signal) -> bool {
        let games = proc::at_work(self.muster.directory());
        !games.is_empty() && strike(self.dice.one_of(&games), signal)
    }

    fn millis(&mut self, below: usize) -> Duration {
        Duration::from_millis(self.dice.below(below) as u64)
    }
}

/// Whether there was somebody to get it.
fn strike(pid: i32, signal: Signal) -> bool {
    kill(Pid::from_raw(pid), signal).is_ok()
}
