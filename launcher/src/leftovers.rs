//! LeftoverReaper: processes that an ended game did not wait for, in sessions of their own or not.
//!
//! The daemon is a child subreaper (prctl(2), `PR_SET_CHILD_SUBREAPER`): a process whose parent dies becomes the
//! daemon's child. So whatever a game left is found among the daemon's children, at once or when its own parent has
//! died, and differs from games by its pid. Its game is found by its user where games have users of their own,
//! otherwise by its environment. A process in an ended game's control group belongs to that game in any case. The
//! processes of a crashed daemon are not among this one's children; [`Orphans`] finds them.
//!
//! No process is killed because of its user alone: users are numbers, which a container, or another Muster, may use
//! as well.
//!
//! Processes that fork and end are faster than one who reads a list and then kills. So they are stopped first: a
//! stopped process creates no other, and counts against its game's limit of processes. When no running one is found
//! any more, all are killed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::libc;
use process::{Pidfd, proc};

use crate::confine::Group;
use crate::grace::process_group;
use crate::limits::{MEMBERS_MAX, SCAN_MAX, SCANS_MAX};
use crate::orphans::Orphans;

/// When to scan again while running processes are found.
const SCAN_AGAIN: Duration = Duration::from_millis(1);
/// When to scan again while any process was found, should no notification of its end arrive.
const SCAN_LATER: Duration = Duration::from_millis(50);

/// Knows the living games, and the ended ones that may have left processes.
pub(crate) struct LeftoverReaper {
    daemon: i32,
    children: proc::Children,
    games: BTreeMap<u64, Game>,
    unclean: BTreeMap<u64, Game>,
    /// Children of the daemon that are not games: templates, the launcher itself, and those that the daemon had
    /// at its start.
    exempt: HashSet<i32>,
    /// LeftoverReaper that are stopped, to be killed when no other one runs.
    stopped: HashMap<i32, Pidfd>,
    /// When to scan again without an order: the last scan found a process.
    next_scan: Option<Duration>,
    /// Whether the daemon creates a child that is not known yet.
    is_paused: bool,
    /// Set where an earlier daemon has crashed.
    orphans: Option<Orphans>,
    /// Whether there may be orphans that belong to no ended game.
    may_have_orphans: bool,
}

/// The characteristics of a game's processes.
#[derive(Default)]
struct Game {
    pid: Option<i32>,
    /// The user of this game alone.
    user: Option<u32>,
    group: Option<Group>,
    /// Whether a crashed daemon created it, or may have: its processes are not this daemon's children.
    is_orphaned: bool,
}

impl LeftoverReaper {
    /// Starts before the first game, or with the living ones.
    pub(crate) fn new(
        daemon: i32,
        exempt: impl IntoIterator<Item = i32>,
        orphans: Option<Orphans>,
    ) -> Self {
        let own = i32::try_from(std::process::id()).ok();
        Self {
            daemon,
            children: proc::Children::new(daemon),
            games: BTreeMap::new(),
            unclean: BTreeMap::new(),
            exempt: exempt.into_iter().chain(own).collect(),
            stopped: HashMap::new(),
            next_scan: None,
            is_paused: false,
            may_have_orphans: orphans.is_some(),
            orphans,
        }
    }

