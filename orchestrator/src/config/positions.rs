//! The position of each key in the configuration file, for messages about its value.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// A position in the file; lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    file: PathBuf,
    line: usize,
    column: usize,
}

/// The positions of all values in a file, by the path of the key: `ports.range`, `mode[0].command` for the first mode,
/// and `mode.duel.command` for the mode "duel".
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Positions {
    file: PathBuf,
    keys: BTreeMap<String, (usize, usize)>,
}

impl Positions {
    /// Reads the positions from a file's text. A file that is not TOML has none.
    pub(super) fn read(text: &str, file: &Path) -> Self {
        let (root, _) = DeTable::parse_recoverable(text);
        let mut keys = BTreeMap::new();
        walk(root.get_ref(), "", text, &mut keys);
        Self { file: file.to_owned(), keys }
    }

    /// The position of a value. `None`: the file does not set it.
    pub(crate) fn of(&self, key: &str) -> Option<Position> {
        let (line, column) = self.line_and_column(key)?;
        Some(Position { file: self.file.clone(), line, column })
    }

    /// The line and column of a value.
    pub(super) fn line_and_column(&self, key: &str) -> Option<(usize, usize)> {
        self.keys.get(key).copied()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

fn walk(
    table: &DeTable<'_>,
    prefix: &str,
    text: &str,
    keys: &mut BTreeMap<String, (usize, usize)>,
) {
    for (key, value) in table {
        let path = format!("{prefix}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(table) => walk(table, &format!("{path}."), text, keys),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let Some(table) = item.get_ref().as_table() else { continue };
                    let name = table.get("name").and_then(|name| name.get_ref().as_str());
                    let by_name = name.map(|name| format!("{path}.{name}"));
                    for path in by_name.into_iter().chain([format!("{path}[{index}]")]) {
                        walk(table, &format!("{path}."), text, keys);
                        keys.entry(path).or_insert_with(|| position(text, item.span().start));
                    }
                }
            }
            _ => {}
        }
        keys.entry(path).or_insert_with(|| position(text, value.span().start));
    }
}

/// The line and the column of a byte in a text, from 1.
pub(super) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(at)];
    let line = 1 + before.bytes().filter(|&byte| byte == b'\n').count();
    let column = 1 + before.chars().rev().take_while(|&it| it != '\n').count();
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_the_path_of_their_key() {
        let text = "[ports]\nrange = \"1-2\"\n[[mode]]\nname = \"é\"\nconfinement = { user = false }\n\
                    [[mode]]\nname = \"b\"\n[mode.confinement]\n  enabled = false\n";
        let positions = Positions::read(text, Path::new("m.toml"));
        let found = |key: &str| positions.of(key).map(|it| it.to_string());
        assert_eq!(found("ports.range").as_deref(), Some("m.toml:2:9"));
        assert_eq!(found("mode.é.confinement.user").as_deref(), Some("m.toml:5:24"));
        assert_eq!(found("mode.b").as_deref(), Some("m.toml:6:1"));
        assert_eq!(found("mode[1].name").as_deref(), Some("m.toml:7:8"));
        assert_eq!(found("mode.b.confinement.enabled").as_deref(), Some("m.toml:9:13"));
        assert_eq!(found("ports.bind"), None);
        assert!(Positions::read("[ports", Path::new("m.toml")).of("ports.range").is_none());
    }
}
