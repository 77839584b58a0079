//! The log: one event, one line, on stderr.

use std::io::Write as _;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};
use protocol::Visible;

/// Starts the log. Under journald a line begins with its priority and has no time, as journald adds its own.
pub(crate) fn start(level: LevelFilter) {
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let mut builder = Builder::new();
    builder.target(Target::Stderr).filter_level(level).format(move |out, record| {
        // Whatever a player or a game managed to get into a message ends here.
        let message = Visible(&record.args().to_string()).to_string();
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
