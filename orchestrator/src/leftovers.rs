//! What a dead game left behind: children that it did not wait for, hidden in sessions of their own or not.
//!
//! The daemon is a child subreaper (prctl(2), `PR_SET_CHILD_SUBREAPER`): a process whose parent dies becomes
//! the daemon's child. So whatever a game left behind is found among the daemon's children, at once or when
//! its own parent has died, and is told from games by its pid.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;

use matchmaker::GameId;
use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// How often the list of children is read before it is taken as it is: where so much begins and ends, the next
/// end is near, and with it the next look.
const READINGS_MAX: usize = 8;

/// Knows the games that live, and those that died and may have left something.
#[derive(Debug)]
pub(crate) struct Leftovers {
    games: BTreeMap<GameId, i32>,
    unclean: BTreeSet<GameId>,
    /// Children that the daemon was born with, by way of exec: none of its business.
    inherited: HashSet<i32>,
}

impl Leftovers {
    /// Begins before the first game.
    pub(crate) fn new() -> Self {
        let inherited = children().into_iter().collect();
        Self { games: BTreeMap::new(), unclean: BTreeSet::new(), inherited }
    }

    /// A game's process exists.
    pub(crate) fn note_launch(&mut self, game: GameId, pid: i32) {
        self.games.insert(game, pid);
    }

    /// A game's process was reaped.
    pub(crate) fn note_end(&mut self, game: GameId) {
        self.games.remove(&game);
        self.unclean.insert(game);
    }

    /// Kills what games that ended left behind, and gives those that are clean: nothing of them was found. The
    /// others are looked for again when what was killed has died.
    pub(crate) fn kill(&mut self) -> Vec<GameId> {
        let mut held_up = BTreeSet::new();
        for pid in self.strays() {
            let game = game_of(pid);
            if game.is_some_and(|game| self.games.contains_key(&game)) {
                // A helper of a game that lives.
                continue;
            }
            // One that does not say whose it is gets no benefit of the doubt: no game is clean before it is
            // gone. A helper that is to outlive its parent keeps MUSTER_GAME in its environment. One that is
            // dead says nothing either, and while it was dying its children may have become ours.
            match game.filter(|game| self.unclean.contains(game)) {
                Some(game) => drop(held_up.insert(game)),
                None => held_up.extend(self.unclean.iter().copied()),
            }
            kill(pid);
        }
        let clean: Vec<GameId> = self.unclean.difference(&held_up).copied().collect();
        self.unclean = held_up;
        clean
    }

    /// Kills everybody but the process itself who belongs to a game, and everybody who does not say whose he is: a
    /// process that traces the game, for one, would keep it from being reaped.
    pub(crate) fn purge(&self, game: GameId) {
        for pid in self.strays() {
            if game_of(pid).is_none_or(|of| of == game || !self.games.contains_key(&of)) {
                kill(pid);
            }
        }
    }

    /// The daemon's children that are no games and that it was not born with.
    fn strays(&self) -> Vec<i32> {
        let known: HashSet<i32> = self.games.values().copied().collect();
        let is_stray = |pid: &i32| !known.contains(pid) && !self.inherited.contains(pid);
        children().into_iter().filter(is_stray).collect()
    }
}

fn kill(pid: i32) {
    match signal::kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => log::error!("cannot kill process {pid}, which a game left behind: {error}"),
    }
}

/// The children of this process, whichever of its threads made them; proc(5), `/proc/pid/task/tid/children`,
/// which leaves some out when others are reaped while it is read. So it is read until it says the same twice.
fn children() -> Vec<i32> {
    let mut children = read_children();
    for _ in 0..READINGS_MAX {
        let again = read_children();
        if again == children {
            break;
        }
        children = again;
    }
    children
}

fn read_children() -> Vec<i32> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("children")));
    let pids =
        |list: String| list.split_ascii_whitespace().flat_map(str::parse).collect::<Vec<_>>();
    lists.flatten().flat_map(pids).collect()
}

/// The game that a process says it belongs to, by the environment it was started with.
fn game_of(pid: i32) -> Option<GameId> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|&byte| byte == 0);
    let game = variables.find_map(|variable| variable.strip_prefix(b"MUSTER_GAME="))?;
    std::str::from_utf8(game).ok()?.parse().ok().map(GameId)
}
