//! Handing the daemon over to another process: snapshot, journal, upgrade in place and recovery after a crash.
//!
//! [`descriptors`] is the leaf that all parts of the state use; [`snapshot`] is the top that knows all of them.

pub(crate) mod descriptors;
pub(crate) mod exec;
pub(crate) mod journal;
pub(crate) mod preflight;
pub(crate) mod snapshot;
pub(crate) mod text;
