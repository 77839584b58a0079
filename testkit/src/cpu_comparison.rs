//! The processor use of an idle process, compared with a busy daemon: absolute times would measure the machine.

use std::time::Duration;

use crate::{Setup, Wire, proc};

/// Processor time after which the comparison ends: several steps of [`proc::processor_time`].
const YARDSTICK: Duration = Duration::from_millis(100);

/// The work of a process while a busy daemon answered requests, each with a wake-up.
#[derive(Debug, Clone, Copy)]
pub struct CpuComparison {
    /// Wake-ups of the process.
    pub wakeups: u64,
    /// Requests that the busy daemon answered, each with a wake-up.
    pub requests: u64,
    /// Processor time of the process.
    pub time: Duration,
    /// Processor time of the busy daemon.
    pub busy_time: Duration,
}

impl CpuComparison {
    /// Measures a process while another daemon answers requests.
    pub fn of(pid: i32) -> Self {
        let busy = Setup::default().duel("warm = 0").log("info").start();
        let mut wire = Wire::greeted(busy.address());
        let (time, wakeups) = (proc::processor_time(pid), proc::voluntary_switches(pid));
        let began = proc::processor_time(busy.pid());
        let mut requests = 0;
        loop {
            assert_eq!(wire.ask("PING\n"), "PONG");
            requests += 1;
            let busy_time = proc::processor_time(busy.pid()) - began;
            if busy_time >= YARDSTICK {
                return Self {
                    wakeups: proc::voluntary_switches(pid) - wakeups,
                    requests,
                    time: proc::processor_time(pid) - time,
                    busy_time,
                };
            }
        }
    }

    /// Asserts that the process did only a small part of the busy daemon's work; one that spins does more.
    ///
    /// # Panics
    /// When it did more.
    pub fn assert_idle(&self) {
        let is_idle = self.wakeups < self.requests / 10 && self.time < self.busy_time / 4;
        assert!(is_idle, "not idle: {self:?}");
    }
}
