//! The daemon's own process: start time, memory, processor time.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::operators::metrics::openmetrics::Process;

const KIB: u64 = 1024;
const MICROS: f64 = 1e6;

/// The unit of proc_pid_stat(5); sysconf(_SC_CLK_TCK) is 100 on every machine that Muster supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// The start time of the process since the epoch. An upgrade in place does not change it.
pub(super) fn started_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + start_ticks(&stat)? / TICKS_PER_SECOND)
}

/// The 22nd field of proc_pid_stat(5); the second one is a name in parentheses that can contain anything.
fn start_ticks(stat: &str) -> Option<f64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

/// The figures of the process. Unknown ones are zero.
pub(super) fn read(started_seconds: f64) -> Process {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / MICROS;
    let cpu = getrusage(UsageWho::RUSAGE_SELF);
    let cpu_seconds = cpu.map_or(0.0, |it| seconds(it.user_time()) + seconds(it.system_time()));
    Process { started_seconds, cpu_seconds, resident_bytes: resident_bytes().unwrap_or_default() }
}

/// proc_pid_status(5): `VmRSS:   1234 kB`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * KIB)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_name_is_not_taken_for_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 2 3";
        assert_eq!(start_ticks(stat), Some(4711.0));
        assert_eq!(start_ticks("nonsense"), None);
    }

    #[test]
    fn this_process_started_not_long_ago() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - started_seconds().unwrap();
        assert!((-5.0..3600.0).contains(&age), "{age}");
        assert!(read(0.0).resident_bytes > 100_000);
    }
}
