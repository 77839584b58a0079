//! Games: their processes, channels, keys and reports, and the launcher that makes the processes.

pub(crate) mod control;
pub(crate) mod keys;
pub(crate) mod launcher;
pub(crate) mod output;
pub(crate) mod processes;
pub(crate) mod reports;
pub(crate) mod screen;
pub(crate) mod stop_reason;
pub(crate) mod templates;
mod watchdog;
