//! What a dead game left behind: children that it did not wait for, hidden in sessions of their own or not.
//!
//! The daemon is a child subreaper (prctl(2), `PR_SET_CHILD_SUBREAPER`): a process whose parent dies becomes
//! the daemon's child. So whatever a game left behind is found among the daemon's children, at once or when
//! its own parent has died, and is told from games by its pid. Whose it is, its user says where games have users
//! of their own, and else its environment. Who is in a dead game's control group is the game's in any case.
//! Where a daemon has crashed, what it made is not among this one's children, and found by way of [`Adrift`].
//!
//! Nobody is killed for the user that he runs as: users are numbers, which a container, or another Muster, may use
//! as well.
//!
//! Whoever reads a list and then kills is outrun by processes that fork and end. So they are stopped first: a
//! stopped process makes no other, and counts against its game's limit of processes. When nobody is found any more
//! who runs, all are killed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{Duration, Instant};

use nix::libc;
use process::Pidfd;

use crate::adrift::Adrift;
use crate::confine::Group;
use crate::grace::process_group;

/// How often the list of children is read before it is taken as it is: where so much begins and ends, the next
/// end is near, and with it the next look.
const READINGS_MAX: usize = 8;

/// Processes of a game that are looked at.
const MEMBERS_MAX: usize = 4096;
/// How long one look may go on stopping processes, while launches wait. It is gone on with at the next look.
const LOOK_MAX: Duration = Duration::from_millis(20);

/// How soon there is another look while processes are found that run; and while there was anybody at all, should
/// nobody tell of his end.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
const LOOK_LATER: Duration = Duration::from_millis(50);

/// Knows the games that live, and those that died and may have left something.
pub(crate) struct Leftovers {
    daemon: i32,
    children: Children,
    games: BTreeMap<u64, Game>,
    unclean: BTreeMap<u64, Game>,
    /// Children of the daemon that are no games: templates, the launcher itself, and those that it was born with.
    others: HashSet<i32>,
    /// Processes that were left behind and are stopped, to be killed when nobody else runs.
    caught: HashMap<i32, Pidfd>,
    /// When there is another look, whoever asks for one: there was somebody at the last one.
    next_look: Option<Duration>,
    /// Whether the daemon makes a child that is not known yet.
    is_held: bool,
    /// Where a daemon has crashed.
    adrift: Option<Adrift>,
    /// Whether somebody may be adrift who belongs to no game that ended.
    is_to_look_around: bool,
}

/// What tells who belongs to a game.
#[derive(Default)]
struct Game {
    pid: Option<i32>,
    /// The user who is this game's alone.
    user: Option<u32>,
    group: Option<Group>,
    /// Whether a daemon that crashed made it, or may have made it: nothing of it is this daemon's child.
    is_adrift: bool,
}

impl Leftovers {
    /// Begins before the first game, or with those that live.
    pub(crate) fn new(
        daemon: i32,
        others: impl IntoIterator<Item = i32>,
        adrift: Option<Adrift>,
    ) -> Self {
        let own = i32::try_from(std::process::id()).ok();
        let others = others.into_iter().chain(own).collect();
        let children = Children::new(daemon);
        let (games, unclean) = (BTreeMap::new(), BTreeMap::new());
        let is_to_look_around = adrift.is_some();
        let is_held = false;
        Self {
            daemon,
            children,
            games,
            unclean,
            others,
            caught: HashMap::new(),
            next_look: None,
            is_held,
            adrift,
            is_to_look_around,
        }
    }

    /// Nobody who is unknown is killed, and so no game is clean, until this is said again with `false`.
    pub(crate) fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// A game's process exists.
    pub(crate) fn note_launch(
        &mut self,
        game: u64,
        pid: i32,
        user: Option<u32>,
        group: Option<Group>,
    ) {
        let is_adrift = self.adrift.is_some() && !self.is_child(pid);
        self.games.insert(game, Game { pid: Some(pid), user, group, is_adrift });
    }

