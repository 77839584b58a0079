//! The operators' side of the daemon: the admin [`socket`], [`metrics`] and [`http`].

pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod socket;
