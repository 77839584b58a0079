//! What an idle daemon does, measured against a busy one: a clock would measure the machine.

use std::time::Duration;

use crate::{Setup, Wire, proc};

/// How long the busy daemon works, in time that it has the processor: enough steps of
/// [`proc::processor_time`] to tell something from nothing.
const YARDSTICK: Duration = Duration::from_millis(100);

/// What a process did while another daemon answered questions all the time, each with a wake-up of its own.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// How often it woke up.
    pub wakeups: u64,
    /// How often the other did, at least.
    pub questions: u64,
    /// How long it had the processor.
    pub time: Duration,
    /// How long the other had it.
    pub yardstick: Duration,
}

impl Work {
    /// Watches a process while another daemon works.
    pub fn of(pid: i32) -> Self {
        let busy = Setup::default().duel("warm = 0").log("info").start();
        let mut wire = Wire::greeted(busy.address());
        let (time, wakeups) = (proc::processor_time(pid), proc::voluntary_switches(pid));
        let began = proc::processor_time(busy.pid());
        let mut questions = 0;
        loop {
            assert_eq!(wire.ask("PING\n"), "PONG");
            questions += 1;
            let yardstick = proc::processor_time(busy.pid()) - began;
            if yardstick >= YARDSTICK {
                return Self {
                    wakeups: proc::voluntary_switches(pid) - wakeups,
                    questions,
                    time: proc::processor_time(pid) - time,
                    yardstick,
                };
            }
        }
    }

    /// Fails if the process did more than a small part of the other's work, as one that spins would.
    ///
    /// # Panics
    /// Then.
    pub fn assert_little(&self) {
        let is_little = self.wakeups < self.questions / 10 && self.time < self.yardstick / 4;
        assert!(is_little, "not idle: {self:?}");
    }
}