    /// A child of the daemon is none of a game's.
    pub(crate) fn note_other(&mut self, pid: i32) {
        self.others.insert(pid);
    }

    /// A template is gone; its number may come again.
    pub(crate) fn forget_other(&mut self, pid: i32) {
        self.others.remove(&pid);
    }

    /// Whether a process is known, and therefore no game that was forked just now.
    pub(crate) fn knows(&self, pid: i32) -> bool {
        self.others.contains(&pid) || self.games.values().any(|game| game.pid == Some(pid))
    }

    /// Whether a process is there, and the daemon's child.
    pub(crate) fn is_child(&self, pid: i32) -> bool {
        parent(pid) == Some(self.daemon)
    }

    /// A game's process was reaped, or never was.
    pub(crate) fn note_end(&mut self, game: u64) {
        let is_adrift = self.adrift.is_some();
        let unknown = || Game { is_adrift, ..Game::default() };
        let ended = self.games.remove(&game).unwrap_or_else(unknown);
        self.unclean.insert(game, ended);
    }

    /// Kills what games that ended left behind, and gives those that are clean: nothing of them was found. The
    /// others are looked for again when what was killed has died.
    pub(crate) fn kill(&mut self) -> Vec<u64> {
        if (self.unclean.is_empty() && !self.is_to_look_around) || self.is_held {
            // Whoever is there belongs to a game that lives, although it may not say so yet: a process shows no
            // environment while it is between two programs.
            return Vec::new();
        }
        let mut held_up = self.kill_adrift();
        let (owners, is_over) = self.stop_strays();
        let was_anybody_left = !owners.is_empty();
        for owner in owners {
            // One that does not say whose it is gets no benefit of the doubt: no game is clean before it is
            // gone. A helper that is to outlive its parent keeps MUSTER_GAME in its environment. One that is
            // dead says nothing either, and while it was dying its children may have become the daemon's.
            match owner.filter(|game| self.unclean.contains_key(game)) {
                Some(game) => drop(held_up.insert(game, ())),
                None => held_up.extend(self.unclean.keys().map(|game| (*game, ()))),
            }
        }
        if is_over {
            self.kill_caught();
        } else {
            held_up.extend(self.unclean.keys().map(|game| (*game, ())));
        }
        for (game, ended) in &self.unclean {
            if let Some(group) = ended.group.as_ref().filter(|group| group.is_populated()) {
                group.kill();
                held_up.insert(*game, ());
            }
        }
        let is_clean = |game: &u64, _: &mut Game| !held_up.contains_key(game);
        let clean = self.unclean.extract_if(.., is_clean).map(|(game, _)| game).collect();
        // A process that was killed may be dead by now, and then nothing reports its end: as long as anything is unclean,
        // another look is due, whatever else may ask for one.
        let is_unreported = self.is_to_look_around && self.dying().next().is_none();
        let is_unclean = !self.unclean.is_empty() || self.is_to_look_around || was_anybody_left;
        let pause = if is_over && !is_unreported { LOOK_LATER } else { LOOK_AGAIN };
        self.next_look = is_unclean.then_some(pause);
        clean
    }

    /// The first process of a game, as long as it has not ended.
    pub(crate) fn pid(&self, game: u64) -> Option<i32> {
        self.games.get(&game)?.pid
    }

    /// The first process of a game has ended, and the game counts as one that lives for as long as others of it do.
    /// Gives the process.
    pub(crate) fn note_leader_end(&mut self, game: u64) -> Option<i32> {
        self.games.get_mut(&game)?.pid.take()
    }

    /// Whether the kernel has killed a process of a game for want of memory.
    pub(crate) fn was_out_of_memory(&self, game: u64) -> bool {
        let group = self.games.get(&game).and_then(|game| game.group.as_ref());
        group.is_some_and(Group::was_out_of_memory)
    }

