//! What a daemon that crashed has left adrift: its processes are the children of whoever keeps the daemons, or of init,
//! and the next daemon hears nothing of them.
//!
//! They are found by what they were born with: [`INSTANCE`] in the environment names their Muster. Games that live were
//! handed over, and whoever descends from one is its own affair; all others are to go, the launcher of the daemon
//! that crashed first of all. Whoever was killed is waited for, as a process that is dying says nothing any more
//! and still has its socket.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::libc;
use process::Pidfd;

use crate::leftovers::parent;
use crate::wire::INSTANCE;

/// How far up a process's ancestors are looked for: nobody descends so far from a game.
const ANCESTORS_MAX: usize = 64;

/// Those who are adrift.
pub(crate) struct Adrift {
    /// What stands in their environment.
    mark: Vec<u8>,
    /// Those who are stopped, so that they make nobody else, and are killed next.
    stopped: HashMap<i32, Pidfd>,
    /// Those who were killed, and may hold something still.
    dying: Vec<Pidfd>,
}

impl Adrift {
    pub(crate) fn new(instance: &str) -> Self {
        let mark = format!("{INSTANCE}={instance}").into_bytes();
        Self { mark, stopped: HashMap::new(), dying: Vec::new() }
    }

    /// Those who were killed: readable once they are dead; pidfd_open(2).
    pub(crate) fn dying(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.dying.iter().map(|process| process.as_fd())
    }

    /// Whether somebody who was killed is not dead yet.
    pub(crate) fn has_dying(&mut self) -> bool {
        self.dying.retain(Pidfd::is_alive);
        !self.dying.is_empty()
    }

    /// All processes of this Muster that descend from none of `known`, and are none of them.
    pub(crate) fn list(&self, known: impl Fn(i32) -> bool) -> Vec<i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut parents = HashMap::new();
        pids.filter(|pid| self.is_marked(*pid) && !descends(*pid, &known, &mut parents)).collect()
    }

    /// Stops processes of this Muster that run still. Whether there was one. A number may have come to mean another
    /// process since the list was read; a pidfd holds on to the one that is looked at.
    pub(crate) fn stop(&mut self, pids: &[i32]) -> bool {
        let before = self.stopped.len();
        for &pid in pids {
            if !self.is_dying(pid)
                && let Ok(process) = Pidfd::open(pid)
                && self.is_marked(pid)
                && signal(&process, libc::SIGSTOP)
            {
                self.stopped.entry(pid).or_insert(process);
            }
        }
        self.stopped.len() > before
    }

    /// Kills those who were stopped. Whether there were any.
    pub(crate) fn kill_stopped(&mut self) -> bool {
        let were_any = !self.stopped.is_empty();
        for (_, process) in self.stopped.drain() {
            if signal(&process, libc::SIGKILL) {
                self.dying.push(process);
            }
        }
        were_any
    }

    fn is_dying(&self, pid: i32) -> bool {
        self.dying.iter().any(|process| process.pid() == pid)
    }

    fn is_marked(&self, pid: i32) -> bool {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == self.mark)
    }
}

/// Whether a process is one of those who are known, or descends from one.
fn descends(pid: i32, known: &impl Fn(i32) -> bool, parents: &mut HashMap<i32, i32>) -> bool {
    let mut ancestor = pid;
    for _ in 0..ANCESTORS_MAX {
        if known(ancestor) {
            return true;
        }
        let next = *parents.entry(ancestor).or_insert_with_key(|pid| parent(*pid).unwrap_or(0));
        if next <= 1 {
            return false;
        }
        ancestor = next;
    }
    false
}

/// Whether it was there.
fn signal(process: &Pidfd, signal: i32) -> bool {
    process.signal(signal).unwrap_or_else(|error| {
        log::error!("cannot signal process {}, which a crash left: {error}", process.pid());
        false
    })
}
