//! What makes a hostile game honest.

use tempfile::TempDir;

/// A file that `hostile-game until FILE …` looks for at its birth: as soon as it is there, new games are an
/// honest `echo`.
#[derive(Debug)]
pub struct Cure {
    file: String,
    _directory: TempDir,
}

impl Cure {
    /// A cure that is not given yet.
    pub fn prepare() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cure").to_str().unwrap().to_owned();
        Self { file, _directory: directory }
    }

    /// A way to misbehave until the cure is given.
    pub fn until<'a>(&'a self, way: &[&'a str]) -> Vec<&'a str> {
        [&["until", self.file.as_str()], way].concat()
    }

    /// Gives it.
    pub fn give(&self) {
        std::fs::write(&self.file, "").unwrap();
    }
}