    /// Whether somebody is in the control group of a game that counts as living.
    pub(crate) fn is_group_populated(&self, game: u64) -> bool {
        let group = self.games.get(&game).and_then(|game| game.group.as_ref());
        group.is_some_and(Group::is_populated)
    }

    /// The living processes of a game that counts as living: the first, those whose parent has died, and all who descend
    /// from them. Who is in the process group of `leader` is the game's as well.
    ///
    /// Looks until it finds the same ones twice: who loses its parent during a look is missed by it, as it is neither
    /// that one's child any more nor was a stray before.
    pub(crate) fn members(&self, game: u64, leader: Option<i32>) -> Vec<Pidfd> {
        let mut found = self.look_for_members(game, leader);
        for _ in 0..READINGS_MAX {
            let again = self.look_for_members(game, leader);
            if again == found {
                break;
            }
            found = again;
        }
        // Who is dead holds nothing any more, and is its parent's to reap.
        let living = found.into_iter().filter_map(|pid| Pidfd::open(pid).ok());
        living.filter(Pidfd::is_alive).take(MEMBERS_MAX).collect()
    }

    fn look_for_members(&self, game: u64, leader: Option<i32>) -> HashSet<i32> {
        let first = self.pid(game);
        let belongs = |pid: &i32| {
            self.owner(*pid) == Some(game)
                || leader.is_some_and(|leader| process_group(*pid) == Some(leader))
        };
        let strays = self.strays().into_iter().filter(belongs);
        let adrift = self.adrift.iter().flat_map(|adrift| adrift.list(|pid| self.knows(pid)));
        let mut found: HashSet<i32> = first.into_iter().chain(strays).collect();
        found.extend(adrift.filter(|pid| self.owner(*pid) == Some(game)));
        let mut queue: Vec<i32> = found.iter().copied().collect();
        while let Some(pid) = queue.pop()
            && found.len() < MEMBERS_MAX
        {
            queue.extend(children(pid).into_iter().filter(|child| found.insert(*child)));
        }
        found
    }

