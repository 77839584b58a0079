//! The games' working directories: made empty, and removed with whatever the games made of them.
//!
//! What a game leaves behind is as hostile as the game: directories that it closed to itself, trees deeper than
//! a path is long or a stack can follow, more entries than memory holds. So removal keeps no list and follows
//! no depth: every directory inside another one is moved up to a heap, under a number, before it is emptied. And
//! it is done a little at a time, so that nobody's launch waits for it. And as games that share a user with the
//! dead one may still be at work there, nothing is ever followed by its name twice: a directory is opened as what it
//! is, and then used as what was opened.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::confine::Identity;

/// How the names of directories begin that are a mode's.
const MODE: &str = "mode-";

/// Entries removed at a time.
const ENTRIES_PER_TURN: usize = 256;

/// The place where all games have theirs, which is the daemon's.
pub(crate) struct Directories {
    place: PathBuf,
    /// Directories that were moved to the heap, and those of them that are gone.
    heaped: u64,
    removed: u64,
}

impl Directories {
    /// Takes over a place, and removes what an earlier launcher left there, but for what is `kept`.
    pub(crate) fn new(place: PathBuf, kept: &[PathBuf]) -> Self {
        let entries = |place: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(place).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        let is_of_mode = |path: &PathBuf| name_of(path).starts_with(MODE);
        let (modes, mut found): (Vec<PathBuf>, _) =
            entries(&place).into_iter().partition(is_of_mode);
        // Numbers on the heap go on after the highest that is taken.
        let number = |path: &PathBuf| name_of(path).strip_prefix("left-")?.parse().ok();
        let heaped = found.iter().filter_map(number).max().map_or(0, |last: u64| last + 1);
        found.extend(modes.iter().flat_map(|mode| entries(mode)));
        let mut directories = Self { place, heaped, removed: heaped };
        for left in found.iter().filter(|path| !kept.contains(path)) {
            directories.discard(left);
        }
        directories
    }

