//! Hosting's fixed bounds. What an operator may change is in [`Config`](crate::Config).

use std::time::Duration;

/// The first pause after a mode's games failed twice in a row; it doubles with each further failure.
pub const BACKOFF_MIN: Duration = Duration::from_millis(250);

/// The longest pause between two tries of a mode whose games keep failing.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Games that are ordered to be warm and whose processes do not exist yet, at most. Processes are made one after
/// another, so a game for players who wait never stands behind more than these.
pub const REFILLS_ORDERED_MAX: usize = 2;

/// How long no match may have taken a step before a game is launched to be warm: about ten times as long as a match
/// with a warm game takes from READY until its players are in. A launch beside it made that three times as long.
pub const REFILL_PAUSE: Duration = Duration::from_millis(5);

/// How long a warm game that could be launched may be missing, however many matches come. Where they never pause, all
/// that are missing are launched after this time, so that those who come then find some.
pub const REFILL_DELAY_MAX: Duration = Duration::from_millis(50);

/// How long a mode has to have too many warm games before the oldest of them is stopped, then the next.
pub const SURPLUS_PAUSE: Duration = Duration::from_secs(1);

/// A match that dies sooner than this after its players were sent to it is none.
pub const MATCH_MIN: Duration = Duration::from_secs(1);

/// How many matches of a mode may die so soon in a row before its games count as failing.
pub const EARLY_ENDS_MAX: u32 = 3;

/// How long a port rests at least when something outside Muster holds it, however short the quarantine.
pub const BUSY_PORT_REST_MIN: Duration = Duration::from_secs(1);

/// The longest rest of a port whose games fail one after another while others start. The first is
/// [`BUSY_PORT_REST_MIN`]; it doubles with each.
pub const SUSPECT_PORT_REST_MAX: Duration = Duration::from_secs(32);

/// How often it is said, at most, that something outside Muster holds a port.
pub const BUSY_PORT_TOLD_EVERY: Duration = Duration::from_secs(60);

/// How long a game may outlive SIGKILL before it gets another, and the operator a word.
pub const KILL_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How many doublings of [`BACKOFF_MIN`] reach [`BACKOFF_MAX`]; more would only overflow.
pub(crate) const BACKOFF_DOUBLINGS_MAX: u32 = 7;

/// The seconds during which the matches of a mode are counted, to find out how many warm games it needs.
pub const ARRIVALS_WINDOW_SECONDS: u64 = 60;

const _: () = assert!(REFILL_PAUSE.as_millis() < REFILL_DELAY_MAX.as_millis());
const _: () = assert!(BACKOFF_MIN.as_millis() << BACKOFF_DOUBLINGS_MAX >= BACKOFF_MAX.as_millis());
