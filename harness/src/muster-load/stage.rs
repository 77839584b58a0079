//! The shared state of all players of a run.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::measure::Measure;
use crate::net::Hosts;
use crate::oracle::Oracle;

/// The environment of the players.
#[derive(Debug)]
pub(crate) struct Stage {
    began: Instant,
    /// Muster's address.
    pub(crate) target: SocketAddr,
    /// The queues that players choose from.
    pub(crate) queues: Vec<String>,
    /// How long an immediate answer may take.
    pub(crate) patience: Duration,
    /// Whether players reconnect after Muster disconnected them, because it may crash and be replaced.
    pub(crate) comes_back: bool,
    pub(crate) measure: Measure,
    pub(crate) oracle: Oracle,
    pub(crate) hosts: Hosts,
    /// The buffer for reads.
    pub(crate) buffer: Box<[u8]>,
    /// The run is ending: idle players leave.
    pub(crate) is_ending: bool,
}

/// Usually enough for all pending data of a connection.
const BUFFER: usize = 64 * 1024;

impl Stage {
    pub(crate) fn new(
        target: SocketAddr,
        queues: Vec<String>,
        patience: Duration,
        comes_back: bool,
    ) -> Self {
        Self {
            began: Instant::now(),
            target,
            queues,
            patience,
            comes_back,
            measure: Measure::new(),
            oracle: Oracle::new(patience),
            hosts: Hosts::default(),
            buffer: vec![0; BUFFER].into(),
            is_ending: false,
        }
    }

    /// The time since the start of the run.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Counts an operation that failed.
    pub(crate) fn io_error(&mut self, attempt: &str, error: &std::io::Error) {
        let kind = format!("{attempt}: {}", error.kind());
        self.measure.error(&kind);
    }
}
