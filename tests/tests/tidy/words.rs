//! Words: plain English, one word for one thing (docs/glossary.md), and nothing of one developer's machine.

use std::collections::HashMap;
use std::fs;
use std::sync::OnceLock;

use crate::Finding;
use crate::sources::{self, Source};

/// Words and phrases that the project does not use, and what to write instead. They are found in identifiers, too,
/// as `_` counts as a space. A phrase that continues with
/// one of the words behind the `|` is not meant.
const BANNED: &[(&str, &str)] = &[
    ("a word to", "a message to"),
    ("without a word", "without a message"),
    ("adrift", "orphan"),
    ("anew", "again, or a verb with re-"),
    ("be had", "available"),
    ("behind walls", "confined"),
    ("by who", "name the actor"),
    ("comes back", "returns, reconnects, is released"),
    ("doors", "listeners"),
    ("for who", "name the actor"),
    ("from who", "name the actor"),
    ("go on with", "continue, resume"),
    ("goes on", "continues, resumes"),
    ("going down", "draining, shutting down"),
    ("heard", "received, read, notified"),
    ("hears", "receives, reads"),
    ("in vain", "without success"),
    ("is let in", "is admitted"),
    ("last words", "last output, last messages"),
    ("let go", "close, release, disconnect"),
    ("lets go", "closes, releases, disconnects"),
    ("looked after", "maintained"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mends", "fixes"),
    ("nobody", "no player, no process, none; or turn the sentence round"),
    ("nobody's", "unknown, unowned"),
    ("of no use", "useless, discarded"),
    ("of one mind", "agree"),
    ("of who", "name the actor"),
    ("on with it", "continue, resume"),
    ("says so", "reports it"),
    ("sit on", "use"),
    ("sits on", "uses"),
    ("so long|as that", "a duration"),
    ("so many|that", "a number: n, that many"),
    ("somebody", "name the actor"),
    ("somebody's", "name the owner"),
    ("stands still", "hangs, is stopped"),
    ("takes in", "accepts, admits, reaps"),
    ("the door", "the listener"),
    ("to who", "name the actor"),
    ("told", "sent, notified, reported"),
    ("took up", "resumed"),
    ("was let in", "was admitted"),
    ("went on", "continued, resumed"),
    ("who waits", "a waiting player"),
    ("whoever", "name the actor"),
    ("written down", "saved, recorded"),
];

/// The list of banned words, which has to name them.
const LIST: &str = "tests/tests/tidy/words.rs";

/// A flag of `muster-load`, which keeps its name.
const FLAG: &str = "--comes-back";

pub(crate) fn banned(source: &Source) -> Vec<Finding> {
    if source.path == LIST {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (at, line) in source.text.lines().enumerate() {
        let words = words(&line.replace(FLAG, ""));
        for start in 0..words.len() {
            for (phrase, instead) in phrases(&words[start]) {
                if begins_with(&words[start..], phrase) {
                    findings.push(Finding::new(
                        source,
                        at + 1,
                        format!("\"{phrase}\": write {instead}"),
                    ));
                }
            }
        }
    }
    findings
}

/// The entries of `BANNED` that begin with the word.
fn phrases(first: &str) -> &'static [(&'static str, &'static str)] {
    static FIRST: OnceLock<HashMap<&str, Vec<(&str, &str)>>> = OnceLock::new();
    let by_first = FIRST.get_or_init(|| {
        let mut by_first: HashMap<&str, Vec<(&str, &str)>> = HashMap::new();
        for entry in BANNED {
            by_first.entry(entry.0.split([' ', '|']).next().unwrap()).or_default().push(*entry);
        }
        by_first
    });
    by_first.get(first).map_or(&[], Vec::as_slice)
}

/// The words of a line in lower case, those of identifiers included.
fn words(line: &str) -> Vec<String> {
    let is_end = |c: char| !c.is_alphanumeric() && c != '\'';
    line.split(is_end).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect()
}

/// Whether the words begin with those of the phrase, and do not continue with one of those behind its `|`.
fn begins_with(words: &[String], phrase: &str) -> bool {
    let (phrase, allowed) = phrase.split_once('|').unwrap_or((phrase, ""));
    let mut words = words.iter();
    phrase.split(' ').all(|word| words.next().is_some_and(|it| it == word))
        && !words.next().is_some_and(|next| allowed.split(' ').any(|it| it == next))
}

/// Doc comments that begin with a riddle: "What ..." and "Who ..." instead of the name of the thing.
pub(crate) fn openings(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut was_doc = false;
    for (at, line) in source.text.lines().enumerate().filter(|_| source.is_rust()) {
        let line = line.trim_start();
        let doc = line.strip_prefix("/// ").or_else(|| line.strip_prefix("//! "));
        let first = doc.and_then(|text| text.split(|c: char| !c.is_alphabetic()).next());
        if !was_doc && let Some(word @ ("What" | "Who" | "Whoever" | "Whom" | "Whose")) = first {
            let problem =
                format!("a doc comment that begins with \"{word}\": begin with the thing");
            findings.push(Finding::new(source, at + 1, problem));
        }
        was_doc = line.starts_with("///") || line.starts_with("//!");
    }
    findings
}

/// Absolute paths that exist on a developer's machine only.
pub(crate) fn machine_paths(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in source.text.lines().enumerate().filter(|_| source.path != LIST) {
        for prefix in ["/work/", "/home/", "/Users/"] {
            let is_absolute = |at: usize| {
                !line[..at].ends_with(|c: char| c.is_alphanumeric() || "}_.*/".contains(c))
            };
            if line.match_indices(prefix).any(|(at, _)| is_absolute(at)) {
                findings.push(Finding::new(
                    source,
                    at + 1,
                    format!("a path of one machine: {prefix}"),
                ));
            }
        }
    }
    findings
}

/// Comments that refer to rows of docs/faults.md which do not exist.
pub(crate) fn unknown_rows(source: &Source) -> Vec<Finding> {
    static ROWS: OnceLock<Vec<u32>> = OnceLock::new();
    let rows = ROWS.get_or_init(|| {
        let text = fs::read_to_string(sources::root().join("docs/faults.md")).unwrap();
        let number = |line: &str| line.strip_prefix("| ")?.split(' ').next()?.parse().ok();
        text.lines().filter_map(number).collect()
    });
    let mut findings = Vec::new();
    for (at, line) in
        source.text.lines().enumerate().filter(|_| source.is_rust() && source.path != LIST)
    {
        for row in named_rows(line).into_iter().filter(|row| !rows.contains(row)) {
            findings.push(Finding::new(source, at + 1, format!("docs/faults.md has no row {row}")));
        }
    }
    findings
}

/// The numbers behind "faults row" and "faults rows", as in "faults rows 20 and 21", "faults rows 31 to 33".
fn named_rows(line: &str) -> Vec<u32> {
    let line = words(line).join(" ").replace("faults md row", "faults row");
    let mut named: Vec<u32> = Vec::new();
    for rest in line.split("faults row").skip(1) {
        let mut words = rest.trim_start_matches('s').split_whitespace();
        while let Some(row) = words.next().and_then(|word| word.parse().ok()) {
            named.push(row);
            if !words.next().is_some_and(|word| ["and", "to"].contains(&word)) {
                break;
            }
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(find: fn(&Source) -> Vec<Finding>, text: &str) -> usize {
        find(&Source::new("protocol/src/lib.rs", text)).len()
    }

    #[test]
    fn banned_words_are_found_in_prose_and_in_identifiers() {
        for text in [
            "// Whoever connects is told.",
            "fn nobody_is_lost() {}",
            "so many players",
            "It goes\u{20}on.",
            "a game's last_words",
        ] {
            assert!(problems(banned, text) > 0, "{text}");
        }
        assert_eq!(problems(banned, "whoever, whoever"), 2);
        assert_eq!(problems(banned, "told,told"), 2);
    }

    #[test]
    fn good_english_is_left_alone() {
        for text in [
            "so many that they do not fit",
            "so long as the game runs",
            "recommended, amended",
            "the doorway",
            "pass --comes-back to it",
            "tells them apart; stolid",
        ] {
            assert_eq!(problems(banned, text), 0, "{text}");
        }
    }

    #[test]
    fn only_the_first_line_of_a_doc_comment_can_be_a_riddle() {
        assert_eq!(problems(openings, "    /// What the game said.\n"), 1);
        assert_eq!(problems(openings, "//! Who waits for whom.\n"), 1);
        assert_eq!(
            problems(openings, "/// The message of a game.\n/// What follows is a reason.\n"),
            0
        );
        assert_eq!(problems(openings, "/// Whatever follows.\n"), 0);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        assert_eq!(problems(machine_paths, "see /home/ada/muster"), 1);
        assert_eq!(problems(machine_paths, "cd /work/muster"), 1);
        assert_eq!(problems(machine_paths, "upper=$place/work/"), 0);
        assert_eq!(problems(machine_paths, "${DIRECTORY}/home/"), 0);
    }

    #[test]
    fn rows_have_to_exist() {
        assert_eq!(named_rows("/// Faults rows 20 and 21: a game"), [20, 21]);
        assert_eq!(named_rows("// docs/faults.md, row 8: 900 lines"), [8]);
        assert_eq!(problems(unknown_rows, "/// Faults row 8: many lines"), 0);
        assert_eq!(problems(unknown_rows, "/// Faults row 800: many lines"), 1);
    }
}
