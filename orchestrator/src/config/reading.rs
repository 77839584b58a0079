//! From the file's text to its sections. An unknown key, or a value of another type or out of range, is noted as a
//! mistake and left out, so that one run finds all mistakes.

use std::ops::Range;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use super::check::Checker;
use super::limits::MISTAKES_MAX;
use super::raw;

/// A value that is left out.
struct Removed<'t> {
    key: Spanned<std::borrow::Cow<'t, str>>,
    value: Spanned<DeValue<'t>>,
    /// Its path, with and without the indices of lists: `mode[0].name`, `mode.name`.
    path: String,
    plain_path: String,
}

impl Checker<'_> {
    /// Reads the whole file. `None`: it is not TOML, and the mistakes are noted.
    pub(super) fn read(&self, text: &str) -> Option<raw::File> {
        let (mut root, errors) = DeTable::parse_recoverable(text);
        let mut before = None;
        for mistake in errors.iter().map(|error| self.syntax(error)) {
            let line = mistake.position().map(|(line, _)| line);
            // Further errors in a line that cannot be read follow from the first.
            if line != before {
                before = line;
                self.note(mistake);
            }
        }
        if !errors.is_empty() {
            return None;
        }
        for _ in 0..MISTAKES_MAX {
            let error = match raw::File::deserialize(Deserializer::from(root.clone())) {
                Ok(file) => return Some(file),
                Err(error) => error,
            };
            let span = error.span().unwrap_or(0..0);
            match remove(root.get_mut(), &span) {
                Some(removed) => self.note_removed(&error, &removed),
                None => {
                    self.note(self.syntax(&error));
                    return None;
                }
            }
        }
        None
    }

    fn note_removed(&self, error: &Error, removed: &Removed<'_>) {
        let key = removed.key.get_ref();
        self.leave_out(removed.path.clone());
        let problem = error.message().trim().replace('\n', "; ");
        let span = error.span().unwrap_or_else(|| removed.value.span());
        if problem.starts_with("unknown field") {
            return self.note(self.syntax(error));
        }
        let mistake = match problem.rsplit_once(", expected ") {
            Some((_, expected)) => {
                let problem = type_problem(key, removed.value.get_ref(), expected);
                self.at(span.start, key.to_string(), problem)
            }
            // The type is right, and the value is not: the message repeats the value, with its line ends.
            None => {
                let problem = error.message().trim().to_owned();
                self.at(span.start, removed.plain_path.clone(), problem)
            }
        };
        self.note(mistake);
    }
}

/// Removes the innermost entry of a table that spans a range of the text.
fn remove<'t>(table: &mut DeTable<'t>, span: &Range<usize>) -> Option<Removed<'t>> {
    let holds = |it: Range<usize>| it.start <= span.start && span.end <= it.end;
    let mut found = None;
    for (key, value) in table.iter_mut() {
        let inner = match value.get_mut() {
            DeValue::Table(inner) => remove(inner, span).map(|removed| (String::new(), removed)),
            DeValue::Array(items) => {
                items.iter_mut().enumerate().find_map(|(index, item)| match item.get_mut() {
                    DeValue::Table(inner) => {
                        remove(inner, span).map(|removed| (format!("[{index}]"), removed))
                    }
                    _ => None,
                })
            }
            _ => None,
        };
        if let Some((index, removed)) = inner {
            let key = key.get_ref();
            let path = format!("{key}{index}.{}", removed.path);
            let plain_path = format!("{key}.{}", removed.plain_path);
            return Some(Removed { path, plain_path, ..removed });
        }
        if key.span() == *span || holds(value.span()) {
            found = Some(key.clone());
        }
    }
    let (key, value) = table.remove_entry(&found?)?;
    let path = key.get_ref().to_string();
    Some(Removed { key, value, plain_path: path.clone(), path })
}

