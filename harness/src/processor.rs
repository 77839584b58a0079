//! Who used the processor; proc(5).

use std::fs;
use std::time::Duration;

/// How long all threads of a process have had a processor, in nanoseconds where the kernel tells: `/proc/PID/stat` counts
/// in steps of 10 ms. `None`: there is no such process.
pub fn time_of(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let nanos = threads.flatten().filter_map(|thread| {
        let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanos.sum()))
}