    /// While paused, no unknown process is killed, and so no game is clean.
    pub(crate) fn set_paused(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// A game's process exists.
    pub(crate) fn note_launch(
        &mut self,
        game: u64,
        pid: i32,
        user: Option<u32>,
        group: Option<Group>,
    ) {
        let is_orphaned = self.orphans.is_some() && !self.is_child(pid);
        self.games.insert(game, Game { pid: Some(pid), user, group, is_orphaned });
    }

    /// Exempts a child of the daemon that belongs to no game.
    pub(crate) fn exempt(&mut self, pid: i32) {
        self.exempt.insert(pid);
    }

    /// A template has ended; its number may be reused.
    pub(crate) fn end_exemption(&mut self, pid: i32) {
        self.exempt.remove(&pid);
    }

    /// Whether a process is known, and therefore not a game that was forked just now.
    pub(crate) fn knows(&self, pid: i32) -> bool {
        self.exempt.contains(&pid) || self.games.values().any(|game| game.pid == Some(pid))
    }

    /// Whether a process exists and is the daemon's child.
    pub(crate) fn is_child(&self, pid: i32) -> bool {
        proc::parent(pid) == Some(self.daemon)
    }

    /// A game's process was reaped, or never existed.
    pub(crate) fn note_end(&mut self, game: u64) {
        let is_orphaned = self.orphans.is_some();
        let unknown = || Game { is_orphaned, ..Game::default() };
        let ended = self.games.remove(&game).unwrap_or_else(unknown);
        self.unclean.insert(game, ended);
    }

    /// Kills the leftovers of ended games, and returns the games that are clean: no process of them was found.
    /// The others are scanned again when the killed processes have died.
    pub(crate) fn kill(&mut self) -> Vec<u64> {
        if (self.unclean.is_empty() && !self.may_have_orphans) || self.is_paused {
            // An unknown process belongs to a living game, although it may not say so yet: a process
            // shows no environment while it changes from one program to the next.
            return Vec::new();
        }
        let mut held_up = self.kill_orphans();
        let (owners, is_over) = self.stop_strays();
        let found_any = !owners.is_empty();
        for owner in owners {
            // A process of an unknown game gets no benefit of the doubt: no game is clean before it is
            // gone. A helper that should outlive its parent keeps MUSTER_GAME in its environment. A
            // dead process reports nothing either, and while it was dying its children may have become
            // the daemon's.
            match owner.filter(|game| self.unclean.contains_key(game)) {
                Some(game) => drop(held_up.insert(game)),
                None => held_up.extend(self.unclean.keys()),
            }
        }
        if is_over {
            self.kill_stopped();
        } else {
            held_up.extend(self.unclean.keys());
        }
        for (game, ended) in &self.unclean {
            if let Some(group) = ended.group.as_ref().filter(|group| group.is_populated()) {
                group.kill();
                held_up.insert(*game);
            }
        }
        let is_clean = |game: &u64, _: &mut Game| !held_up.contains(game);
        let clean = self.unclean.extract_if(.., is_clean).map(|(game, _)| game).collect();
        // As long as anything is unclean, another scan is due without an order: not every end is reported.
        let is_unclean = !self.unclean.is_empty() || self.may_have_orphans || found_any;
        let pause = if is_over { SCAN_LATER } else { SCAN_AGAIN };
        self.next_scan = is_unclean.then_some(pause);
        clean
    }

    /// The first process of a game, unless it has ended.
    pub(crate) fn pid(&self, game: u64) -> Option<i32> {
        self.games.get(&game)?.pid
    }

    /// The first process of a game has ended; the game counts as living as long as it has other processes.
    /// Returns the process.
    pub(crate) fn note_leader_end(&mut self, game: u64) -> Option<i32> {
        self.games.get_mut(&game)?.pid.take()
    }

    /// Whether the kernel has killed a process of a game because its memory was used up.
    pub(crate) fn was_out_of_memory(&self, game: u64) -> bool {
        let group = self.games.get(&game).and_then(|game| game.group.as_ref());
        group.is_some_and(Group::was_out_of_memory)
    }

    /// Whether the control group of a living game has processes.
    pub(crate) fn is_group_populated(&self, game: u64) -> bool {
        let group = self.games.get(&game).and_then(|game| game.group.as_ref());
        group.is_some_and(Group::is_populated)
    }

    /// The living processes of a game that counts as living: the first, those whose parent has died, and their
    /// descendants. The process group of `leader` belongs to the game as well.
    ///
    /// Scans until two scans agree: a process that loses its parent during a scan is missed by it, as it is no
    /// longer that parent's child and was not a stray before.
    pub(crate) fn members(&self, game: u64, leader: Option<i32>) -> Vec<Pidfd> {
        let mut found = self.find_members(game, leader);
        for _ in 0..SCANS_MAX {
            let again = self.find_members(game, leader);
            if again == found {
                break;
            }
            found = again;
        }
        // A zombie holds nothing any more, and is its parent's to reap.
        let living = found.into_iter().filter_map(|pid| Pidfd::open(pid).ok());
        living.filter(Pidfd::is_alive).take(MEMBERS_MAX).collect()
    }

    fn find_members(&self, game: u64, leader: Option<i32>) -> HashSet<i32> {
        let first = self.pid(game);
        let belongs = |pid: &i32| {
            self.owner(*pid) == Some(game)
                || leader.is_some_and(|leader| process_group(*pid) == Some(leader))
        };
        let strays = self.strays().into_iter().filter(belongs);
        let orphans = self.orphans.iter().flat_map(|it| it.list(|pid| self.knows(pid)));
        let mut found: HashSet<i32> = first.into_iter().chain(strays).collect();
        found.extend(orphans.filter(|pid| self.owner(*pid) == Some(game)));
        let mut queue: Vec<i32> = found.iter().copied().collect();
        while let Some(pid) = queue.pop()
            && found.len() < MEMBERS_MAX
        {
            queue.extend(proc::children(pid).into_iter().filter(|child| found.insert(*child)));
        }
        found
    }

    /// Counts the processes that are left of games which count as living although their first processes have ended.
    pub(crate) fn count(&self, games: &[u64]) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        if games.is_empty() || self.strays().is_empty() && self.orphans.is_none() {
            return counts;
        }
        for game in games {
            let leader = self.games.get(game).and_then(|game| game.pid);
            let members = self.members(*game, leader);
            counts.insert(*game, members.iter().filter(|it| Some(it.pid()) != leader).count());
        }
        counts
    }

