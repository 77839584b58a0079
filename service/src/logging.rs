//! The log: one event per line, on stderr, through the `sink`, which never blocks. The lines of one iteration of the
//! loop are written together at its end, or with the first error, which may be the last line ever.

mod sink;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};
use protocol::Visible;

/// Buffered lines are written at once when they have this many bytes.
const HELD_MAX: usize = 64 * 1024;

/// The largest number of recent lines that are kept for operators, and of characters in each.
const RECENT_MAX: usize = 16;
const RECENT_LINE_MAX: usize = 200;

/// The lines that are not written yet.
static HELD: Mutex<Held> = Mutex::new(Held::new());

struct Held {
    /// The most recent lines, without their time.
    recent: VecDeque<String>,
    is_holding: bool,
    /// Whether the next line must be written at once.
    is_urgent: bool,
    lines: Vec<u8>,
}

/// Buffers lines as long as it lives.
pub struct Turn(());

/// Buffers log lines until the end of the loop's iteration: a system call for each line would cost a busy loop more
/// than everything else that it does for a match.
pub fn hold_for_a_turn() -> Turn {
    held().is_holding = true;
    Turn(())
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut held = held();
        held.is_holding = false;
        held.write_out();
    }
}

fn held() -> MutexGuard<'static, Held> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most recent log lines, except those at debug level; the newest last.
pub fn recent() -> Vec<String> {
    held().recent.iter().cloned().collect()
}

/// Sets the log level.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

impl Held {
    const fn new() -> Self {
        Self { is_holding: false, is_urgent: false, recent: VecDeque::new(), lines: Vec::new() }
    }

    fn remember(&mut self, level: Level, message: &str) {
        if level > Level::Info {
            return;
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        let shown: String = message.chars().take(RECENT_LINE_MAX).collect();
        self.recent.push_back(shown);
    }

    /// Buffers a line. Returns whether the buffer must be written now.
    fn take(&mut self, line: &[u8]) -> bool {
        self.lines.extend_from_slice(line);
        let is_urgent = std::mem::take(&mut self.is_urgent);
        !self.is_holding || is_urgent || self.lines.len() > HELD_MAX
    }

    fn write_out(&mut self) {
        sink::push(&self.lines);
        self.lines.clear();
    }
}

/// The destination of formatted lines.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut held = held();
        if held.take(bytes) {
            held.write_out();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long the last lines may delay the end of a process.
const LAST_LINES_MAX: Duration = Duration::from_millis(500);

/// The variable with the number of lines that the program before this one in the same process has lost.
pub const LOST_VARIABLE: &str = "MUSTER_LOG_LOST";

/// Starts a thread that writes the log, so that its reader cannot block the process. Must come after
/// [`Signals::take_over`](crate::signals::Signals::take_over), as the thread inherits the blocked signals.
pub fn write_in_background() {
    if let Err(error) = sink::start_thread() {
        log::warn!("cannot start the log thread: {error}; lines can be lost");
    }
}

/// Waits a short time until all lines are written. Must be called before the process exits or executes another program.
/// Returns how many lines are lost.
pub fn finish() -> u64 {
    sink::flush(LAST_LINES_MAX)
}

/// Writes the reason why the process ends to stderr, without time and level, after all log lines.
pub fn last_words(words: &str) {
    sink::push(format!("{words}\n").as_bytes());
    finish();
}

/// Starts the log. Under journald a line begins with its priority and has no time, as journald adds one.
pub fn start(level: LevelFilter) {
    let to_journal = is_read_by_journald();
    let lost = std::env::var(LOST_VARIABLE).ok().and_then(|lost| lost.parse().ok());
    sink::prepare(framed, lost.unwrap_or_default());
    let mut builder = Builder::new();
    // The crate `log` filters by level, which can change.
    let all = LevelFilter::Trace;
    builder.target(Target::Pipe(Box::new(Lines))).filter_level(all).format(move |out, record| {
        // Untrusted text of players and games is made safe here.
        let message = Visible(&record.args().to_string()).to_string();
        {
            let mut held = held();
            held.is_urgent = record.level() == Level::Error;
            held.remember(record.level(), &message);
        }
        if to_journal {
            return writeln!(out, "<{}>{message}", priority(record.level()));
        }
        let time = out.timestamp_millis();
        writeln!(out, "{time} {:5} {message}", record.level())
    });
    builder.init();
    set_level(level);
}

fn is_read_by_journald() -> bool {
    process::variable("JOURNAL_STREAM").is_some()
}

/// Formats a line of the log itself like all others.
fn framed(level: Level, message: &str) -> String {
    if is_read_by_journald() {
        return format!("<{}>{message}\n", priority(level));
    }
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    format!("{time} {level:5} {message}\n")
}

/// The number of a level in `sd-daemon(3)`.
const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_for_the_end_of_an_iteration_unless_there_is_an_error() {
        let mut held = Held::new();
        assert!(held.take(b"before the loop\n"));
        held.lines.clear();
        held.is_holding = true;
        assert!(!held.take(b"an event\n"));
        held.is_urgent = true;
        assert!(held.take(b"a defect\n"));
        assert_eq!(held.lines, b"an event\na defect\n");
        held.lines.clear();
        assert!(!held.take(b"another event\n"), "only the error is urgent");
        assert!(held.take(&[b'x'; HELD_MAX]), "a full buffer is written");
    }
}
