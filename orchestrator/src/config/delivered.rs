//! Tests of the shipped file, deploy/muster.toml: it has all keys, with the defaults and ranges of the code.
//!
//! In it `#key = value` is a key with its default; if its comment has "Default:", the value is an example. The same holds
//! for a section and the comment of its header.

use std::collections::BTreeSet;
use std::path::Path;

use toml::{Table, Value};

use super::positions::Positions;
use super::{Config, check};

const DELIVERED: &str = include_str!("../../../deploy/muster.toml");

/// A key or the header of a section in the file, without the `#` before it.
struct Entry<'a> {
    line: &'a str,
    comment: String,
    is_off: bool,
}

impl Entry<'_> {
    fn is_header(&self) -> bool {
        self.line.starts_with('[')
    }

    fn is_example(&self) -> bool {
        self.comment.contains("Default:")
    }

    /// The range in a comment with "FIRST to LAST".
    fn range(&self) -> Option<(&str, &str)> {
        let words: Vec<&str> = self.comment.split([' ', ';', '.', ',']).collect();
        let is_number = |word: &str| word.parse::<i64>().is_ok();
        let range =
            words.windows(3).find(|it| it[1] == "to" && is_number(it[0]) && is_number(it[2]));
        range.map(|it| (it[0], it[2]))
    }
}

fn entries() -> Vec<Entry<'static>> {
    let mut entries = Vec::new();
    let mut comment = String::new();
    for line in DELIVERED.lines() {
        let off = line.strip_prefix('#').filter(|rest| !rest.is_empty() && !rest.starts_with(' '));
        match (off, line.strip_prefix('#')) {
            (Some(line), _) => {
                entries.push(Entry { line, comment: std::mem::take(&mut comment), is_off: true });
            }
            (None, Some(text)) => comment.push_str(text),
            (None, None) if line.is_empty() => comment.clear(),
            (None, None) => {
                entries.push(Entry { line, comment: std::mem::take(&mut comment), is_off: false });
            }
        }
    }
    entries
}

/// The lines of all entries, or only of those with defaults.
fn text(with_examples: bool) -> String {
    let mut is_example_section = false;
    let mut lines = Vec::new();
    for entry in entries() {
        if entry.is_header() {
            is_example_section = entry.is_example();
        }
        if with_examples || !(is_example_section || entry.is_example()) {
            lines.push(entry.line);
        }
    }
    lines.join("\n")
}

/// The configuration of a text, without positions.
fn read(text: &str) -> Config {
    let config = check::config(text, Path::new("muster.toml"));
    let config = config.unwrap_or_else(|error| panic!("{error}\n{text}"));
    Config { positions: Positions::default(), ..config }
}

#[test]
fn the_shipped_file_has_the_defaults() {
    let default = read("");
    assert_eq!(read(DELIVERED), default);
    assert_eq!(read(&text(false)), default);
}

#[test]
fn the_shipped_file_has_exactly_the_known_keys() {
    let here = keys_of(&text(true).parse().unwrap(), "");
    let known = known_keys();
    assert!(known.len() > 50, "{known:?}");
    let missing: Vec<_> = known.difference(&here).collect();
    assert!(missing.is_empty(), "deploy/muster.toml lacks {missing:?}");
    let unknown: Vec<_> = here.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "deploy/muster.toml has {unknown:?}, which the parser does not know"
    );
}

/// The code accepts the numbers in the range of the comment, and no others.
#[test]
fn ranges_in_comments_are_those_of_the_code() {
    let whole = text(false);
    let mut count = 0;
    for entry in entries() {
        let Some((key, value)) = entry.line.split_once(" = ") else { continue };
        let is_number = value.parse::<i64>().is_ok() && !entry.is_example();
        let Some((first, last)) = entry.range().filter(|_| is_number) else { continue };
        count += 1;
        let first: i64 = first.parse().unwrap();
        let last: i64 = last.parse().unwrap();
        for (value, is_good) in [
            (first, true),
            (last, true),
            (first - 1, false),
            (last.saturating_add(1), last == i64::MAX),
        ] {
            let changed = whole.replacen(entry.line, &format!("{key} = {value}"), 1);
            let outcome = check::config(&changed, Path::new("muster.toml"));
            let error = outcome.err().map(|error| error.to_string()).unwrap_or_default();
            // A value may be in its range and conflict with other keys.
            assert_eq!(!error.contains("must be"), is_good, "{key} = {value}: {error}");
        }
    }
    assert!(count > 10);
}

/// Every key has a comment, and no line is too long.
#[test]
fn every_key_has_a_comment() {
    for entry in entries().iter().filter(|entry| !entry.is_header()) {
        assert!(!entry.comment.is_empty() && entry.is_off, "{}", entry.line);
    }
    assert!(DELIVERED.lines().all(|line| line.chars().count() <= 120));
}

/// The keys in a text.
fn keys_of(table: &Table, prefix: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                keys.extend(keys_of(inner, &format!("{path}.")));
            }
            Value::Array(items) if items.iter().any(Value::is_table) => {
                for inner in items.iter().filter_map(Value::as_table) {
                    keys.extend(keys_of(inner, &format!("{path}.")));
                }
            }
            _ => drop(keys.insert(path)),
        }
    }
    keys
}

/// The keys that the parser knows: its error for an unknown key lists them.
fn known_keys() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut to_ask = vec![Vec::new()];
    while let Some(path) = to_ask.pop() {
        let words = answer(&path);
        // The parser writes "expected one of `a`, `b`" or "expected `a` or `b`".
        let Some(list) = words.split_once("unknown field `nonsense`, expected").map(|it| it.1)
        else {
            found.insert(path.join("."));
            continue;
        };
        for key in list.split('`').skip(1).step_by(2) {
            // `stub` is only in builds for the benchmark; the confinement of a mode has the same keys as the other.
            if key != "stub" && !(path == ["mode"] && key == "confinement") {
                to_ask.push([path.clone(), vec![key.to_owned()]].concat());
            }
        }
    }
    found
}

/// The parser's error for an unknown key in a section. Sections are tables or lists of tables.
fn answer(path: &[String]) -> String {
    let nested = |is_list: &dyn Fn(usize) -> bool| {
        let mut text = "nonsense = 1".to_owned();
        for (depth, key) in path.iter().enumerate().rev() {
            let table = format!("{{ {text} }}");
            let value = if is_list(depth) { format!("[{table}]") } else { table };
            text = format!("{key} = {value}");
        }
        check::config(&text, Path::new("muster.toml")).err().map(|error| error.to_string())
    };
    // At the top only [[mode]] is a list; inside, both are possible.
    let is_mode = path.first().is_some_and(|key| key == "mode");
    let as_table = nested(&|depth| depth == 0 && is_mode).unwrap_or_default();
    if as_table.contains("`nonsense`") {
        return as_table;
    }
    nested(&|depth| depth == 0 && is_mode || depth + 1 == path.len()).unwrap_or_default()
}