    /// How many processes are left of each of some games, which count as living although their first processes have
    /// ended.
    pub(crate) fn count(&self, games: &[u64]) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        if games.is_empty() || self.strays().is_empty() && self.adrift.is_none() {
            return counts;
        }
        for game in games {
            let leader = self.games.get(game).and_then(|game| game.pid);
            let members = self.members(*game, leader);
            counts.insert(*game, members.iter().filter(|it| Some(it.pid()) != leader).count());
        }
        counts
    }

    /// When there is to be another look, although nobody asks for one.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        self.next_look.filter(|_| !self.is_held)
    }

    /// Stops those whom games that ended left behind, and whom they made, until nobody is found who is not
    /// stopped, or it takes too long. Gives the games that those found belong to, and whether these were all.
    fn stop_strays(&mut self) -> (HashSet<Option<u64>>, bool) {
        let mut owners = HashSet::new();
        if !self.caught.is_empty() {
            // They were found at an earlier look, whoever they belong to.
            owners.insert(None);
        }
        // Helpers of games that live.
        let mut spared = HashSet::new();
        let end = Instant::now() + LOOK_MAX;
        let mut is_first = true;
        loop {
            let mut has_changed = false;
            // One who loses the rest of its process group is continued by the kernel; setpgid(2), "orphaned".
            self.caught.values().for_each(stop);
            // The kernel stops a process that makes another only when that is made: so first there is nobody who
            // runs, and then nobody who is found.
            let all_stand_still = !self.caught.keys().any(|pid| is_running(*pid));
            for pid in self.strays() {
                if self.caught.contains_key(&pid) || spared.contains(&pid) {
                    continue;
                }
                has_changed = true;
                let Some(stray) = self.open_stray(pid, self.daemon) else {
                    // It was reaped meanwhile, and cannot say any more whose it was, or whom it left.
                    owners.insert(None);
                    continue;
                };
                // Who came up just now may be gone as quickly: he is asked whose he is when he stands still.
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
                self.caught.insert(pid, stray);
            }
            has_changed |= self.stop_offspring();
            is_first = false;
            if all_stand_still && !has_changed {
                return (owners, true);
            }
            if Instant::now() >= end {
                return (owners, false);
            }
        }
    }

    /// Stops the children of those who are stopped, and theirs. Whether there were any.
    fn stop_offspring(&mut self) -> bool {
        let begun = self.caught.len();
        let mut parents: Vec<i32> = self.caught.keys().copied().collect();
        while let Some(of) = parents.pop() {
            for pid in children(of) {
                if self.caught.contains_key(&pid) {
                    continue;
                }
                let Some(child) = self.open_stray(pid, of) else { continue };
                stop(&child);
                self.caught.insert(pid, child);
                parents.push(pid);
            }
        }
        self.caught.len() > begun
    }

    fn kill_caught(&mut self) {
        for (_, stray) in self.caught.drain() {
            signal(&stray, libc::SIGKILL);
        }
    }

    /// Those who were killed and are waited for, before there is another look.
    pub(crate) fn dying(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.adrift.iter().filter(|_| !self.is_held).flat_map(Adrift::dying)
    }

    /// Kills what a daemon that crashed has left of games that ended, and of itself. Gives the games that are not
    /// clean because of it.
    fn kill_adrift(&mut self) -> BTreeMap<u64, ()> {
        let are = self.unclean.iter().filter(|(_, game)| game.is_adrift);
        let are: BTreeMap<u64, ()> = are.map(|(game, _)| (*game, ())).collect();
        if are.is_empty() && !self.is_to_look_around {
            return BTreeMap::new();
        }
        let Some(mut adrift) = self.adrift.take() else { return BTreeMap::new() };
        for _ in 0..READINGS_MAX {
            let found = adrift.list(|pid| self.knows(pid));
            // A helper of a game that lives is spared, although its own parent does not.
            let is_stray =
                |pid: &i32| self.owner(*pid).is_none_or(|it| !self.games.contains_key(&it));
            let strays: Vec<i32> = found.into_iter().filter(is_stray).collect();
            if !adrift.stop(&strays) {
                break;
            }
        }
        // While somebody is dying it is too early to look again.
        self.is_to_look_around = adrift.kill_stopped() | adrift.has_dying();
        self.adrift = Some(adrift);
        if self.is_to_look_around { are } else { BTreeMap::new() }
    }

    /// Kills everybody who belongs to a game, and everybody who does not say whose he is: a process that traces
    /// the game, for one, would keep it from being reaped.
    pub(crate) fn purge(&self, game: u64) {
        let purged = self.games.get(&game);
        if let Some(group) = purged.and_then(|purged| purged.group.as_ref()) {
            group.kill();
        }
        for pid in if self.is_held { Vec::new() } else { self.strays() } {
            if self.owner(pid).is_none_or(|of| of == game || !self.games.contains_key(&of))
                && let Some(stray) = self.open_stray(pid, self.daemon)
            {
                signal(&stray, libc::SIGKILL);
            }
        }
    }

    /// The daemon's children that are no games and nobody else who is known.
    fn strays(&self) -> Vec<i32> {
        let games: HashSet<i32> = self.games.values().filter_map(|game| game.pid).collect();
        let is_stray = |pid: &i32| !games.contains(pid) && !self.others.contains(pid);
        self.children.list().into_iter().filter(is_stray).collect()
    }

    fn owner(&self, pid: i32) -> Option<u64> {
        let user = user_of(pid)?;
        let mut all = self.games.iter().chain(&self.unclean);
        let by_user = all.find(|(_, game)| game.user == Some(user));
        by_user.map(|(game, _)| *game).or_else(|| game_of(pid))
    }

    /// Holds on to a process, if it is a child of `of` still. Its number may have come to mean another process since
    /// the list was read; a pidfd means the one that is looked at.
    fn open_stray(&self, pid: i32, of: i32) -> Option<Pidfd> {
        let stray = Pidfd::open(pid).ok()?;
        (parent(pid) == Some(of)).then_some(stray)
    }
}

