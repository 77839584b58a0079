//! What is counted, and how it is told.
//!
//! The loop counts in plain numbers ([`Counts`]) and hands a copy over when it is asked ([`Snapshot`]): no lock, no
//! text, nothing that a match would wait for. What becomes of that copy, [`openmetrics`] or the [`classic`] text for
//! machines, is the business of another thread.

pub(crate) mod classic;
mod counts;
mod histogram;
pub(crate) mod openmetrics;
mod snapshot;

pub(crate) use counts::{Counts, ExitCause, FailedLaunch, GameSource, ModeCounts, fault_index};
pub(crate) use histogram::Histogram;
pub(crate) use snapshot::{GAMES_MAX, GameNow, ModeNow, Snapshot};
