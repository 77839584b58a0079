//! What a dead game left behind: children that it did not wait for, hidden in sessions of their own or not.
//!
//! The daemon is a child subreaper (prctl(2), `PR_SET_CHILD_SUBREAPER`): a process whose parent dies becomes
//! the daemon's child. So whatever a game left behind is found among the daemon's children, at once or when
//! its own parent has died, and is told from games by its pid. Whose it is, its user says where games have users
//! of their own, and else its environment. Who is in a dead game's control group is the game's in any case.
//! Where a daemon has crashed, what it made is not among this one's children, and found by way of [`Adrift`].

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use process::{Pidfd, Stack};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::adrift::Adrift;
use crate::confine::Group;
use crate::grace::process_group;

/// How often the list of children is read before it is taken as it is: where so much begins and ends, the next
/// end is near, and with it the next look.
const READINGS_MAX: usize = 8;

/// Processes of a game that are looked at.
const MEMBERS_MAX: usize = 4096;

/// Knows the games that live, and those that died and may have left something.
pub(crate) struct Leftovers {
    daemon: i32,
    children: Children,
    games: BTreeMap<u64, Game>,
    unclean: BTreeMap<u64, Game>,
    /// Children of the daemon that are no games: templates, the launcher itself, and those that it was born with.
    others: HashSet<i32>,
    /// The user as whom all processes of a game's user are killed.
    killer: Option<u32>,
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
        killer: Option<u32>,
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
            killer,
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
    pub(crate) fn kill(&mut self, stack: &mut Stack) -> Vec<u64> {
        if (self.unclean.is_empty() && !self.is_to_look_around) || self.is_held {
            // Whoever is there belongs to a game that lives, although it may not say so yet: a process shows no
            // environment while it is between two programs.
            return Vec::new();
        }
        let mut held_up = self.kill_adrift();
        for pid in self.strays() {
            let owner = self.owner(pid);
            if owner.is_some_and(|game| self.games.contains_key(&game)) {
                // A helper of a game that lives.
                continue;
            }
            // One that does not say whose it is gets no benefit of the doubt: no game is clean before it is
            // gone. A helper that is to outlive its parent keeps MUSTER_GAME in its environment. One that is
            // dead says nothing either, and while it was dying its children may have become the daemon's.
            match owner.filter(|game| self.unclean.contains_key(game)) {
                Some(game) => drop(held_up.insert(game, ())),
                None => held_up.extend(self.unclean.keys().map(|game| (*game, ()))),
            }
            self.kill_stray(pid);
            if let Some(user) = owner.and_then(|game| self.unclean.get(&game)?.user) {
                self.kill_user(stack, user);
            }
        }
        for (game, ended) in &self.unclean {
            if let Some(group) = ended.group.as_ref().filter(|group| group.is_populated()) {
                group.kill();
                held_up.insert(*game, ());
            }
        }
        let is_clean = |game: &u64, _: &mut Game| !held_up.contains_key(game);
        self.unclean.extract_if(.., is_clean).map(|(game, _)| game).collect()
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
    pub(crate) fn members(&self, game: u64, leader: Option<i32>) -> Vec<Pidfd> {
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
        let mut members = Vec::new();
        while let Some(pid) = queue.pop()
            && members.len() < MEMBERS_MAX
        {
            queue.extend(children(pid).into_iter().filter(|child| found.insert(*child)));
            // Who is dead holds nothing any more, and is its parent's to reap.
            members.extend(Pidfd::open(pid).ok().filter(Pidfd::is_alive));
        }
        members
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
        self.is_to_look_around = true;
        for _ in 0..READINGS_MAX {
            let found = adrift.list(|pid| self.knows(pid));
            // A helper of a game that lives is spared, although its own parent does not.
            let is_stray =
                |pid: &i32| self.owner(*pid).is_none_or(|it| !self.games.contains_key(&it));
            let strays: Vec<i32> = found.into_iter().filter(is_stray).collect();
            strays.iter().for_each(|pid| adrift.kill(*pid));
            // While somebody is dying it is too early to look again.
            let is_over = strays.is_empty();
            self.is_to_look_around = adrift.has_dying() || !is_over;
            if adrift.has_dying() || is_over {
                break;
            }
        }
        self.adrift = Some(adrift);
        if self.is_to_look_around { are } else { BTreeMap::new() }
    }

    /// Kills everybody who belongs to a game, and everybody who does not say whose he is: a process that traces
    /// the game, for one, would keep it from being reaped.
    pub(crate) fn purge(&self, game: u64, stack: &mut Stack) {
        let purged = self.games.get(&game);
        if let Some(group) = purged.and_then(|purged| purged.group.as_ref()) {
            group.kill();
        }
        if let Some(user) = purged.and_then(|purged| purged.user) {
            self.kill_user(stack, user);
        }
        for pid in if self.is_held { Vec::new() } else { self.strays() } {
            if self.owner(pid).is_none_or(|of| of == game || !self.games.contains_key(&of)) {
                self.kill_stray(pid);
            }
        }
    }

    fn kill_user(&self, stack: &mut Stack, user: u32) {
        let Some(killer) = self.killer else { return };
        if let Err(error) = process::kill_all_of(stack, user, killer) {
            log::error!("cannot kill the processes of a game: {error}");
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

    /// Kills a child of the daemon. Its number may have come to mean another process since the list was read; a
    /// pidfd holds on to the one that is looked at.
    fn kill_stray(&self, pid: i32) {
        let Some(process) = Pid::from_raw(pid) else { return };
        let kill = || {
            let stray = pidfd_open(process, PidfdFlags::empty())?;
            match parent(pid) == Some(self.daemon) {
                true => pidfd_send_signal(stray, Signal::KILL),
                false => Ok(()),
            }
        };
        match kill() {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => {
                log::error!("cannot kill process {pid}, which a game left behind: {error}");
            }
        }
    }
}

/// The user as whom a process runs; proc_pid_status(5). (Its directory belongs to root if it may not be looked into.)
fn user_of(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().next()?.parse().ok()
}

/// The parent of a process; proc_pid_stat(5). Its name, in brackets, may hold anything.
pub(crate) fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(1)?.parse().ok()
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
