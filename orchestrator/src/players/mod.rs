//! Players: the listener, their connections, and the secrets drawn for them.

pub(crate) mod account;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod listener;
pub(crate) mod secrets;