    /// When to scan again without an order.
    pub(crate) fn next_scan(&self) -> Option<Duration> {
        self.next_scan.filter(|_| !self.is_paused)
    }

    /// Stops the leftovers of ended games and their descendants, until every process found is stopped, or it
    /// takes too long. Returns the games of the processes found, and whether these were all.
    fn stop_strays(&mut self) -> (HashSet<Option<u64>>, bool) {
        let mut owners = HashSet::new();
        if !self.stopped.is_empty() {
            // They were found at an earlier scan, whatever their game.
            owners.insert(None);
        }
        // Helpers of living games.
        let mut spared = HashSet::new();
        let end = Instant::now() + SCAN_MAX;
        let mut is_first = true;
        loop {
            let mut has_changed = false;
            // The kernel continues a process that loses the rest of its process group; setpgid(2),
            // "orphaned".
            self.stopped.values().for_each(stop);
            // The kernel stops a forking process only when the child exists: so first no process runs,
            // and then no process is found.
            let all_are_stopped = !self.stopped.keys().any(|pid| is_running(*pid));
            for pid in self.strays() {
                if self.stopped.contains_key(&pid) || spared.contains(&pid) {
                    continue;
                }
                has_changed = true;
                let Some(stray) = self.open_stray(pid, self.daemon) else {
                    // It was reaped meanwhile, and its game and its children are unknown.
                    owners.insert(None);
                    continue;
                };
                // A process that has just appeared may be gone as quickly: its game is read when it
                // is stopped.
                if !is_first {
                    stop(&stray);
                }
                let owner = self.owner(pid);
                if owner.is_some_and(|game| self.games.contains_key(&game)) {
                    if !is_first {
                        signal(&stray, libc::SIGCONT);
                    }
                    spared.insert(pid);
                    continue;
                }
                stop(&stray);
                owners.insert(owner);
                self.stopped.insert(pid, stray);
            }
            has_changed |= self.stop_offspring();
            is_first = false;
            if all_are_stopped && !has_changed {
                return (owners, true);
            }
            if Instant::now() >= end {
                return (owners, false);
            }
        }
    }

    /// Stops the descendants of stopped processes. Returns whether there were any.
    fn stop_offspring(&mut self) -> bool {
        let before = self.stopped.len();
        let mut parents: Vec<i32> = self.stopped.keys().copied().collect();
        while let Some(of) = parents.pop() {
            for pid in proc::children(of) {
                if self.stopped.contains_key(&pid) {
                    continue;
                }
                let Some(child) = self.open_stray(pid, of) else { continue };
                stop(&child);
                self.stopped.insert(pid, child);
                parents.push(pid);
            }
        }
        self.stopped.len() > before
    }

