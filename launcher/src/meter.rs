//! What games' working directories hold, measured while the games run: all directories lie in one file system, and a
//! game that fills it would take from all others.
//!
//! A measurement is a walk. What is walked is hostile: a directory is opened component by component, no link is
//! followed, and neither the depth nor the number of entries is believed to be small. A walk is made in turns with a
//! bounded number of entries each, so that no launch waits for it, and ends as soon as the bound is passed. Where the
//! whole file system holds less than the bound of any game, nothing is walked at all.
//!
//! Not seen: files that are open and have no name any more, and files beneath `confinement.write`.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, StatVfs, chmod, openat, statat, statvfs};
use rustix::io;

/// From one round through all games to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// From one turn of a round to the next.
const SHORT_PAUSE: Duration = Duration::from_millis(20);

/// How long a pause is at least, in times of the turn before it, so that measuring takes a twentieth of a processor at
/// most; and how long that makes it.
const PAUSE_OF_TURNS: u32 = 20;
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Entries in a turn: a few milliseconds.
const ENTRIES_PER_TURN: usize = 2048;

/// Entries that are looked at when a game has ended, whose directory is about to go.
const ENTRIES_AT_END: usize = 16 * 1024;

/// Bytes of a directory for each file or directory in it, and how many of these it may have at least. On tmpfs one with
/// nothing in it takes about a thousand bytes of the kernel's memory.
const BYTES_PER_ENTRY: u64 = 16 * 1024;
const ENTRIES_MIN: u64 = 1024;

/// The part of the file system that one game may have.
const SHARE: u64 = 2;

/// Directories inside each other, and bytes of the names of those that a walk has not seen yet, at most. A game with
/// more is over its bound: no walk would come to an end.
const DEPTH_MAX: usize = 64;
const NAMES_MAX: usize = 4 << 20;

/// `st_blocks` counts in these; stat(2).
const BLOCK: u64 = 512;

/// A game that holds more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) game: u64,
    /// What was found until the bound was passed.
    pub(crate) held: Held,
}

/// What a directory holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// As the file system allots them, not as the files' sizes are.
    pub(crate) bytes: u64,
    /// Files and directories.
    pub(crate) entries: u64,
}

impl Held {
    /// What a game with a `directory_max` may hold in a file system: never more than its share of that.
    fn most(directory_max: u64, system: &StatVfs) -> Self {
        let share = |all: u64| if all == 0 { u64::MAX } else { all / SHARE };
        Self {
            bytes: directory_max.min(share(system.f_blocks.saturating_mul(system.f_frsize))),
            entries: (directory_max / BYTES_PER_ENTRY).max(ENTRIES_MIN).min(share(system.f_files)),
        }
    }

    /// What is in use of a whole file system. Some do not count their files.
    fn of_system(system: &StatVfs) -> Self {
        let used = |all: u64, free: u64| if all == 0 { u64::MAX } else { all.saturating_sub(free) };
        Self {
            bytes: used(system.f_blocks, system.f_bfree).saturating_mul(system.f_frsize),
            entries: used(system.f_files, system.f_ffree),
        }
    }

    fn reaches(self, most: Self) -> bool {
        self.bytes >= most.bytes || self.entries >= most.entries
    }
}

/// Measures the directories of games, one after another.
#[derive(Default)]
pub(crate) struct Meter {
    games: BTreeMap<u64, Metered>,
    /// The game that is measured.
    walk: Option<(u64, Walk)>,
    next_look: Option<Instant>,
}

struct Metered {
    directory: PathBuf,
    /// The mode's `directory_max`.
    max: u64,
}

impl Meter {
    /// A game is there that may hold so much.
    pub(crate) fn watch(&mut self, game: u64, directory: &Path, max: u64) {
        self.games.insert(game, Metered { directory: directory.to_owned(), max });
        self.next_look.get_or_insert_with(|| Instant::now() + PAUSE);
    }

    /// A game is gone.
    pub(crate) fn forget(&mut self, game: u64) {
        self.games.remove(&game);
        if self.games.is_empty() {
            (self.walk, self.next_look) = (None, None);
        }
    }

