//! Measures the games' working directories while the games run: they share one file system, and a game that fills
//! it would affect all others.
//!
//! A measurement is a walk through a hostile tree: a directory is opened component by component, no link is
//! followed, and both the depth and the number of entries may be huge. A walk proceeds in turns with a bounded
//! number of entries, so that no launch waits for it, and ends as soon as the bound is exceeded. If the whole file
//! system holds less than any game's bound, nothing is walked at all.
//!
//! Not measured: open files without a name, and files beneath `confinement.write`.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, StatVfs, chmod, openat, statat, statvfs};
use rustix::io;

use crate::limits::{
    DEPTH_MAX, DIRECTORY_ENTRIES_MIN, ENTRIES_AT_END, MEASURE_PAUSE_MAX, MEASURED_ENTRIES_PER_TURN,
    NAME_BYTES_MAX,
};

/// From one round through all games to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// From one turn of a round to the next.
const SHORT_PAUSE: Duration = Duration::from_millis(20);

/// A pause is at least this many times as long as the turn before it, so that measuring takes at most a twentieth
/// of a processor.
const PAUSE_OF_TURNS: u32 = 20;

/// Bytes of a directory for each file or directory in it. On tmpfs an empty one takes about a thousand bytes of the
/// kernel's memory.
const BYTES_PER_ENTRY: u64 = 16 * 1024;

/// The part of the file system that one game may use: a half.
const SHARE: u64 = 2;

/// The unit of `st_blocks`; stat(2).
const BLOCK: u64 = 512;

/// A game whose directory exceeds its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) game: u64,
    /// The usage that was found until the bound was exceeded.
    pub(crate) usage: Usage,
}

/// The contents of a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// As the file system allocates them, not the files' sizes.
    pub(crate) bytes: u64,
    /// Files and directories.
    pub(crate) entries: u64,
}

impl Usage {
    /// The bound of a game with a `directory_max`: never more than its share of the file system.
    fn max(directory_max: u64, system: &StatVfs) -> Self {
        let share = |all: u64| if all == 0 { u64::MAX } else { all / SHARE };
        Self {
            bytes: directory_max.min(share(system.f_blocks.saturating_mul(system.f_frsize))),
            entries: (directory_max / BYTES_PER_ENTRY)
                .max(DIRECTORY_ENTRIES_MIN)
                .min(share(system.f_files)),
        }
    }

    /// The usage of a whole file system. Some do not count their files.
    fn of_system(system: &StatVfs) -> Self {
        let used = |all: u64, free: u64| if all == 0 { u64::MAX } else { all.saturating_sub(free) };
        Self {
            bytes: used(system.f_blocks, system.f_bfree).saturating_mul(system.f_frsize),
            entries: used(system.f_files, system.f_ffree),
        }
    }

    fn reaches(self, max: Self) -> bool {
        self.bytes >= max.bytes || self.entries >= max.entries
    }
}

/// Measures the directories of games, one after another.
#[derive(Default)]
pub(crate) struct Meter {
    games: BTreeMap<u64, Metered>,
    /// The game that is being measured.
    walk: Option<(u64, Walk)>,
    next_turn: Option<Instant>,
}

struct Metered {
    directory: PathBuf,
    /// The mode's `directory_max`.
    max: u64,
}

impl Meter {
    /// Starts measuring a game with this bound in bytes.
    pub(crate) fn watch(&mut self, game: u64, directory: &Path, max: u64) {
        self.games.insert(game, Metered { directory: directory.to_owned(), max });
        self.next_turn.get_or_insert_with(|| Instant::now() + PAUSE);
    }

    /// Stops measuring a game.
    pub(crate) fn forget(&mut self, game: u64) {
        self.games.remove(&game);
        if self.games.is_empty() {
            (self.walk, self.next_turn) = (None, None);
        }
    }

