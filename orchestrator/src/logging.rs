//! The log: one event, one line, on stderr.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

/// Starts the log. Under journald a line begins with its priority and has no time, as journald adds its own.
pub(crate) fn start(level: LevelFilter) {
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let mut builder = Builder::new();
    builder.target(Target::Stderr).filter_level(level).format(move |out, record| {
        // Whatever a player or a game managed to get into a message ends here.
        let message = Escaped(&record.args().to_string()).to_string();
        if to_journal {
            return writeln!(out, "<{}>{message}", priority(record.level()));
        }
        let time = out.timestamp_millis();
        writeln!(out, "{time} {:5} {message}", record.level())
    });
    builder.init();
}

/// The number of systemd's `sd-daemon(3)` for a level.
const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// A text in which every character that a terminal or a reader of the log could mistake for something else is
/// spelled out: controls, line and paragraph separators, and marks that turn the direction of writing.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if misleads(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_on_one_line() {
        let text = Escaped("é\n\u{1b}[31m\u{202e}\u{2028}\u{9b}").to_string();
        assert_eq!(text, "é\\n\\u{1b}[31m\\u{202e}\\u{2028}\\u{9b}");
    }
}