fn stop(stray: &Pidfd) {
    signal(stray, libc::SIGSTOP);
}

fn signal(stray: &Pidfd, signal: i32) {
    // `false`: it is gone.
    if let Err(error) = stray.signal(signal) {
        log::error!("cannot signal process {}, which a game left behind: {error}", stray.pid());
    }
}

/// The user as whom a process runs; proc_pid_status(5). (Its directory belongs to root if it may not be looked into.)
fn user_of(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().next()?.parse().ok()
}

/// The parent of a process; proc_pid_stat(5).
pub(crate) fn parent(pid: i32) -> Option<i32> {
    stat(pid, 1)?.parse().ok()
}

/// Whether a process does something, or waits for something that a signal ends: it is not stopped, and not dead.
fn is_running(pid: i32) -> bool {
    stat(pid, 0).is_some_and(|state| matches!(state.as_str(), "R" | "S"))
}

/// A field of `/proc/pid/stat` behind the name, which is in brackets and may hold anything.
fn stat(pid: i32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(field).map(str::to_owned)
}

/// The children of a process, whichever of its threads made them.
pub fn children(of: i32) -> Vec<i32> {
    Children::new(of).list()
}

/// Where the children of a process are listed: proc(5), `/proc/pid/task/tid/children`, a list for each of its threads.
struct Children {
    of: i32,
    /// The list of the first thread, which is kept open.
    firsts: Option<File>,
}

impl Children {
    fn new(of: i32) -> Self {
        Self { of, firsts: File::open(format!("/proc/{of}/task/{of}/children")).ok() }
    }

    /// Reads the lists until they say the same twice: some are left out when others are reaped meanwhile.
    fn list(&self) -> Vec<i32> {
        let mut children = self.read();
        for _ in 0..READINGS_MAX {
            let again = self.read();
            if again == children {
                break;
            }
            children = again;
        }
        children
    }

    fn read(&self) -> Vec<i32> {
        match &self.firsts {
            Some(firsts) if self.is_alone() => pids(&read_again(firsts)),
            _ => self.read_of_all_threads(),
        }
    }

    /// Whether the process has one thread, by the links to the directory of its threads, of which two are none.
    fn is_alone(&self) -> bool {
        fs::metadata(format!("/proc/{}/task", self.of)).is_ok_and(|threads| threads.nlink() == 3)
    }

    fn read_of_all_threads(&self) -> Vec<i32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.of));
        let lists = threads.into_iter().flatten().flatten();
        let lists = lists.flat_map(|thread| fs::read(thread.path().join("children")));
        lists.flat_map(|list| pids(&list)).collect()
    }
}

/// Reads a file of proc(5) from its beginning, as it is now.
fn read_again(file: &File) -> Vec<u8> {
    let mut text = vec![0; 4096];
    let mut length = 0;
    while let Ok(read) = file.read_at(&mut text[length..], length as u64)
        && read > 0
    {
        length += read;
        if length == text.len() {
            text.resize(2 * length, 0);
        }
    }
    text.truncate(length);
    text
}

fn pids(list: &[u8]) -> Vec<i32> {
    let list = String::from_utf8_lossy(list);
    list.split_ascii_whitespace().flat_map(str::parse).collect()
}

/// The game that a process says it belongs to, by the environment it was started with.
fn game_of(pid: i32) -> Option<u64> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|&byte| byte == 0);
    let game = variables.find_map(|variable| variable.strip_prefix(b"MUSTER_GAME="))?;
    std::str::from_utf8(game).ok()?.parse().ok()
}
