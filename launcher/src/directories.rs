//! The games' working directories: created empty, and removed with everything that the games put there.
//!
//! What a game leaves is as hostile as the game: directories closed to their owner, trees deeper than a path is
//! long or a stack can follow, more entries than memory holds. So removal keeps no list and does not recurse: every
//! directory inside another one is moved to the trash, under a number, before it is emptied. And it proceeds in
//! small steps, so that no launch waits for it. As games that share a user with the ended one may still work there,
//! no name is followed twice: a directory is opened, and then used by its descriptor.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::confine::Identity;
use crate::limits::REMOVED_ENTRIES_PER_TURN;

/// The prefix of a program's directory.
const PREFIX: &str = "program-";

/// The root of all working directories.
pub(crate) struct Directories {
    root: PathBuf,
    /// Directories that were moved to the trash, and those of them that are removed.
    trashed: u64,
    removed: u64,
}

impl Directories {
    /// Takes over a root, and removes what an earlier launcher left there, except what is `kept`.
    pub(crate) fn new(root: PathBuf, kept: &[PathBuf]) -> Self {
        let entries = |root: &Path| -> Vec<PathBuf> {
            let entries = fs::read_dir(root).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).collect()
        };
        let is_of_program = |path: &PathBuf| name_of(path).starts_with(PREFIX);
        let (programs, mut found): (Vec<PathBuf>, _) =
            entries(&root).into_iter().partition(is_of_program);
        // Numbering in the trash continues after the highest number in use.
        let number = |path: &PathBuf| name_of(path).strip_prefix("left-")?.parse().ok();
        let trashed = found.iter().filter_map(number).max().map_or(0, |last: u64| last + 1);
        found.extend(programs.iter().flat_map(|program| entries(program)));
        let mut directories = Self { root, trashed, removed: trashed };
        for left in found.iter().filter(|path| !kept.contains(path)) {
            directories.discard(left);
        }
        directories
    }

    /// Creates an empty directory for a game or a template, which belongs to `owner`.
    ///
    /// # Errors
    /// When it cannot be created: `NotFound` if the root itself is gone.
    pub(crate) fn make(&self, directory: &Path, owner: Option<Identity>) -> io::Result<()> {
        match make_one(directory, owner) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_program_directory(directory)?;
                make_one(directory, owner)
            }
            made => made,
        }
    }

    /// The directory of a template.
    pub(crate) fn of_template(&self, program: usize, number: u64) -> PathBuf {
        program_directory(&self.root, program).join(format!("template-{number}"))
    }

    /// Discards a directory that is not used any more.
    pub(crate) fn discard(&mut self, directory: &Path) {
        // Most games leave it empty.
        if fs::remove_dir(directory).is_ok() {
            return;
        }
        match self.move_to_trash(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("cannot remove the directory {}: {error}", directory.display());
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Whether the trash contains directories.
    pub(crate) fn has_discarded(&self) -> bool {
        self.removed < self.trashed
    }

    /// Removes some entries from the trash. What cannot be removed stays, with a line in the log.
    pub(crate) fn remove_some(&mut self) {
        let directory = self.trash_path(self.removed);
        match self.empty(&directory) {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => log::warn!("cannot remove files that a game left: {error}"),
        }
        // Removed, or it cannot be; the others must not wait for it.
        self.removed += 1;
    }

    /// Removes a directory's first entries, and the directory if these were all. Returns whether it is removed.
    fn empty(&mut self, directory: &Path) -> io::Result<bool> {
        let Ok(opened) = Opened::new(directory) else {
            // Not a directory any more: a link, or another file in its place.
            return fs::remove_file(directory).map(|()| true);
        };
        opened.close_to_others()?;
        let mut entries = fs::read_dir(opened.path())?;
        for entry in entries.by_ref().take(REMOVED_ENTRIES_PER_TURN) {
            let entry = entry?;
            // A link is removed, and not followed.
            match entry.file_type()?.is_dir() {
                true => self.move_to_trash(&entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        if entries.next().is_some() {
            return Ok(false);
        }
        fs::remove_dir(directory).map(|()| true)
    }

    /// Moves a directory to the trash. Its owner gets access first, which moving requires.
    fn move_to_trash(&mut self, directory: &Path) -> io::Result<()> {
        Opened::new(directory)?.close_to_others()?;
        fs::rename(directory, self.trash_path(self.trashed))?;
        self.trashed += 1;
        Ok(())
    }

    fn trash_path(&self, number: u64) -> PathBuf {
        self.root.join(format!("left-{number}"))
    }
}

/// Creates a directory that only its owner may use.
pub(crate) fn make_one(directory: &Path, owner: Option<Identity>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(directory)?;
    // Only Muster can have put another file in its place: no other user may write there.
    owner.map_or(Ok(()), |owner| lchown(directory, Some(owner.user), Some(owner.group)))
}

/// Creates the directory of a program, if a directory's parent is one.
fn make_program_directory(directory: &Path) -> io::Result<()> {
    let parent = directory.parent().filter(|parent| name_of(parent).starts_with(PREFIX));
    // Every user may pass through to its own directory, and none may list it.
    let make = |parent| fs::DirBuilder::new().mode(0o711).create(parent);
    parent.map_or(Err(io::ErrorKind::NotFound.into()), make)
}

/// A game's working directory. A template's games are beside the template, as they have one ruleset.
pub(crate) fn game_directory(root: &Path, game: u64, template_of: Option<usize>) -> PathBuf {
    let root =
        template_of.map_or_else(|| root.to_owned(), |program| program_directory(root, program));
    root.join(format!("game-{game}"))
}

/// The directory that holds those of a program's template and its games.
pub(crate) fn program_directory(root: &Path, program: usize) -> PathBuf {
    root.join(format!("{PREFIX}{program}"))
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A directory that was opened as one, not through a link.
struct Opened(OwnedFd);

impl Opened {
    fn new(directory: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(directory, flags, Mode::empty())?))
    }

    /// A path to this directory, even if its old name means another file now.
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
    fn a_new_launcher_removes_old_directories_and_keeps_those_of_living_games() {
        let root = tempfile::tempdir().unwrap();
        for name in [
            "game-1",
            "game-2",
            "left-7",
            "program-0/template-1",
            "program-0/game-3",
            "program-1/game-4",
        ] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let kept = ["game-2", "program-0/game-3"].map(|name| root.path().join(name));
        let mut directories = Directories::new(root.path().into(), &kept);
        while directories.has_discarded() {
            directories.remove_some();
        }
        let is_there = |name: &str| root.path().join(name).exists();
        assert!(is_there("game-2") && is_there("program-0/game-3"));
        let gone = ["game-1", "left-7", "program-0/template-1", "program-1/game-4"];
        assert!(!gone.into_iter().any(is_there), "something was left");
        assert_eq!(
            (game_directory(root.path(), 2, None), game_directory(root.path(), 3, Some(0))),
            kept.into()
        );
    }

    #[test]
    fn a_link_in_place_of_a_directory_is_removed_and_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let kept = tempfile::tempdir().unwrap();
        fs::write(kept.path().join("file"), "x").unwrap();
        fs::set_permissions(kept.path(), Permissions::from_mode(0o755)).unwrap();
        let mut directories = Directories::new(root.path().into(), &[]);
        let directory = game_directory(root.path(), 1, None);
        directories.make(&directory, None).unwrap();
        fs::write(directory.join("file"), "x").unwrap();
        directories.discard(&directory);
        let trashed = root.path().join("left-0");
        fs::remove_dir_all(&trashed).unwrap();
        std::os::unix::fs::symlink(kept.path(), &trashed).unwrap();
        while directories.has_discarded() {
            directories.remove_some();
        }
        assert!(!trashed.exists() && kept.path().join("file").exists());
        std::os::unix::fs::symlink(kept.path(), game_directory(root.path(), 2, None)).unwrap();
        assert!(directories.make(&game_directory(root.path(), 2, None), None).is_err());
        directories.discard(&game_directory(root.path(), 2, None));
        let mode = fs::metadata(kept.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "the link's target was changed");
    }

    #[test]
    fn a_directory_is_removed_with_closed_directories_links_and_files() {
        let root = tempfile::tempdir().unwrap();
        let mut directories = Directories::new(root.path().into(), &[]);
        let kept = tempfile::tempdir().unwrap();
        fs::write(kept.path().join("file"), "x").unwrap();
        for game in [1, 2] {
            let directory = game_directory(root.path(), game, None);
            directories.make(&directory, None).unwrap();
            fs::create_dir_all(directory.join("a/b")).unwrap();
            fs::write(directory.join("a/b/file"), "x").unwrap();
            std::os::unix::fs::symlink(kept.path(), directory.join("link")).unwrap();
            fs::set_permissions(directory.join("a"), Permissions::from_mode(0o000)).unwrap();
            for number in 0..2 * REMOVED_ENTRIES_PER_TURN {
                fs::write(directory.join(number.to_string()), "").unwrap();
            }
            directories.discard(&directory);
            // Discarding it twice is harmless.
            directories.discard(&directory);
        }
        while directories.has_discarded() {
            directories.remove_some();
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(kept.path().join("file").exists());
    }
}
