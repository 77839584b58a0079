//! The trace of a world, for the person who looks for a defect.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use brain::{Action, Input};

/// One line of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The brain got an input.
    Input(Duration, Input),
    /// The brain handled its deadlines.
    TimePassed(Duration),
    /// The brain ordered an action.
    Action(Action),
    /// The world did something that is no input.
    Noted(String),
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(now, input) => write!(f, "{now:>12.3?}  {input:?}"),
            Self::TimePassed(now) => write!(f, "{now:>12.3?}  time passed"),
            Self::Action(action) => write!(f, "{:>16} {action:?}", "->"),
            Self::Noted(what) => write!(f, "{:>14}{what}", ""),
        }
    }
}

/// The last entries of a world, up to a limit.
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
