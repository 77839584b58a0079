//! Orphans: the processes that a crashed daemon left. They are the children of the keeper, or of init, and the next
//! daemon is not notified of their end.
//!
//! They are found by their environment: [`INSTANCE`] names the Muster that created them. LivingGame games are adopted,
//! and the descendants of one belong to it; all others are killed, the launcher of the crashed daemon first. The
//! end of a killed process is awaited: a dying process reports no environment any more and still has its socket.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::libc;
use process::{Pidfd, proc};

use crate::limits::ANCESTORS_MAX;
use crate::wire::INSTANCE;

/// Finds and kills orphans.
pub(crate) struct Orphans {
    /// The variable in their environment.
    mark: Vec<u8>,
    /// Processes that are stopped, so that they create no others, and are killed next.
    stopped: HashMap<i32, Pidfd>,
    /// Processes that were killed and whose end was not noted yet.
    dying: Vec<Pidfd>,
}

impl Orphans {
    pub(crate) fn new(instance: &str) -> Self {
        let mark = format!("{INSTANCE}={instance}").into_bytes();
        Self { mark, stopped: HashMap::new(), dying: Vec::new() }
    }

    /// The killed processes: each is readable once it is dead; pidfd_open(2).
    pub(crate) fn dying(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.dying.iter().map(|process| process.as_fd())
    }

    /// Forgets the killed processes that are dead. Returns whether others are left.
    pub(crate) fn has_dying(&mut self) -> bool {
        self.dying.retain(Pidfd::is_alive);
        !self.dying.is_empty()
    }

    /// All processes of this Muster that are not `known` and have no known ancestor.
    pub(crate) fn list(&self, known: impl Fn(i32) -> bool) -> Vec<i32> {
        let mut parents = HashMap::new();
        let is_orphan = |pid: &i32| self.is_marked(*pid) && !descends(*pid, &known, &mut parents);
        proc::pids().filter(is_orphan).collect()
    }

    /// Stops processes of this Muster. Returns whether one was not stopped before. A number may mean another
    /// process by now; the pidfd means the one that is checked.
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

    /// Kills the stopped processes. Returns whether there were any.
    pub(crate) fn kill_stopped(&mut self) -> bool {
        let were_any = !self.stopped.is_empty();
        for (_, process) in self.stopped.drain() {
            // A process that is dead already is noted like the others: its pidfd is readable at once, so that the
            // scan which notes its end follows.
            signal(&process, libc::SIGKILL);
            self.dying.push(process);
        }
        were_any
    }

    fn is_dying(&self, pid: i32) -> bool {
        self.dying.iter().any(|process| process.pid() == pid)
    }

    fn is_marked(&self, pid: i32) -> bool {
        proc::environment(pid).contains(&self.mark)
    }
}

/// Whether a process is known, or has a known ancestor.
fn descends(pid: i32, known: &impl Fn(i32) -> bool, parents: &mut HashMap<i32, i32>) -> bool {
    let mut ancestor = pid;
    for _ in 0..ANCESTORS_MAX {
        if known(ancestor) {
            return true;
        }
        let next =
            *parents.entry(ancestor).or_insert_with_key(|pid| proc::parent(*pid).unwrap_or(0));
        if next <= 1 {
            return false;
        }
        ancestor = next;
    }
    false
}

/// Returns whether the process existed.
fn signal(process: &Pidfd, signal: i32) -> bool {
    process.signal(signal).unwrap_or_else(|error| {
        log::error!("cannot signal process {}, left by a crashed daemon: {error}", process.pid());
        false
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The end of a killed process causes the next scan, without which its game would never be clean.
    #[test]
    fn the_end_of_an_orphan_is_noted_even_if_it_is_dead_before_it_is_killed() {
        let name = format!("orphans-{}", std::process::id());
        let mut child = Command::new("/bin/sleep").arg("60").env(INSTANCE, &name).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut orphans = Orphans::new(&name);
        assert_eq!(orphans.list(|_| false), [pid]);
        assert_eq!(orphans.list(|it| it == pid), [0; 0]);
        assert!(orphans.stop(&[pid]) && !orphans.stop(&[pid]));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(orphans.kill_stopped());
        assert_eq!(orphans.dying().count(), 1);
        assert!(!orphans.has_dying() && !orphans.kill_stopped());
    }
}