    /// Makes an empty directory for a game, or under another name, that belongs to `owner`.
    ///
    /// # Errors
    /// When it cannot be made: `NotFound` if the place itself is gone.
    pub(crate) fn make(&self, directory: &Path, owner: Option<Identity>) -> io::Result<()> {
        match make_one(directory, owner) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_part_of_mode(directory)?;
                make_one(directory, owner)
            }
            made => made,
        }
    }

    /// The directory of a template of a mode.
    pub(crate) fn of_template(&self, mode: usize, number: u64) -> PathBuf {
        of_mode(&self.place, mode).join(format!("template-{number}"))
    }

    /// Gives a directory up, which nobody uses any more.
    pub(crate) fn discard(&mut self, directory: &Path) {
        // Most games leave nothing in it.
        if fs::remove_dir(directory).is_ok() {
            return;
        }
        match self.heap(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("cannot remove what was left in {}: {error}", directory.display());
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Whether there is something on the heap.
    pub(crate) fn has_discarded(&self) -> bool {
        self.removed < self.heaped
    }

    /// Removes a little of what is on the heap. What cannot be removed stays, with a word to the operator.
    pub(crate) fn remove_some(&mut self) {
        let directory = self.heap_path(self.removed);
        match self.empty(&directory) {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => log::warn!("cannot remove what a game left: {error}"),
        }
        // Done, or it resists; then the others are not to wait for it.
        self.removed += 1;
    }

    /// Removes a directory's first entries, and the directory if these were all. Whether it is gone.
    fn empty(&mut self, directory: &Path) -> io::Result<bool> {
        let Ok(opened) = Opened::new(directory) else {
            // No directory any more: a link, or whatever else somebody put in its place.
            return fs::remove_file(directory).map(|()| true);
        };
        opened.close_to_others()?;
        let mut entries = fs::read_dir(opened.path())?;
        for entry in entries.by_ref().take(ENTRIES_PER_TURN) {
            let entry = entry?;
            // A link is removed, and not followed.
            match entry.file_type()?.is_dir() {
                true => self.heap(&entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        if entries.next().is_some() {
            return Ok(false);
        }
        fs::remove_dir(directory).map(|()| true)
    }

    /// Moves a directory to the heap. It is opened to its owner first, who needs that to move it, too.
    fn heap(&mut self, directory: &Path) -> io::Result<()> {
        Opened::new(directory)?.close_to_others()?;
        fs::rename(directory, self.heap_path(self.heaped))?;
        self.heaped += 1;
        Ok(())
    }

    fn heap_path(&self, number: u64) -> PathBuf {
        self.place.join(format!("left-{number}"))
    }
}

/// Makes a directory that is its owner's alone.
pub(crate) fn make_one(directory: &Path, owner: Option<Identity>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(directory)?;
    // Nobody but Muster can have put another thing in its place: where it is, nobody else may write.
    owner.map_or(Ok(()), |owner| lchown(directory, Some(owner.user), Some(owner.group)))
}

/// Makes the part of a place that a directory is in, if it is in a mode's.
fn make_part_of_mode(directory: &Path) -> io::Result<()> {
    let parent = directory.parent().filter(|parent| name_of(parent).starts_with(MODE));
    // On the way to its own directory everybody may pass, and nobody may look around.
    let make = |parent| fs::DirBuilder::new().mode(0o711).create(parent);
    parent.map_or(Err(io::ErrorKind::NotFound.into()), make)
}

/// The directory of a game; of one that a mode's template forks beside the template's, as these have one ruleset.
pub(crate) fn workplace(place: &Path, game: u64, template_of: Option<usize>) -> PathBuf {
    let place = template_of.map_or_else(|| place.to_owned(), |mode| of_mode(place, mode));
    place.join(format!("game-{game}"))
}

/// The part of a place where a mode's template and its games work.
pub(crate) fn of_mode(place: &Path, mode: usize) -> PathBuf {
    place.join(format!("{MODE}{mode}"))
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A directory that was opened as one, and not by way of a link.
struct Opened(OwnedFd);

impl Opened {
    fn new(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(directory, flags, Mode::empty())?))
    }

    /// A name that leads to this directory, whatever has its old one.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    fn close_to_others(&self) -> io::Result<()> {
        fs::set_permissions(self.path(), Permissions::from_mode(0o700))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_launcher_left_is_removed_and_what_lives_is_kept() {
        let place = tempfile::tempdir().unwrap();
        for name in
            ["game-1", "game-2", "left-7", "mode-0/template-1", "mode-0/game-3", "mode-1/game-4"]
        {
            fs::create_dir_all(place.path().join(name)).unwrap();
        }
        let kept = ["game-2", "mode-0/game-3"].map(|name| place.path().join(name));
        let mut directories = Directories::new(place.path().into(), &kept);
        while directories.has_discarded() {
            directories.remove_some();
        }
        let is_there = |name: &str| place.path().join(name).exists();
        assert!(is_there("game-2") && is_there("mode-0/game-3"));
        let gone = ["game-1", "left-7", "mode-0/template-1", "mode-1/game-4"];
        assert!(!gone.into_iter().any(is_there), "something was left");
        assert_eq!(
            (workplace(place.path(), 2, None), workplace(place.path(), 3, Some(0))),
            kept.into()
        );
    }

    #[test]
    fn a_link_that_took_a_directorys_place_is_removed_and_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let kept = tempfile::tempdir().unwrap();
        fs::write(kept.path().join("file"), "x").unwrap();
        fs::set_permissions(kept.path(), Permissions::from_mode(0o755)).unwrap();
        let mut directories = Directories::new(place.path().into(), &[]);
        let directory = workplace(place.path(), 1, None);
        directories.make(&directory, None).unwrap();
        fs::write(directory.join("file"), "x").unwrap();
        directories.discard(&directory);
        let heaped = place.path().join("left-0");
        fs::remove_dir_all(&heaped).unwrap();
        std::os::unix::fs::symlink(kept.path(), &heaped).unwrap();
        while directories.has_discarded() {
            directories.remove_some();
        }
        assert!(!heaped.exists() && kept.path().join("file").exists());
        std::os::unix::fs::symlink(kept.path(), workplace(place.path(), 2, None)).unwrap();
        assert!(directories.make(&workplace(place.path(), 2, None), None).is_err());
        directories.discard(&workplace(place.path(), 2, None));
        let mode = fs::metadata(kept.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "what a link names was not touched");
    }

    #[test]
    fn a_directory_goes_with_closed_ones_links_and_files() {
        let place = tempfile::tempdir().unwrap();
        let mut directories = Directories::new(place.path().into(), &[]);
        let kept = tempfile::tempdir().unwrap();
        fs::write(kept.path().join("file"), "x").unwrap();
        for game in [1, 2] {
            let directory = workplace(place.path(), game, None);
            directories.make(&directory, None).unwrap();
            fs::create_dir_all(directory.join("a/b")).unwrap();
            fs::write(directory.join("a/b/file"), "x").unwrap();
            std::os::unix::fs::symlink(kept.path(), directory.join("link")).unwrap();
            fs::set_permissions(directory.join("a"), Permissions::from_mode(0o000)).unwrap();
            for number in 0..2 * ENTRIES_PER_TURN {
                fs::write(directory.join(number.to_string()), "").unwrap();
            }
            directories.discard(&directory);
            // Nothing is there to remove, which is how it should be.
            directories.discard(&directory);
        }
        while directories.has_discarded() {
            directories.remove_some();
        }
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        assert!(kept.path().join("file").exists());
    }
}
