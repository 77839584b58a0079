//! Code that the load generator and the benchmark share.

#![forbid(unsafe_code)]

pub mod sockets;
