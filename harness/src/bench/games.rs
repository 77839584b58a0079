//! Games as processes: what it costs to start them, to have them, and to end them.

pub(crate) mod confinement;
pub(crate) mod latency;
pub(crate) mod memory;
pub(crate) mod rate;
pub(crate) mod stall;
pub(crate) mod ticks;
