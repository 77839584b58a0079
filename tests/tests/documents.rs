//! The documents: every link in them leads somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are not the project's own.
const FOREIGN: [&str; 3] = ["target", ".git", "corpus"];

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let is_foreign = FOREIGN.iter().any(|name| entry.file_name() == *name);
        if entry.file_type().unwrap().is_dir() && !is_foreign {
            documents(&path, found);
        } else if path.extension().is_some_and(|it| it == "md") {
            found.push(path);
        }
    }
}

/// The text without blocks and pieces of code.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}

/// The names by which headings are linked to, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if is_code || !line.starts_with('#') {
            continue;
        }
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let keep = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        anchors.insert(heading.chars().filter(keep).collect::<String>().replace(' ', "-"));
    }
    anchors
}

fn targets(prose: &str) -> impl Iterator<Item = &str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn every_link_resolves() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    documents(root, &mut found);
    let mut count = 0;
    let mut dead = Vec::new();
    for document in &found {
        let text = fs::read_to_string(document).unwrap();
        for target in targets(&prose(&text)).filter(|it| !it.contains("://")) {
            count += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { document.clone() } else { document.with_file_name(file) };
            let has_anchor = || anchors(&fs::read_to_string(&to).unwrap()).contains(anchor);
            if !to.exists() || !anchor.is_empty() && !has_anchor() {
                dead.push(format!("{}: {target}", document.strip_prefix(root).unwrap().display()));
            }
        }
    }
    assert!(count > 50, "only {count} links were found");
    assert!(dead.is_empty(), "these lead nowhere: {dead:#?}");
}

/// A row without its end, and a heading without a blank line before it, are shown as something else or by luck alone.
#[test]
fn tables_and_headings_are_well_formed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    documents(root, &mut found);
    let mut broken = Vec::new();
    for document in &found {
        let text = fs::read_to_string(document).unwrap();
        let (mut is_code, mut before) = (false, "");
        for (at, line) in text.lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            let is_cut = line.starts_with('|') && !line.ends_with('|');
            let is_glued = line.starts_with('#') && !before.is_empty();
            if !is_code && (is_cut || is_glued) {
                broken.push(format!("{}:{}: {line}", document.display(), at + 1));
            }
            before = line;
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Operators look for these from here.
#[test]
fn the_readme_links_every_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = prose(&fs::read_to_string(root.join("README.md")).unwrap());
    let linked: BTreeSet<&str> = targets(&readme).collect();
    for entry in fs::read_dir(root.join("docs")).unwrap().map(Result::unwrap) {
        let path = format!("docs/{}", entry.file_name().to_str().unwrap());
        assert!(linked.contains(path.as_str()), "the README does not lead to {path}");
    }
}

/// The table of folders in the README is complete.
#[test]
fn the_readme_lists_every_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(
            readme.contains(&format!("| [{member}]({member})")),
            "the README does not list {member}"
        );
    }
}
