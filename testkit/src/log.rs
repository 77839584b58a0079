//! The daemon's log as it grows.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::SOON;

/// From so many bytes on a log is kept in a file.
const LONG: usize = 200_000;

/// All lines so far, and whoever waits for the next one.
#[derive(Debug, Clone, Default)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<Vec<String>>,
    grew: Condvar,
}

impl Log {
    /// Reads lines until their source ends.
    pub(crate) fn follow(source: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let shared = Arc::clone(&log.shared);
        std::thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            // Bytes, not text: what the daemon writes is to be seen as it is.
            while source.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                shared.lock().push(text);
                shared.grew.notify_all();
                line.clear();
            }
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
        let deadline = Instant::now() + SOON;
        let mut lines = self.shared.lock();
        loop {
            let found = matching(&lines, parts);
            if found.len() >= count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} of {count} lines with {parts:?} in the log:\n{}",
                found.len(),
                lines.join("\n")
            );
            lines = match self.shared.grew.wait_timeout(lines, left) {
                Ok((lines, _)) => lines,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
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

    /// Everything so far, for somebody to read; or the file where it is, if it is long.
    pub(crate) fn shown(&self) -> String {
        let text = self.text();
        if text.len() < LONG {
            return format!("the daemon's log:\n{text}");
        }
        let file = tempfile::Builder::new().prefix("muster-log-").suffix(".txt").tempfile();
        let kept = file.and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            Ok(file.keep().map_err(|error| error.error)?.1)
        });
        match kept {
            Ok(path) => format!("the daemon's log is in {}", path.display()),
            Err(error) => format!("the daemon's log cannot be kept: {error}\n{text}"),
        }
    }

    /// Everything so far.
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
