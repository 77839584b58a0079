//! The games' processes: found by game and by pid, signalled, and reaped.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use matchmaker::{Exit, GameId, MatchId};
use mio::Registry;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::WaitOptions;

use crate::channels::Channels;
use crate::launcher::Process;

/// All processes of games, found by game and by pid.
#[derive(Default)]
pub(crate) struct Games {
    processes: BTreeMap<GameId, Game>,
    by_pid: HashMap<i32, GameId>,
    /// Games with more to read than their share of a turn.
    ready: VecDeque<GameId>,
}

/// One game's process.
pub(crate) struct Game {
    pub(crate) pid: i32,
    /// What is played there, for the log.
    pub(crate) match_id: Option<MatchId>,
    /// How it ended, once it was reaped.
    pub(crate) exit: Option<Exit>,
    pub(crate) channels: Channels,
    is_ready: bool,
}

/// A child that was reaped.
pub(crate) enum Reaped {
    /// A game's process.
    Game(GameId),
    /// A process that is not known as a game's, yet or at all.
    Other(i32, Exit),
}

impl Games {
    /// Takes in a process that was just made.
    pub(crate) fn insert(
        &mut self,
        id: GameId,
        process: Process,
        registry: &Registry,
        lines_per_second: u32,
        now: Instant,
    ) {
        let game = Game {
            pid: process.pid,
            match_id: None,
            exit: None,
            channels: Channels::new(
                id,
                process.control,
                process.output.into(),
                registry,
                lines_per_second,
                now,
            ),
            is_ready: false,
        };
        self.by_pid.insert(process.pid, id);
        self.processes.insert(id, game);
    }

    pub(crate) fn get(&self, id: GameId) -> Option<&Game> {
        self.processes.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: GameId) -> Option<&mut Game> {
        self.processes.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: GameId) {
        self.processes.remove(&id);
    }

    /// Remembers a game whose turn was over before its channels were empty.
    pub(crate) fn set_ready(&mut self, id: GameId) {
        if let Some(game) = self.processes.get_mut(&id)
            && !std::mem::replace(&mut game.is_ready, true)
        {
            self.ready.push_back(id);
        }
    }

    pub(crate) fn take_ready(&mut self) -> VecDeque<GameId> {
        let ready = std::mem::take(&mut self.ready);
        for id in &ready {
            if let Some(game) = self.processes.get_mut(id) {
                game.is_ready = false;
            }
        }
        ready
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Reaps the next child that has died, until there is none. One signal may stand for any number of them.
    ///
    /// What is left of a game's process group is killed at once. Its number cannot mean another group by now:
    /// the kernel gives it out again only when the group is empty and all other numbers had their turn.
    pub(crate) fn reap(&mut self) -> Option<Reaped> {
        // rustix, as nix takes a child that a real-time signal killed for an error.
        let (pid, status) = loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(reaped) => break reaped?,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        };
        let pid = pid.as_raw_nonzero().get();
        let exit = match status.terminating_signal() {
            Some(signal) => Exit::Signal(signal),
            None => Exit::Status(status.exit_status().unwrap_or_default()),
        };
        let id = self.by_pid.remove(&pid);
        Some(match id.and_then(|id| self.processes.get_mut(&id).map(|game| (id, game))) {
            Some((id, game)) => {
                game.exit = Some(exit);
                kill_group(pid);
                Reaped::Game(id)
            }
            None => Reaped::Other(pid, exit),
        })
    }

    /// Takes note that a game's process has died before the loop knew of it.
    pub(crate) fn note_early_exit(&mut self, id: GameId, exit: Exit) {
        if let Some(game) = self.processes.get_mut(&id) {
            self.by_pid.remove(&game.pid);
            kill_group(game.pid);
            game.exit = Some(exit);
        }
    }
}

impl Game {
    /// Sends a signal to the game's process and to its group, which the process may have left. Nothing happens
    /// once the process was reaped.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit.is_some() {
            return;
        }
        let pid = Pid::from_raw(self.pid);
        // ESRCH: nobody else is in the group, or nobody at all.
        let _ = killpg(pid, signal);
        if let Err(error) = kill(pid, signal) {
            log::error!("cannot send {signal} to process {pid}, a game: {error}");
        }
    }
}

fn kill_group(pid: i32) {
    // ESRCH: nobody else was in the group.
    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
}