/// The problem of a value of another type, with the value as it should be written.
fn type_problem(key: &str, value: &DeValue<'_>, expected: &str) -> String {
    let wanted = match (expected, value) {
        ("a boolean", _) => "true or false, without quotes".to_owned(),
        ("a sequence", DeValue::Table(_)) if key == "mode" => {
            "a list of tables: each mode begins with [[mode]]".to_owned()
        }
        ("a sequence", _) => format!("a list: {}", list(key, value)),
        ("a string", DeValue::Array(_)) => "text in quotes in the list".to_owned(),
        ("a string", DeValue::Integer(_) | DeValue::Float(_)) if is_duration(key) => {
            format!("a duration in quotes: \"{}\"", duration(value))
        }
        ("a string", _) if is_duration(key) => "a duration in quotes: \"10s\"".to_owned(),
        ("a string", DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_)) => {
            format!("text in quotes: \"{}\"", plain(value))
        }
        ("a string", _) => "text in quotes".to_owned(),
        ("a map", _) => format!("a table: {key} = {{ NAME = \"value\" }}"),
        (expected, _) if expected.starts_with("struct ") => format!("a table: [{key}]"),
        ("i64", DeValue::String(text)) if text.parse::<i64>().is_ok() => {
            format!("a whole number, without quotes: {text}")
        }
        ("i64", _) => "a whole number, such as 2".to_owned(),
        (other, _) => other.to_owned(),
    };
    format!("invalid type: this is {}, expected {wanted}", kind(value))
}

const fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A value as a list: the words of a command line, or the value as the only item.
fn list(key: &str, value: &DeValue<'_>) -> String {
    let item = |text: &str| format!("{text:?}");
    match (key, value) {
        ("teams", _) => "[[3], [3]]".to_owned(),
        ("command", DeValue::String(text)) => {
            let words: Vec<String> = text.split_whitespace().map(item).collect();
            format!("[{}]", words.join(", "))
        }
        ("command", _) => "[\"./game\", \"--port\", \"1\"]".to_owned(),
        (_, DeValue::String(text)) => format!("[{}]", item(text)),
        _ => "[\"…\", \"…\"]".to_owned(),
    }
}

fn plain(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        _ => String::new(),
    }
}

/// A number of seconds as a duration.
fn duration(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Float(number) => {
            let seconds: f64 = number.as_str().parse().unwrap_or_default();
            format!("{:.0}ms", seconds * 1_000.0)
        }
        _ => format!("{}s", plain(value)),
    }
}

