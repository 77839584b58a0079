//! Games that are being stopped and whose first process has ended: whatever else belongs to them may finish what it does.
//!
//! A start script dies of the signal that its server only begins to save at. Such a game counts as one that lives until
//! nobody of it is left, or the daemon says that its grace is over.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use nix::libc;
use process::Pidfd;

use crate::leftovers::Leftovers;

/// How soon to look again for a game of which somebody is left who cannot be watched.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Those who are waited for.
#[derive(Default)]
pub(crate) struct Grace {
    games: BTreeMap<u64, Awaited>,
}

/// A game of which somebody may be left.
struct Awaited {
    /// Its first process, which has ended.
    leader: i32,
    /// One of those who are left: readable once it is dead; pidfd_open(2).
    watched: Option<Pidfd>,
}

impl Grace {
    /// The first process of a game has ended, and others of it may go on.
    pub(crate) fn begin(&mut self, game: u64, leader: i32) {
        self.games.insert(game, Awaited { leader, watched: None });
    }

    /// Whether a game was waited for, which is over.
    pub(crate) fn end(&mut self, game: u64) -> bool {
        self.games.remove(&game).is_some()
    }

    /// Takes out the games of which nobody is left.
    pub(crate) fn over(&mut self, leftovers: &Leftovers) -> Vec<u64> {
        let is_over = |game: &u64, awaited: &mut Awaited| {
            if awaited.watched.as_ref().is_some_and(Pidfd::is_alive) {
                return false;
            }
            let mut members = leftovers.members(*game, Some(awaited.leader));
            awaited.watched = members.pop();
            awaited.watched.is_none() && !leftovers.is_group_populated(*game)
        };
        self.games.extract_if(.., is_over).map(|(game, _)| game).collect()
    }

    /// Those whose end is waited for.
    pub(crate) fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.games.values().filter_map(|awaited| Some(awaited.watched.as_ref()?.as_fd()))
    }

    /// When there is to be another look although nobody watched has ended.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        self.games.values().any(|awaited| awaited.watched.is_none()).then_some(LOOK_AGAIN)
    }

    /// Asks whoever belongs to a game to end, but for its process group if that has heard it already: nobody is asked
    /// twice.
    pub(crate) fn terminate(&self, game: u64, has_group_heard: bool, leftovers: &Leftovers) {
        let leader = self.games.get(&game).map(|awaited| awaited.leader);
        let heard = leader.or_else(|| leftovers.pid(game)).filter(|_| has_group_heard);
        for member in leftovers.members(game, leader) {
            // The first process is signalled by the daemon, whose child it is.
            if leftovers.pid(game) == Some(member.pid())
                || heard.is_some_and(|group| process_group(member.pid()) == Some(group))
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
