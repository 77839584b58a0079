//! The simulation's fixed bounds.

/// How often in a row the brain may ask for a call at the same time.
pub(crate) const TIMEOUTS_AT_A_TIME_MAX: usize = 4;

/// Deadlines that pass in a quiet period.
pub(crate) const QUIET_ROUNDS_MAX: usize = 24;

/// Entries of the trace that a run keeps unless it asks for more.
pub(crate) const TRACE_MAX: usize = 60;
