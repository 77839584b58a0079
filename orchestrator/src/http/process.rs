//! What only the process itself can tell.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::metrics::openmetrics::Process;

const KIB: u64 = 1024;
const MICROS: f64 = 1e6;

/// Now, by the wall clock.
pub(super) fn now_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// How the process is. What the kernel does not tell is zero.
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
