//! The CPU time and memory of a process; proc(5).

use std::time::{Duration, Instant};

use process::proc;

/// A process at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    at: Instant,
    time: Duration,
    /// Per cent of one processor, since the reading before.
    pub(super) cpu: Option<f64>,
    /// Resident memory, in bytes.
    pub(super) memory: u64,
}

impl Usage {
    /// Reads the usage of a process. `None`: it has ended.
    pub(super) fn of(pid: i32, before: Option<&Self>) -> Option<Self> {
        let (time, at) = (proc::processor_time(pid)?, Instant::now());
        let cpu = before.map(|before| {
            let seconds = (at - before.at).as_secs_f64().max(f64::EPSILON);
            100.0 * time.saturating_sub(before.time).as_secs_f64() / seconds
        });
        Some(Self { at, time, cpu, memory: proc::resident_bytes(pid)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_proc() {
        let own = i32::try_from(std::process::id()).unwrap();
        let first = Usage::of(own, None).unwrap();
        assert!(first.memory > 0 && first.cpu.is_none());
        assert!(Usage::of(own, Some(&first)).unwrap().cpu.is_some());
    }
}