    fn kill_stopped(&mut self) {
        for (_, stray) in self.stopped.drain() {
            signal(&stray, libc::SIGKILL);
        }
    }

    /// The killed orphans whose end precedes the next scan.
    pub(crate) fn dying(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.orphans.iter().filter(|_| !self.is_paused).flat_map(Orphans::dying)
    }

    /// Kills the orphans: the processes of ended games and of the crashed daemon. Returns the games that are
    /// not clean because of them.
    fn kill_orphans(&mut self) -> BTreeSet<u64> {
        let orphaned = self.unclean.iter().filter(|(_, game)| game.is_orphaned);
        let orphaned: BTreeSet<u64> = orphaned.map(|(game, _)| *game).collect();
        if orphaned.is_empty() && !self.may_have_orphans {
            return BTreeSet::new();
        }
        let Some(mut orphans) = self.orphans.take() else { return BTreeSet::new() };
        for _ in 0..SCANS_MAX {
            let found = orphans.list(|pid| self.knows(pid));
            // A helper of a living game is spared, although its own parent is dead.
            let is_stray =
                |pid: &i32| self.owner(*pid).is_none_or(|it| !self.games.contains_key(&it));
            let strays: Vec<i32> = found.into_iter().filter(is_stray).collect();
            if !orphans.stop(&strays) {
                break;
            }
        }
        // The processes killed now are noted by the next scan, even if they are dead by then: each pidfd causes one.
        self.may_have_orphans = orphans.has_dying() | orphans.kill_stopped();
        debug_assert_eq!(self.may_have_orphans, orphans.dying().next().is_some());
        self.orphans = Some(orphans);
        if self.may_have_orphans { orphaned } else { BTreeSet::new() }
    }

    /// Kills all processes of a game, and all of unknown games: a process that traces the game, for example,
    /// would keep it from being reaped.
    pub(crate) fn purge(&self, game: u64) {
        let purged = self.games.get(&game);
        if let Some(group) = purged.and_then(|purged| purged.group.as_ref()) {
            group.kill();
        }
        for pid in if self.is_paused { Vec::new() } else { self.strays() } {
            if self.owner(pid).is_none_or(|of| of == game || !self.games.contains_key(&of))
                && let Some(stray) = self.open_stray(pid, self.daemon)
            {
                signal(&stray, libc::SIGKILL);
            }
        }
    }

    /// The daemon's children that are neither games nor exempt.
    fn strays(&self) -> Vec<i32> {
        let games: HashSet<i32> = self.games.values().filter_map(|game| game.pid).collect();
        let is_stray = |pid: &i32| !games.contains(pid) && !self.exempt.contains(pid);
        self.children.list().into_iter().filter(is_stray).collect()
    }

    fn owner(&self, pid: i32) -> Option<u64> {
        let user = proc::user(pid)?;
        let mut all = self.games.iter().chain(&self.unclean);
        let by_user = all.find(|(_, game)| game.user == Some(user));
        by_user.map(|(game, _)| *game).or_else(|| game_of(pid))
    }

    /// Opens a process, if it is still a child of `of`. Its number may mean another process by now; the pidfd
    /// means the one that is checked.
    fn open_stray(&self, pid: i32, of: i32) -> Option<Pidfd> {
        let stray = Pidfd::open(pid).ok()?;
        (proc::parent(pid) == Some(of)).then_some(stray)
    }
}

fn stop(stray: &Pidfd) {
    signal(stray, libc::SIGSTOP);
}

fn signal(stray: &Pidfd, signal: i32) {
    // `false`: it was reaped.
    if let Err(error) = stray.signal(signal) {
        log::error!("cannot signal process {}, left by a game: {error}", stray.pid());
    }
}

/// Whether a process runs, or waits for something that a signal interrupts: it is neither stopped nor dead.
fn is_running(pid: i32) -> bool {
    matches!(proc::state(pid), Some('R' | 'S'))
}

/// The game of a process, by the environment it was started with.
fn game_of(pid: i32) -> Option<u64> {
    let environment = proc::environment(pid);
    let game = environment.iter().find_map(|variable| variable.strip_prefix(b"MUSTER_GAME="))?;
    std::str::from_utf8(game).ok()?.parse().ok()
}
