//! Warnings that others can cause as often as they like, said seldom.

use std::fmt;
use std::time::Duration;

use crate::clock::Instant;

/// The shortest time between two of them.
const PAUSE: Duration = Duration::from_secs(10);

/// One kind of warning.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    said: Option<Instant>,
    untold: u64,
}

/// How many were not said before this one; shown as the end of its line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Untold(u64);

impl Seldom {
    /// Whether to say it now; with how many were not said since the last one.
    pub(crate) fn say(&mut self, now: Instant) -> Option<Untold> {
        if self.said.is_some_and(|said| now < said + PAUSE) {
            self.untold += 1;
            return None;
        }
        self.said = Some(now);
        Some(Untold(std::mem::take(&mut self.untold)))
    }
}

impl fmt::Display for Untold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            untold => write!(f, " ({untold} more since the last such line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_seldom_is_counted() {
        let (mut seldom, now) = (Seldom::default(), Instant::now());
        assert_eq!(seldom.say(now).unwrap().to_string(), "");
        assert!(seldom.say(now).is_none() && seldom.say(now).is_none());
        let untold = seldom.say(now + PAUSE).unwrap().to_string();
        assert_eq!(untold, " (2 more since the last such line)");
    }
}
