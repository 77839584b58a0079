//! Metrics: counting and formatting.
//!
//! The loop counts in plain numbers ([`Counts`]) and passes a copy on request ([`Snapshot`]): without locks and texts,
//! so that matches never wait. Another thread formats the copy as [`openmetrics`] or [`classic`] text.

pub(crate) mod classic;
mod counts;
mod histogram;
pub(crate) mod openmetrics;
mod snapshot;

pub(crate) use counts::{Counts, ExitCause, FailedLaunch, GameSource, ModeCounts, fault_index};
pub(crate) use histogram::Histogram;
pub(crate) use snapshot::{GAMES_MAX, GameNow, ModeNow, Snapshot};
