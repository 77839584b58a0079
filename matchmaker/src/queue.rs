//! Places in a queue.

use serde::{Deserialize, Serialize};

/// A place in a queue: the sequence number of the READY that it stands for. Who goes back to the queue goes back with
/// it, and so stands where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub(crate) u64);
