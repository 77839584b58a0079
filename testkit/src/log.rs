//! The daemon's log as it grows.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::SOON;

/// A log with more bytes than this is shown as the path of a file.
const LONG: usize = 200_000;

/// The lines of a log so far. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Vec<String>>,
    has_ended: AtomicBool,
    changed: Condvar,
}

impl Log {
    /// Reads lines until their source ends.
    pub(crate) fn follow(source: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let shared = Arc::clone(&log.shared);
        std::thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            // Bytes, not text: a test sees even what is not UTF-8.
            while source.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                shared.lock().push(text);
                shared.changed.notify_all();
                line.clear();
            }
            let _lines = shared.lock();
            shared.has_ended.store(true, Ordering::Relaxed);
            shared.changed.notify_all();
        });
        log
    }

    /// Waits for a line that holds all of `parts`, and gives the first one.
    ///
    /// # Panics
    /// When there is none in time.
    pub fn wait_for(&self, parts: &[&str]) -> String {
        self.wait_for_count(1, parts).remove(0)
    }

    /// Waits for `count` lines that hold all of `parts`.
    ///
    /// # Panics
    /// When there are fewer in time.
    pub fn wait_for_count(&self, count: usize, parts: &[&str]) -> Vec<String> {
        self.try_wait_for_count(count, parts, SOON).unwrap_or_else(|found| {
            panic!("{found} of {count} lines with {parts:?} in the log:\n{}", self.text())
        })
    }

    /// Waits for `count` lines that hold all of `parts`.
    ///
    /// # Errors
    /// When there are fewer within `limit`: how many.
    pub fn try_wait_for_count(
        &self,
        count: usize,
        parts: &[&str],
        limit: Duration,
    ) -> Result<Vec<String>, usize> {
        let mut found = Vec::new();
        self.wait_while(limit, |lines| {
            found = matching(lines, parts);
            found.len() < count
        });
        if found.len() < count { Err(found.len()) } else { Ok(found) }
    }

    /// Waits until the daemon closes its log, for a moment at most.
    pub(crate) fn wait_for_end(&self) {
        let shared = &self.shared;
        self.wait_while(Duration::from_secs(1), |_| !shared.has_ended.load(Ordering::Relaxed));
    }

    fn wait_while(&self, limit: Duration, mut is_due: impl FnMut(&[String]) -> bool) {
        let lines = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(lines, limit, |lines| is_due(lines));
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// The lines so far that hold all of `parts`.
    pub fn lines_with(&self, parts: &[&str]) -> Vec<String> {
        matching(&self.shared.lock(), parts)
    }

    /// The value of `key=` in a line.
    ///
    /// # Panics
    /// When the line has no such field.
    pub fn field<'a>(line: &'a str, key: &str) -> &'a str {
        let mut words = line.split(' ');
        let value = words.find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_else(|| panic!("no {key}= in {line:?}"))
    }

    /// The log for a person to read; of a long one, the file that holds it.
    pub(crate) fn shown(&self) -> String {
        let text = self.text();
        if text.len() < LONG {
            return format!("the daemon's log:\n{text}");
        }
        let file = tempfile::Builder::new().prefix("muster-log-").suffix(".txt").tempfile();
        let saved = file.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            Ok(file.keep().map_err(|error| error.error)?.1)
        });
        match saved {
            Ok(path) => format!("the daemon's log is in {}", path.display()),
            Err(error) => format!("the daemon's log cannot be saved: {error}\n{text}"),
        }
    }

    /// All lines so far.
    pub fn text(&self) -> String {
        self.shared.lock().join("\n")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn matching(lines: &[String], parts: &[&str]) -> Vec<String> {
    let holds = |line: &&String| parts.iter().all(|part| line.contains(part));
    lines.iter().filter(holds).cloned().collect()
}
