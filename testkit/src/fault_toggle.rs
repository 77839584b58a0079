//! Switches a fault of hostile games off.

use tempfile::TempDir;

/// A file that `hostile-game until FILE …` checks at its start: once the file exists, new games are an honest
/// `echo`.
#[derive(Debug)]
pub struct FaultToggle {
    file: String,
    _directory: TempDir,
}

impl FaultToggle {
    /// A fault that is on.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fixed").to_str().unwrap().to_owned();
        Self { file, _directory: directory }
    }

    /// The arguments of a hostile game that shows `fault` until [`fix`](Self::fix).
    pub fn until_fixed<'a>(&'a self, fault: &[&'a str]) -> Vec<&'a str> {
        [&["until", self.file.as_str()], fault].concat()
    }

    /// Switches the fault off.
    pub fn fix(&self) {
        std::fs::write(&self.file, "").unwrap();
    }
}
