//! What happened in a world, to be read by whoever looks for a defect.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use matchmaker::{Action, Input};

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The brain was told something.
    Told(Duration, Input),
    /// The brain was told that time has passed.
    TimePassed(Duration),
    /// The brain wanted something done.
    Wanted(Action),
    /// The world did something that the brain does not hear of.
    Noted(String),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(now, input) => write!(f, "{now:>12.3?}  {input:?}"),
            Self::TimePassed(now) => write!(f, "{now:>12.3?}  time passed"),
            Self::Wanted(action) => write!(f, "{:>16} {action:?}", "->"),
            Self::Noted(what) => write!(f, "{:>14}{what}", ""),
        }
    }
}

/// The last entries of a world, as many as it was told to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    entries: VecDeque<Entry>,
    kept_max: usize,
}

impl Trace {
    /// A trace that keeps its last `kept_max` entries.
    pub fn new(kept_max: usize) -> Self {
        Self { entries: VecDeque::new(), kept_max }
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.len() == self.kept_max {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The entries that are kept, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}
