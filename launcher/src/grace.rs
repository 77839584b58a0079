//! Games that are being stopped and whose first process has ended: their other processes may finish their work.
//!
//! A start script dies of the signal at which its server only begins to save. Such a game counts as living until no
//! process of it is left, or the daemon says that its grace period is over.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use nix::libc;
use process::Pidfd;

use crate::leftovers::LeftoverReaper;

/// When to check again for a game with a process that cannot be watched.
const CHECK_AGAIN: Duration = Duration::from_millis(50);

/// The games in their grace period.
#[derive(Default)]
pub(crate) struct Grace {
    games: BTreeMap<u64, StoppingGame>,
}

/// A game that may still have processes.
struct StoppingGame {
    /// Its first process, which has ended.
    leader: i32,
    /// One of the processes that are left: readable once it is dead; pidfd_open(2).
    watched: Option<Pidfd>,
}

impl Grace {
    /// The first process of a game has ended, and others may continue.
    pub(crate) fn begin(&mut self, game: u64, leader: i32) {
        self.games.insert(game, StoppingGame { leader, watched: None });
    }

    /// Ends a game's grace period. Returns whether it had one.
    pub(crate) fn end(&mut self, game: u64) -> bool {
        self.games.remove(&game).is_some()
    }

    /// Removes and returns the games of which no process is left.
    pub(crate) fn take_finished(&mut self, leftovers: &LeftoverReaper) -> Vec<u64> {
        let is_finished = |game: &u64, stopping: &mut StoppingGame| {
            if stopping.watched.as_ref().is_some_and(Pidfd::is_alive) {
                return false;
            }
            let mut members = leftovers.members(*game, Some(stopping.leader));
            stopping.watched = members.pop();
            stopping.watched.is_none() && !leftovers.is_group_populated(*game)
        };
        self.games.extract_if(.., is_finished).map(|(game, _)| game).collect()
    }

    /// The processes whose end is awaited.
    pub(crate) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.games.values().filter_map(|game| Some(game.watched.as_ref()?.as_fd()))
    }

    /// When to check again even if no watched process has ended.
    pub(crate) fn next_check(&self) -> Option<Duration> {
        self.games.values().any(|game| game.watched.is_none()).then_some(CHECK_AGAIN)
    }

    /// Sends SIGTERM to the processes of a game, except its process group if that has received it already: no
    /// process is asked twice.
    pub(crate) fn terminate(
        &self,
        game: u64,
        is_group_signalled: bool,
        leftovers: &LeftoverReaper,
    ) {
        let leader = self.games.get(&game).map(|game| game.leader);
        let signalled_group = leader.or_else(|| leftovers.pid(game)).filter(|_| is_group_signalled);
        for member in leftovers.members(game, leader) {
            // The daemon signals the first process, its own child.
            if leftovers.pid(game) == Some(member.pid())
                || signalled_group.is_some_and(|group| process_group(member.pid()) == Some(group))
            {
                continue;
            }
            if let Err(error) = member.signal(libc::SIGTERM) {
                log::error!(
                    "cannot send SIGTERM to process {} of game {game}: {error}",
                    member.pid()
                );
            }
        }
    }
}

/// The process group of a process; getpgid(2).
pub(crate) fn process_group(pid: i32) -> Option<i32> {
    nix::unistd::getpgid(Some(nix::unistd::Pid::from_raw(pid))).ok().map(nix::unistd::Pid::as_raw)
}
