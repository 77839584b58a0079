//! The files that are checked.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that are not part of the project's text.
const SKIPPED: [&str; 6] = ["target", ".git", "corpus", "artifacts", "seeds", "node_modules"];

/// Extensions of text that people write. Files in `scripts`, `deploy` and `.ci` count whatever their extension.
const EXTENSIONS: [&str; 11] =
    ["rs", "md", "toml", "py", "js", "c", "html", "css", "awk", "mjs", "sh"];

/// A file and its text.
pub(crate) struct Source {
    /// Relative to the project's root.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    /// The crate or top-level directory; `.` for files in the root.
    pub(crate) fn part(&self) -> &str {
        self.path.split_once('/').map_or(".", |(part, _)| part)
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file holds nothing but tests.
    pub(crate) fn is_test(&self) -> bool {
        ["tests", "testkit"].contains(&self.part())
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs")
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn all() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root(), "", &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(&entry.path(), &format!("{path}/"), found);
        } else if kind.is_file() && is_checked(&path) {
            // A file that is no UTF-8 is no text.
            found.extend(fs::read_to_string(entry.path()).ok().map(|text| Source { path, text }));
        }
    }
}

fn is_checked(path: &str) -> bool {
    let is_ours =
        ["scripts/", "deploy/", ".ci/"].iter().any(|it| path.starts_with(it)) || path == "Makefile";
    let is_data = path.ends_with(".json") || path.ends_with(".svg") || path == "Cargo.lock";
    let extension = Path::new(path).extension().and_then(|it| it.to_str());
    !is_data && (is_ours || extension.is_some_and(|it| EXTENSIONS.contains(&it)))
}

#[test]
fn text_is_checked_and_data_is_not() {
    for path in
        ["README.md", "orchestrator/src/main.rs", "scripts/demo", "Makefile", "deploy/muster.nft"]
    {
        assert!(is_checked(path), "{path}");
    }
    for path in ["Cargo.lock", "deploy/grafana/muster.json", "diagrams/processes.svg", "fuzz/x.bin"]
    {
        assert!(!is_checked(path), "{path}");
    }
    assert_eq!(Source::new("README.md", "").part(), ".");
    assert_eq!(Source::new("protocol/src/lib.rs", "").part(), "protocol");
    assert!(Source::new("matchmaker/src/lineup/tests/model.rs", "").is_test());
    assert!(!Source::new("matchmaker/src/lineup.rs", "").is_test());
}
