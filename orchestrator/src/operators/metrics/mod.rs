//! Counts of what happens, and their text.
//!
//! The loop counts in plain numbers ([`Counts`]); the thread that serves HTTP renders a copy of them, in a
//! [`View`](super::view::View), as [`openmetrics`] or [`classic`] text.

pub(crate) mod classic;
mod counts;
mod histogram;
pub(crate) mod openmetrics;

pub(crate) use counts::{Counts, ExitCause, FailedLaunch, ModeCounts, fault_index};
pub(crate) use histogram::Histogram;
