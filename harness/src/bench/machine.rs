//! The machine of a run, and what processes use of it; proc(5).

use std::fs;
use std::process::Child;

use testkit::proc;

/// A child's pid.
pub(crate) fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap_or_default()
}

/// The processor time of a process, in seconds.
pub(crate) fn processor_seconds(pid: i32) -> Option<f64> {
    proc::scheduled_time(pid).map(|time| time.as_secs_f64())
}

/// The processors and the kernel.
pub(crate) fn description() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let named = |line: &str| line.split_once(": ").map(|(_, name)| name.to_owned());
    let models: Vec<String> =
        cpuinfo.lines().filter(|line| line.starts_with("model name")).filter_map(named).collect();
    let model = models.first().map_or("unknown processors", String::as_str);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{} x {model}, Linux {}", models.len(), kernel.trim())
}

/// The time that all processors of the machine were busy so far, in ticks of the kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processors {
    busy: f64,
    total: f64,
}

impl Processors {
    pub(crate) fn now() -> Self {
        const IDLE: [usize; 2] = [3, 4];
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        // The time of guests is in the first two fields, too.
        let ticks: Vec<f64> =
            first.split_ascii_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        let total = ticks.iter().sum();
        let idle: f64 = IDLE.iter().filter_map(|&at| ticks.get(at)).sum();
        Self { busy: total - idle, total }
    }

    /// How busy the machine was since `earlier`, in percent, with all its processes.
    pub(crate) fn percent_since(self, earlier: Self) -> f64 {
        100.0 * (self.busy - earlier.busy) / (self.total - earlier.total)
    }
}

/// The load averages of 1, 5 and 15 minutes.
pub(crate) fn load_averages() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