    /// When the next turn is due.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        self.next_turn
    }

    /// Whether a turn is due.
    pub(crate) fn is_due(&self) -> bool {
        self.next_turn.is_some_and(|at| at <= Instant::now())
    }

    /// Measures for one turn, if it is due. A game over its bound is returned once.
    pub(crate) fn turn(&mut self, root: &Path) -> Vec<Excess> {
        if !self.is_due() {
            return Vec::new();
        }
        let (begun, mut over) = (Instant::now(), Vec::new());
        let is_round_over = match statvfs(root) {
            Ok(system) => self.measure(&system, &mut over),
            // The root is gone; the next launch recreates it.
            Err(_) => true,
        };
        over.iter().for_each(|excess| drop(self.games.remove(&excess.game)));
        let pause = if is_round_over { PAUSE } else { SHORT_PAUSE };
        let pause = pause.max((begun.elapsed() * PAUSE_OF_TURNS).min(MEASURE_PAUSE_MAX));
        self.next_turn = (!self.games.is_empty()).then(|| Instant::now() + pause);
        over
    }

    /// Whether a game has ended with a directory over its bound that was not returned by a turn: a failed write
    /// may have ended it.
    pub(crate) fn is_full_at_end(&self, game: u64, root: &Path) -> bool {
        let Some(metered) = self.games.get(&game) else { return false };
        let Ok(system) = statvfs(root) else { return false };
        let max = Usage::max(metered.max, &system);
        let mut walk = Walk::of(game);
        Usage::of_system(&system).reaches(max)
            && walk.advance(&metered.directory, max, &mut ENTRIES_AT_END.clone())
            && walk.usage.reaches(max)
    }

    /// Continues a round, or starts one. Returns whether it is over.
    fn measure(&mut self, system: &StatVfs, over: &mut Vec<Excess>) -> bool {
        let used = Usage::of_system(system);
        let mut left = MEASURED_ENTRIES_PER_TURN;
        let (mut after, mut walk) = match self.walk.take() {
            Some((game, walk)) => (game, Some(walk)),
            None => (0, None),
        };
        while let Some((&game, metered)) = self.games.range(after..).next() {
            after = game + 1;
            let max = Usage::max(metered.max, system);
            if !used.reaches(max) {
                walk = None;
                continue;
            }
            // A walk in progress may belong to a game that is gone.
            let mut this =
                walk.take().filter(|walk| walk.game == game).unwrap_or_else(|| Walk::of(game));
            let is_done = this.advance(&metered.directory, max, &mut left);
            if this.usage.reaches(max) {
                over.push(Excess { game, usage: this.usage });
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
    usage: Usage,
    /// Directories to be read, by the names that lead to them.
    unread: Vec<Vec<CString>>,
    /// Bytes of their names.
    names: usize,
    /// The directory that is being read.
    reading: Option<(Vec<CString>, Dir)>,
}

impl Walk {
    fn of(game: u64) -> Self {
        Self { game, usage: Usage::default(), unread: vec![Vec::new()], names: 0, reading: None }
    }

    /// Reads up to `left` entries. Returns whether the walk is done: there are no more, or too many.
    fn advance(&mut self, top: &Path, max: Usage, left: &mut usize) -> bool {
        while *left > 0 && !self.usage.reaches(max) {
            let Some((path, dir)) = &mut self.reading else {
                let Some(path) = self.unread.pop() else { return true };
                *left = left.saturating_sub(1 + path.len());
                self.names -= bytes_of(&path);
                // A directory that is gone, or closed to everyone, is skipped.
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
            self.usage.entries += 1;
            let Ok(stat) = dir.fd().and_then(|dir| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW))
            else {
                continue;
            };
            // A file with several names is found under each of them.
            let blocks = u64::try_from(stat.st_blocks).unwrap_or_default();
            let links =
                if is_dir(stat.st_mode) { 1 } else { u64::from(stat.st_nlink as u32).max(1) };
            self.usage.bytes += blocks.saturating_mul(BLOCK) / links;
            if is_dir(stat.st_mode) {
                let below: Vec<CString> = path.iter().cloned().chain([name.to_owned()]).collect();
                self.names += bytes_of(&below);
                if below.len() > DEPTH_MAX || self.names > NAME_BYTES_MAX {
                    self.usage.entries = self.usage.entries.max(max.entries);
                }
                self.unread.push(below);
            }
        }
        self.usage.reaches(max)
    }
}

fn is_dir(mode: rustix::fs::RawMode) -> bool {
    rustix::fs::FileType::from_raw_mode(mode).is_dir()
}

fn bytes_of(path: &[CString]) -> usize {
    path.iter().map(|name| name.count_bytes() + size_of::<CString>()).sum()
}

/// Opens a directory beneath another one without following links.
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
        // A game that shares Muster's user may close a directory to both; its contents count all the same.
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

    /// Measures a directory completely.
    fn measured(directory: &Path, max: Usage) -> Usage {
        let mut walk = Walk::of(1);
        while !walk.advance(directory, max, &mut MEASURED_ENTRIES_PER_TURN.clone()) {}
        walk.usage
    }

    const PLENTY: Usage = Usage { bytes: 1 << 40, entries: 1 << 40 };

    #[test]
    fn everything_in_a_directory_is_counted_and_nothing_else() {
        let game = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("file"), vec![1; 1 << 20]).unwrap();
        fs::create_dir_all(game.path().join("a/b")).unwrap();
        fs::write(game.path().join("a/b/file"), vec![1; 64 << 10]).unwrap();
        fs::hard_link(game.path().join("a/b/file"), game.path().join("a/again")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), game.path().join("link")).unwrap();
        for number in 0..MEASURED_ENTRIES_PER_TURN {
            fs::write(game.path().join(number.to_string()), "").unwrap();
        }
        // A sparse file.
        fs::File::create(game.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        let usage = measured(game.path(), PLENTY);
        assert_eq!(usage.entries, MEASURED_ENTRIES_PER_TURN as u64 + 6);
        assert!((64 << 10..1 << 20).contains(&usage.bytes), "{usage:?}");
        assert!(measured(game.path(), Usage { bytes: 32 << 10, ..PLENTY }).bytes < 1 << 20);
    }

    /// A game may use half of a small file system, whatever its mode says.
    #[test]
    fn a_game_may_use_its_share_of_the_file_system_at_most() {
        let root = tempfile::tempdir().unwrap();
        let mut system = statvfs(root.path()).unwrap();
        (system.f_frsize, system.f_blocks, system.f_bfree) = (4096, 1024, 1000);
        (system.f_files, system.f_ffree) = (3000, 2990);
        assert_eq!(Usage::max(1 << 30, &system), Usage { bytes: 2 << 20, entries: 1500 });
        let max = Usage { bytes: 1 << 20, entries: DIRECTORY_ENTRIES_MIN };
        assert_eq!(Usage::max(1 << 20, &system), max);
        assert_eq!(Usage::of_system(&system), Usage { bytes: 24 * 4096, entries: 10 });
        // Some file systems do not report their size.
        (system.f_blocks, system.f_files) = (0, 0);
        assert_eq!(Usage::max(1 << 30, &system), Usage { bytes: 1 << 30, entries: 1 << 16 });
        assert!(Usage::of_system(&system).reaches(PLENTY));
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
    fn a_deep_tree_exceeds_every_bound() {
        let game = tempfile::tempdir().unwrap();
        let path: PathBuf = std::iter::repeat_n("d", DEPTH_MAX + 2).collect();
        fs::create_dir_all(game.path().join(path)).unwrap();
        assert!(measured(game.path(), PLENTY).reaches(PLENTY));
    }

    #[test]
    fn a_game_over_its_bound_is_returned_once_and_others_are_not() {
        let root = tempfile::tempdir().unwrap();
        let mut meter = Meter::default();
        for game in 1..=3 {
            let directory = root.path().join(format!("game-{game}"));
            fs::create_dir(&directory).unwrap();
            meter.watch(game, &directory, 64 << 10);
        }
        fs::write(root.path().join("game-1/file"), vec![1; 4 << 10]).unwrap();
        fs::write(root.path().join("game-2/file"), vec![1; 64 << 10]).unwrap();
        for number in 0..DIRECTORY_ENTRIES_MIN {
            fs::write(root.path().join(format!("game-3/{number}")), "").unwrap();
        }
        let mut over = Vec::new();
        for _ in 0..10 {
            meter.next_turn = Some(Instant::now());
            over.extend(meter.turn(root.path()).iter().map(|excess| excess.game));
        }
        assert_eq!(over, [2, 3]);
        assert!(meter.next_turn().is_some());
        meter.forget(1);
        assert!(meter.next_turn().is_none());
    }
}