/// Whether a key's value is a duration.
pub(super) fn is_duration(key: &str) -> bool {
    const OTHERS: [&str; 7] = [
        "quarantine",
        "resume_window",
        "max_wait",
        "max_duration",
        "stop_grace",
        "widen_every",
        "alive_every",
    ];
    key.ends_with("_timeout") || OTHERS.contains(&key)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, ConfigError};

    fn mistakes(text: &str) -> Vec<String> {
        let error: ConfigError = Config::from_text(text, Path::new("m.toml")).unwrap_err();
        error.to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn type_errors_show_the_right_form() {
        for (line, expected) in [
            ("command = \"./game --port 1\"", "expected a list: [\"./game\", \"--port\", \"1\"]"),
            ("max_duration = 600", "expected a duration in quotes: \"600s\""),
            ("stop_grace = 1.5", "expected a duration in quotes: \"1500ms\""),
            ("ready_timeout = true", "expected a duration in quotes: \"10s\""),
            ("template = \"yes\"", "expected true or false, without quotes"),
            ("template = 1", "expected true or false, without quotes"),
            ("warm = \"2\"", "expected a whole number, without quotes: 2"),
            ("warm = 1.5", "expected a whole number, such as 2"),
            ("warm = [2]", "this is a list, expected a whole number"),
            ("command = [\"x\", 5]", "expected text in quotes in the list"),
            ("transport = 5", "expected text in quotes: \"5\""),
            ("contract = true", "expected text in quotes: \"true\""),
            ("env = \"A=1\"", "expected a table: env = { NAME = \"value\" }"),
            ("skill = 5", "expected a table: [skill]"),
            ("teams = 2", "expected a list: [[3], [3]]"),
            ("confinement = { read = \"/srv\" }", "expected a list: [\"/srv\"]"),
            ("confinement = { memory_max = true }", "expected a number, or an amount in quotes"),
        ] {
            let reported = mistakes(&format!("[[mode]]\nname = \"a\"\n{line}\n"));
            let key = line.rsplit_once("{ ").map_or(line, |(_, rest)| rest);
            let key = if line.starts_with("env") { "env" } else { key };
            let key = key.split(' ').next().unwrap();
            let first = reported.iter().find(|it| it.starts_with("m.toml:3:"));
            let first = first.unwrap_or_else(|| panic!("{line}: {reported:?}"));
            assert!(first.contains(&format!(": {key}: ")) && first.contains(expected), "{first}");
            // A wrong value is not reported as missing, too.
            assert!(!line.starts_with("command") || reported.len() == 1, "{reported:?}");
        }
        for (text, expected) in [
            (
                "mode = 5\n",
                "m.toml:1:8: mode: invalid type: this is a whole number, expected a list",
            ),
            ("[mode]\nname = \"a\"\n", "expected a list of tables: each mode begins with [[mode]]"),
            (
                "limits = 5\n",
                "m.toml:1:10: limits: invalid type: this is a whole number, expected a table: [limits]",
            ),
            ("[ports]\nrange = 20000\n", "expected text in quotes: \"20000\""),
            ("[limits]\nskill_from = \"192.0.2.1\"\n", "expected a list: [\"192.0.2.1\"]"),
        ] {
            let reported = mistakes(text);
            assert!(reported.len() == 1 && reported[0].contains(expected), "{text}: {reported:?}");
        }
    }

    #[test]
    fn all_mistakes_are_reported_in_the_order_of_the_file() {
        let text = "[limits]\nclints = 5\nclients = 0\n[log]\nlevel = \"loud\"\n[[mode]]\nname = \"a b\"\nplayers = 0\n\
                    command = \"x\"\nwarm = \"two\"\n[[mode]]\nname = \"c\"\ncommand = [\"x\"]\nready_line = \"(\"\n\
                    contract = \"plain\"\n[[mode]]\nname = \"c\"\ncommand = []\n";
        let reported = mistakes(text);
        let at: Vec<&str> = reported.iter().map(|it| it.split(": ").nth(1).unwrap()).collect();
        assert_eq!(
            at,
            [
                "clints",
                "limits.clients",
                "log.level",
                "mode.name",
                "mode.players",
                "command",
                "warm",
                "mode.ready_line",
                "mode.name",
                "mode.command"
            ],
            "{reported:#?}"
        );
    }

    #[test]
    fn consequences_of_a_mistake_are_not_reported() {
        for text in [
            "[[mode]]\nname = \"a\"\ncommand = [\"x\"]\ncontract = \"plane\"\nready_line = \"x\"\nwarm = 0\n",
            "[[mode]]\nname = 5\ncommand = [\"x\"]\n",
            "[[mode]]\nname = \"a\"\ncommand = \"x\"\n",
            "[limits\nclients = 0\n",
        ] {
            let reported = mistakes(text);
            assert_eq!(reported.len(), 1, "{reported:#?}");
        }
    }

    #[test]
    fn every_duration_in_the_shipped_file_is_known_as_one() {
        let text = include_str!("../../../deploy/muster.toml");
        for line in text.lines() {
            let Some((key, value)) = line.trim_start_matches('#').trim().split_once(" = ") else {
                continue;
            };
            let Some(value) = value.strip_prefix('"').and_then(|it| it.split('"').next()) else {
                continue;
            };
            let looks_like_one = humantime::parse_duration(value).is_ok();
            if looks_like_one && key.bytes().all(|it| it.is_ascii_lowercase() || it == b'_') {
                assert!(is_duration(key) || key == "cpu_time_max", "{line}");
            }
        }
    }
}
