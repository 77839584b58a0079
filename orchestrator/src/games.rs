//! The games' processes: found by game and by pid, signalled, and reaped.

use std::collections::{BTreeMap, HashMap, VecDeque};

use launcher::Living;
use matchmaker::{Exit, GameId, MatchId, ModeId};
use mio::Registry;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use process::Ended;
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::continuity::{Kept, StateError};
use crate::control::{self, Control};
use crate::launches::Process;
use crate::output::{self, Output};
use crate::tokens;

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
    pub(crate) mode: ModeId,
    port: u16,
    /// What is played there, for the log.
    pub(crate) match_id: Option<MatchId>,
    /// How it ended, once it was reaped.
    pub(crate) ended: Option<Ended>,
    pub(crate) control: Control,
    pub(crate) output: Output,
    is_ready: bool,
}

/// A game's process as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    game: GameId,
    pid: i32,
    mode: ModeId,
    port: u16,
    match_id: Option<MatchId>,
    ended: Option<Ended>,
    control: control::Saved,
    output: output::Saved,
}

/// A child that was reaped.
pub(crate) enum Reaped {
    /// A game's process.
    Game(GameId),
    /// A process that is not known as a game's, yet or at all.
    Other(Ended),
}

impl Games {
    /// Takes in a process that was just made. `false`: it is no child of ours, or one that is known already, and
    /// whoever said that it is a game of its own is not to be believed.
    pub(crate) fn insert(
        &mut self,
        id: GameId,
        process: Process,
        registry: &Registry,
        lines_per_second: u32,
        now: Instant,
    ) -> bool {
        let Process { pid, ordered, control, output } = process;
        if self.by_pid.contains_key(&pid) {
            return false;
        }
        let token = tokens::output(id);
        let output = output.map(Into::into);
        let game = Game {
            pid,
            mode: ordered.mode,
            port: ordered.port,
            match_id: ordered.match_id,
            ended: None,
            control: Control::new(id, control, registry),
            output: Output::new(output, token, registry, lines_per_second, now),
            is_ready: false,
        };
        self.by_pid.insert(pid, id);
        self.processes.insert(id, game);
        true
    }

    /// What is to be known of them, for the program that goes on with their channels.
    pub(crate) fn save(&self, kept: &mut Kept) -> Vec<Saved> {
        let save = |(id, game): (&GameId, &Game)| Saved {
            game: *id,
            pid: game.pid,
            mode: game.mode,
            port: game.port,
            match_id: game.match_id,
            ended: game.ended,
            control: game.control.save(kept),
            output: game.output.save(kept),
        };
        self.processes.iter().map(save).collect()
    }

    /// Goes on with all games. Each is read in the next turn: what it has said may be in a buffer already.
    ///
    /// # Errors
    /// When a channel is not there.
    pub(crate) fn restore(saved: Vec<Saved>, registry: &Registry) -> Result<Self, StateError> {
        let mut all = Self::default();
        for saved in saved {
            let id = saved.game;
            let game = Game {
                pid: saved.pid,
                mode: saved.mode,
                port: saved.port,
                match_id: saved.match_id,
                ended: saved.ended,
                control: Control::restore(saved.control, id, registry)?,
                output: Output::restore(&saved.output, tokens::output(id), registry)?,
                is_ready: true,
            };
            if game.ended.is_none() {
                all.by_pid.insert(game.pid, id);
            }
            all.processes.insert(id, game);
            all.ready.push_back(id);
        }
        Ok(all)
    }

    /// The games whose processes were not reaped yet.
    pub(crate) fn living(&self) -> impl Iterator<Item = Living> {
        let living = self.processes.iter().filter(|(_, game)| game.ended.is_none());
        living.map(|(id, game)| Living {
            game: id.0,
            pid: game.pid,
            mode: game.mode.0,
            port: game.port,
        })
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
        let ended = process::reap()?;
        let id = self.by_pid.remove(&ended.pid);
        Some(match id.and_then(|id| self.processes.get_mut(&id).map(|game| (id, game))) {
            Some((id, game)) => {
                game.ended = Some(ended);
                kill_group(ended.pid);
                Reaped::Game(id)
            }
            None => Reaped::Other(ended),
        })
    }

    /// Takes note that a game's process has died before the loop knew of it.
    pub(crate) fn note_early_end(&mut self, id: GameId, ended: Ended) {
        if let Some(game) = self.processes.get_mut(&id) {
            self.by_pid.remove(&game.pid);
            kill_group(game.pid);
            game.ended = Some(ended);
        }
    }
}

/// Whether a process is a child that was not reaped, by the kernel's word.
pub(crate) fn is_child(pid: i32) -> bool {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return false };
    let only_ask = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    rustix::process::waitid(WaitId::Pid(pid), only_ask).is_ok()
}

/// How a process ended, in the brain's words.
pub(crate) fn exit_of(ended: &Ended) -> Exit {
    match ended.end {
        Ok(status) => Exit::Status(status),
        Err(signal) => Exit::Signal(signal),
    }
}

impl Game {
    /// Sends a signal to the game's process and to its group, which the process may have left. Nothing happens
    /// once the process was reaped.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended.is_some() {
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
