//! The operators' side of the daemon: the [`view`] of its state, and the admin [`socket`], [`metrics`] and [`http`]
//! that render it.

pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod socket;
pub(crate) mod view;
