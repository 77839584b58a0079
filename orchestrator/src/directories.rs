//! The games' working directories: made empty, and removed with whatever the games made of them.
//!
//! What a game leaves behind is as hostile as the game: directories that it closed to itself, trees deeper than
//! a path is long or a stack can follow, more entries than memory holds. So removal keeps no list and follows
//! no depth: every directory inside another one is moved up to a heap, under a number, before it is emptied. And
//! it is done a little at a time, so that nobody's launch waits for it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use matchmaker::GameId;
use tempfile::TempDir;

/// Entries removed at a time.
const ENTRIES_PER_TURN: usize = 256;

/// The place where all games have theirs.
pub(crate) struct Directories {
    place: TempDir,
    /// Directories that were moved to the heap, and those of them that are gone.
    heaped: u64,
    removed: u64,
}

impl Directories {
    /// Makes the place.
    ///
    /// # Errors
    /// When nothing can be written where the system wants temporary files.
    pub(crate) fn new() -> io::Result<Self> {
        // systemd.exec(5): with several directories, their paths are separated by colons.
        let given = std::env::var_os("RUNTIME_DIRECTORY");
        let first = given.as_ref().and_then(|paths| std::env::split_paths(paths).next());
        let parent = first.unwrap_or_else(std::env::temp_dir);
        let place = tempfile::Builder::new().prefix("muster-").tempdir_in(parent)?;
        Ok(Self { place, heaped: 0, removed: 0 })
    }

    /// Makes an empty directory for a game.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn make(&self, game: GameId) -> io::Result<PathBuf> {
        let directory = self.of(game);
        match fs::create_dir(&directory) {
            // Somebody tidied up: who removes what is old from /tmp, for one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o700).create(self.place.path())?;
                fs::create_dir(&directory)?;
            }
            made => made?,
        }
        Ok(directory)
    }

    /// Gives a game's directory up, which nobody uses any more.
    pub(crate) fn discard(&mut self, game: GameId) {
        let directory = self.of(game);
        match self.heap(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!(
                    "cannot remove what game {game} left in {}: {error}",
                    directory.display()
                );
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
        let mut entries = fs::read_dir(directory)?;
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
        fs::set_permissions(directory, Permissions::from_mode(0o700))?;
        fs::rename(directory, self.heap_path(self.heaped))?;
        self.heaped += 1;
        Ok(())
    }

    fn heap_path(&self, number: u64) -> PathBuf {
        self.place.path().join(format!("left-{number}"))
    }

    fn of(&self, game: GameId) -> PathBuf {
        self.place.path().join(format!("game-{game}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_tidied_away_is_made_again() {
        let place = tempfile::tempdir().unwrap();
        let directories = Directories { place, heaped: 0, removed: 0 };
        fs::remove_dir(directories.place.path()).unwrap();
        assert!(directories.make(GameId(1)).unwrap().is_dir());
    }

    #[test]
    fn a_directory_goes_with_closed_ones_links_and_files() {
        let place = tempfile::tempdir().unwrap();
        let mut directories = Directories { place, heaped: 0, removed: 0 };
        let kept = tempfile::tempdir().unwrap();
        fs::write(kept.path().join("file"), "x").unwrap();
        for game in [1, 2].map(GameId) {
            let directory = directories.make(game).unwrap();
            fs::create_dir_all(directory.join("a/b")).unwrap();
            fs::write(directory.join("a/b/file"), "x").unwrap();
            std::os::unix::fs::symlink(kept.path(), directory.join("link")).unwrap();
            fs::set_permissions(directory.join("a"), Permissions::from_mode(0o000)).unwrap();
            for number in 0..2 * ENTRIES_PER_TURN {
                fs::write(directory.join(number.to_string()), "").unwrap();
            }
            directories.discard(game);
            // Nothing is there to remove, which is how it should be.
            directories.discard(game);
        }
        while directories.has_discarded() {
            directories.remove_some();
        }
        assert_eq!(fs::read_dir(directories.place.path()).unwrap().count(), 0);
        assert!(kept.path().join("file").exists());
    }
}
