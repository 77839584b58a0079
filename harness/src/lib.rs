//! What the load generator and the benchmark share.

#![forbid(unsafe_code)]

pub mod processor;
pub mod sockets;