    /// When to look.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.next_look
    }

    /// Whether it is time to look.
    pub(crate) fn is_due(&self) -> bool {
        self.next_look.is_some_and(|at| at <= Instant::now())
    }

    /// Measures for a turn, if it is time. A game that holds too much is told of once.
    pub(crate) fn look(&mut self, place: &Path) -> Vec<Excess> {
        if !self.is_due() {
            return Vec::new();
        }
        let (begun, mut over) = (Instant::now(), Vec::new());
        let is_round_over = match statvfs(place) {
            Ok(system) => self.measure(&system, &mut over),
            // The place is gone, which the next launch mends.
            Err(_) => true,
        };
        over.iter().for_each(|excess| drop(self.games.remove(&excess.game)));
        let pause = if is_round_over { PAUSE } else { SHORT_PAUSE };
        let pause = pause.max((begun.elapsed() * PAUSE_OF_TURNS).min(PAUSE_MAX));
        self.next_look = (!self.games.is_empty()).then(|| Instant::now() + pause);
        over
    }

    /// Whether a game has ended with a directory that holds too much, of which nothing was told: what it could not write
    /// may have ended it.
    pub(crate) fn is_full_at_end(&self, game: u64, place: &Path) -> bool {
        let Some(metered) = self.games.get(&game) else { return false };
        let Ok(system) = statvfs(place) else { return false };
        let most = Held::most(metered.max, &system);
        let mut walk = Walk::of(game);
        Held::of_system(&system).reaches(most)
            && walk.go_on(&metered.directory, most, &mut ENTRIES_AT_END.clone())
            && walk.held.reaches(most)
    }

    /// Goes on with a round, or begins one. Whether it is over.
    fn measure(&mut self, system: &StatVfs, over: &mut Vec<Excess>) -> bool {
        let used = Held::of_system(system);
        let mut left = ENTRIES_PER_TURN;
        let (mut after, mut walk) = match self.walk.take() {
            Some((game, walk)) => (game, Some(walk)),
            None => (0, None),
        };
        while let Some((&game, metered)) = self.games.range(after..).next() {
            after = game + 1;
            let most = Held::most(metered.max, system);
            if !used.reaches(most) {
                walk = None;
                continue;
            }
            // One that was begun is this game's, unless that is gone.
            let mut this =
                walk.take().filter(|walk| walk.game == game).unwrap_or_else(|| Walk::of(game));
            let is_done = this.go_on(&metered.directory, most, &mut left);
            if this.held.reaches(most) {
                over.push(Excess { game, held: this.held });
            } else if !is_done {
                self.walk = Some((game, this));
                return false;
            } else if left == 0 {
                self.walk = Some((game + 1, Walk::of(game + 1)));
                return false;
            }
        }
        true
    }
}

/// A walk through a game's directory.
struct Walk {
    game: u64,
    held: Held,
    /// Directories that were not read yet, by the names that lead there.
    unread: Vec<Vec<CString>>,
    /// Bytes of their names.
    names: usize,
    /// The one that is read.
    reading: Option<(Vec<CString>, Dir)>,
}

impl Walk {
    fn of(game: u64) -> Self {
        Self { game, held: Held::default(), unread: vec![Vec::new()], names: 0, reading: None }
    }

    /// Sees as many entries as are `left` of the turn. Whether it is done: there is nothing more, or too much.
    fn go_on(&mut self, top: &Path, most: Held, left: &mut usize) -> bool {
        while *left > 0 && !self.held.reaches(most) {
            let Some((path, dir)) = &mut self.reading else {
                let Some(path) = self.unread.pop() else { return true };
                *left = left.saturating_sub(1 + path.len());
                self.names -= bytes_of(&path);
                // It is gone, or closed to all: what is in it cannot be had.
                self.reading = open(top, &path).and_then(Dir::new).ok().map(|dir| (path, dir));
                continue;
            };
            let Some(Ok(entry)) = dir.read() else {
                self.reading = None;
                continue;
            };
            *left -= 1;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.held.entries += 1;
            let Ok(stat) = dir.fd().and_then(|dir| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW))
            else {
                continue;
            };
            // A file with more names than one is met at each of them.
            let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
            let links =
                if is_dir(stat.st_mode) { 1 } else { u64::from(stat.st_nlink as u32).max(1) };
            self.held.bytes += blocks.saturating_mul(BLOCK) / links;
            if is_dir(stat.st_mode) {
                let below: Vec<CString> = path.iter().cloned().chain([name.to_owned()]).collect();
                self.names += bytes_of(&below);
                if below.len() > DEPTH_MAX || self.names > NAMES_MAX {
                    self.held.entries = self.held.entries.max(most.entries);
                }
                self.unread.push(below);
            }
        }
        self.held.reaches(most)
    }
}

fn is_dir(mode: rustix::fs::RawMode) -> bool {
    rustix::fs::FileType::from_raw_mode(mode).is_dir()
}

fn bytes_of(path: &[CString]) -> usize {
    path.iter().map(|name| name.count_bytes() + size_of::<CString>()).sum()
}

