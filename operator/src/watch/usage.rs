//! The CPU time and memory of a process; proc(5).

use std::time::Instant;

/// The unit of CPU time in proc(5): a hundredth of a second on every Linux machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// The fields utime and stime of `/proc/PID/stat`, counted after the name.
const TIME_FIELDS: [usize; 2] = [11, 12];

/// A process at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    at: Instant,
    ticks: u64,
    /// Per cent of one processor, since the reading before.
    pub(super) cpu: Option<f64>,
    /// Resident memory, in bytes.
    pub(super) memory: u64,
}

impl Usage {
    /// Reads the usage of a process. `None`: it has ended.
    pub(super) fn of(pid: i32, before: Option<&Self>) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let (ticks, at) = (ticks(&stat)?, Instant::now());
        let cpu = before.map(|before| {
            let seconds = (at - before.at).as_secs_f64().max(f64::EPSILON);
            100.0 * (ticks.saturating_sub(before.ticks)) as f64 / TICKS_PER_SECOND / seconds
        });
        Some(Self { at, ticks, cpu, memory: resident(&status)? })
    }
}

fn ticks(stat: &str) -> Option<u64> {
    // The name may hold spaces and parentheses; what follows does not.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    TIME_FIELDS.iter().map(|&field| fields.get(field)?.parse::<u64>().ok()).sum()
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    // A zombie has no memory, and no such line.
    let Some(line) = line else { return Some(0) };
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_read_from_proc() {
        assert_eq!(ticks("7 (a) b) S 1 7 7 0 -1 0 1 2 3 4 50 7 0 0"), Some(57));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    640 kB\n"), Some(640 * 1024));
        assert_eq!(resident("Name:\tx\n"), Some(0));
        let own = i32::try_from(std::process::id()).unwrap();
        let first = Usage::of(own, None).unwrap();
        assert!(first.memory > 0 && first.cpu.is_none());
        assert!(Usage::of(own, Some(&first)).unwrap().cpu.is_some());
    }
}
