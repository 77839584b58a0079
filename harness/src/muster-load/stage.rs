//! What all players of a run share.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::measure::Measure;
use crate::net::Hosts;
use crate::oracle::Oracle;

/// The world that players act in.
#[derive(Debug)]
pub(crate) struct Stage {
    began: Instant,
    /// Muster.
    pub(crate) target: SocketAddr,
    /// The queues that players choose among.
    pub(crate) queues: Vec<String>,
    /// How long what is due at once may take.
    pub(crate) patience: Duration,
    /// Whether a player comes back whom Muster has dropped, because Muster may die and be replaced.
    pub(crate) comes_back: bool,
    pub(crate) measure: Measure,
    pub(crate) oracle: Oracle,
    pub(crate) hosts: Hosts,
    /// What is read goes through here first.
    pub(crate) buffer: Box<[u8]>,
    /// The run is ending: whoever only passes the time goes.
    pub(crate) is_ending: bool,
}

/// Enough for all that a connection says at once, as a rule.
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

    /// Since the start of the run.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Counts an operation that failed.
    pub(crate) fn io_error(&mut self, attempt: &str, error: &std::io::Error) {
        let kind = format!("{attempt}: {}", error.kind());
        self.measure.error(&kind);
    }
}
