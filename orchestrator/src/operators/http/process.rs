//! The daemon's own process: start time, memory, processor time.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use process::proc;

use crate::operators::metrics::openmetrics::Process;

const MICROS: f64 = 1e6;

/// The start time of the process since the epoch. An upgrade in place does not change it.
pub(super) fn started_seconds() -> Option<f64> {
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + proc::start_time(own_pid())?.as_secs_f64())
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or_default()
}

/// The figures of the process. Unknown ones are zero.
pub(super) fn read(started_seconds: f64) -> Process {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / MICROS;
    let cpu = getrusage(UsageWho::RUSAGE_SELF);
    let cpu_seconds = cpu.map_or(0.0, |it| seconds(it.user_time()) + seconds(it.system_time()));
    let resident_bytes = proc::resident_bytes(own_pid()).unwrap_or_default();
    Process { started_seconds, cpu_seconds, resident_bytes }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn this_process_started_not_long_ago() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - started_seconds().unwrap();
        assert!((-5.0..3600.0).contains(&age), "{age}");
        assert!(read(0.0).resident_bytes > 100_000);
    }
}
