//! The log: one event, one line, on stderr, by way of the [`sink`], which never blocks. The lines of a turn of the loop
//! go there together at its end, or with the first one that tells of an error, which may be the last one ever.

mod sink;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};
use protocol::Visible;

/// Lines that are held back are written all the same when there are so many bytes of them.
const HELD_MAX: usize = 64 * 1024;

/// Lines that operators who watch are shown, and their characters, at most.
const RECENT_MAX: usize = 16;
const RECENT_LINE_MAX: usize = 200;

/// What is to be written.
static HELD: Mutex<Held> = Mutex::new(Held::new());

struct Held {
    /// The last lines, without their time.
    recent: VecDeque<String>,
    is_holding: bool,
    /// Whether the line that comes next is not to wait.
    is_urgent: bool,
    lines: Vec<u8>,
}

/// Holds lines back for as long as it lives.
pub struct Turn(());

/// Holds back what is logged until the turn is over: a call to the kernel for each line would cost a busy loop more
/// than all else that it does for a match.
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

/// The last lines that were logged, debugging aside; the newest last.
pub fn recent() -> Vec<String> {
    held().recent.iter().cloned().collect()
}

/// Logs so much from here on.
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

    /// Takes a line in. Whether it is time to write what is held.
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

/// Where lines go.
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

/// How long the end of a process may be held up by its last lines.
const LAST_LINES_MAX: Duration = Duration::from_millis(500);

/// How many lines a program has lost that this one goes on for, in the same process.
pub const LOST_VARIABLE: &str = "MUSTER_LOG_LOST";

/// Has a thread write the log, so that whoever reads it holds up nothing. Comes after the signals were taken over: the
/// thread inherits what is blocked.
pub fn write_in_background() {
    if let Err(error) = sink::start_thread() {
        log::warn!("cannot start a thread for the log: {error}; lines may be lost that way");
    }
}

/// Waits for the lines that were logged to be written, for a short time only: to be called before the process ends or
/// becomes another program. Gives how many lines are lost then.
pub fn finish() -> u64 {
    sink::flush(LAST_LINES_MAX)
}

/// Says why the process ends, as the last thing of all, on stderr without a frame.
pub fn last_words(words: &str) {
    sink::push(format!("{words}\n").as_bytes());
    finish();
}

/// Starts the log. Under journald a line begins with its priority and has no time, as journald adds its own.
pub fn start(level: LevelFilter) {
    let to_journal = is_read_by_journald();
    let lost = std::env::var(LOST_VARIABLE).ok().and_then(|lost| lost.parse().ok());
    sink::prepare(framed, lost.unwrap_or_default());
    let mut builder = Builder::new();
    // The crate `log` itself holds back what is beyond the level, which may change.
    let all = LevelFilter::Trace;
    builder.target(Target::Pipe(Box::new(Lines))).filter_level(all).format(move |out, record| {
        // Whatever a player or a game managed to get into a message ends here.
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

/// A line of the log's own, which looks like all others.
fn framed(level: Level, message: &str) -> String {
    if is_read_by_journald() {
        return format!("<{}>{message}\n", priority(level));
    }
    let time = humantime::format_rfc3339_millis(SystemTime::now());
    format!("{time} {level:5} {message}\n")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_wait_for_the_end_of_a_turn_but_not_behind_an_error() {
        let mut held = Held::new();
        assert!(held.take(b"before the loop\n"));
        held.lines.clear();
        held.is_holding = true;
        assert!(!held.take(b"an event\n"));
        held.is_urgent = true;
        assert!(held.take(b"a defect\n"));
        assert_eq!(held.lines, b"an event\na defect\n");
        held.lines.clear();
        assert!(!held.take(b"another event\n"), "the urgency is over");
        assert!(held.take(&[b'x'; HELD_MAX]), "so much is not held");
    }
}