/// Opens a directory beneath another one, and follows no link on the way.
fn open(top: &Path, path: &[CString]) -> io::Result<OwnedFd> {
    let found = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(CWD, top, found, Mode::empty())?;
    for name in path {
        at = openat(at.as_fd(), name.as_c_str(), found, Mode::empty())?;
    }
    let read = || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(at.as_fd(), c".", flags, Mode::empty())
    };
    match read() {
        // Who shares Muster's user may close a directory to both; what is in it counts all the same.
        Err(io::Errno::ACCESS) => {
            chmod(format!("/proc/self/fd/{}", at.as_raw_fd()), Mode::RWXU)?;
            read()
        }
        read => read,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Looks at a directory as often as it takes to see all of it.
    fn measured(directory: &Path, most: Held) -> Held {
        let mut walk = Walk::of(1);
        while !walk.go_on(directory, most, &mut ENTRIES_PER_TURN.clone()) {}
        walk.held
    }

    const PLENTY: Held = Held { bytes: 1 << 40, entries: 1 << 40 };

    #[test]
    fn all_that_lies_in_a_directory_is_counted_and_nothing_else() {
        let game = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("file"), vec![1; 1 << 20]).unwrap();
        fs::create_dir_all(game.path().join("a/b")).unwrap();
        fs::write(game.path().join("a/b/file"), vec![1; 64 << 10]).unwrap();
        fs::hard_link(game.path().join("a/b/file"), game.path().join("a/again")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), game.path().join("link")).unwrap();
        for number in 0..ENTRIES_PER_TURN {
            fs::write(game.path().join(number.to_string()), "").unwrap();
        }
        // A file that has a size, and nothing in it.
        fs::File::create(game.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        let held = measured(game.path(), PLENTY);
        assert_eq!(held.entries, ENTRIES_PER_TURN as u64 + 6);
        assert!((64 << 10..1 << 20).contains(&held.bytes), "{held:?}");
        assert!(measured(game.path(), Held { bytes: 32 << 10, ..PLENTY }).bytes < 1 << 20);
    }

    /// Of a small file system a game has a half, whatever its mode says.
    #[test]
    fn a_game_may_hold_its_share_at_most() {
        let place = tempfile::tempdir().unwrap();
        let mut system = statvfs(place.path()).unwrap();
        (system.f_frsize, system.f_blocks, system.f_bfree) = (4096, 1024, 1000);
        (system.f_files, system.f_ffree) = (3000, 2990);
        assert_eq!(Held::most(1 << 30, &system), Held { bytes: 2 << 20, entries: 1500 });
        assert_eq!(Held::most(1 << 20, &system), Held { bytes: 1 << 20, entries: ENTRIES_MIN });
        assert_eq!(Held::of_system(&system), Held { bytes: 24 * 4096, entries: 10 });
        // Some file systems do not say how large they are.
        (system.f_blocks, system.f_files) = (0, 0);
        assert_eq!(Held::most(1 << 30, &system), Held { bytes: 1 << 30, entries: 1 << 16 });
        assert!(Held::of_system(&system).reaches(PLENTY));
    }

    #[test]
    fn a_closed_directory_is_measured() {
        let game = tempfile::tempdir().unwrap();
        fs::create_dir(game.path().join("closed")).unwrap();
        fs::write(game.path().join("closed/file"), vec![1; 64 << 10]).unwrap();
        chmod(game.path().join("closed"), Mode::empty()).unwrap();
        assert!(measured(game.path(), PLENTY).bytes >= 64 << 10);
    }

    #[test]
    fn a_pit_is_too_much() {
        let game = tempfile::tempdir().unwrap();
        let path: PathBuf = std::iter::repeat_n("d", DEPTH_MAX + 2).collect();
        fs::create_dir_all(game.path().join(path)).unwrap();
        assert!(measured(game.path(), PLENTY).reaches(PLENTY));
    }

    #[test]
    fn a_game_over_its_bound_is_told_of_once_and_others_are_not() {
        let place = tempfile::tempdir().unwrap();
        let mut meter = Meter::default();
        for game in 1..=3 {
            let directory = place.path().join(format!("game-{game}"));
            fs::create_dir(&directory).unwrap();
            meter.watch(game, &directory, 64 << 10);
        }
        fs::write(place.path().join("game-1/file"), vec![1; 4 << 10]).unwrap();
        fs::write(place.path().join("game-2/file"), vec![1; 64 << 10]).unwrap();
        for number in 0..ENTRIES_MIN {
            fs::write(place.path().join(format!("game-3/{number}")), "").unwrap();
        }
        let mut over = Vec::new();
        for _ in 0..10 {
            meter.next_look = Some(Instant::now());
            over.extend(meter.look(place.path()).iter().map(|excess| excess.game));
        }
        assert_eq!(over, [2, 3]);
        assert!(meter.next_look().is_some());
        meter.forget(1);
        assert!(meter.next_look().is_none());
    }
}
