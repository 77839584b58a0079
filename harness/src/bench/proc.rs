//! What the kernel knows of processes and of the machine; proc(5).

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

/// The children of a process, dead ones that were not reaped included.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("children")));
    let lists: Vec<String> = lists.flatten().collect();
    lists.iter().flat_map(|list| list.split_ascii_whitespace()).flat_map(str::parse).collect()
}

/// The memory that is a process's own, in KiB: pages that it shares count in equal parts.
pub(crate) fn proportional_kib(pid: u32) -> Option<f64> {
    field_kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// What the page tables of a process take of the kernel's memory, in KiB.
pub(crate) fn page_tables_kib(pid: u32) -> Option<f64> {
    field_kib(&format!("/proc/{pid}/status"), "VmPTE:")
}

fn field_kib(file: &str, field: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(field))?;
    value.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// What the kernel has taken for itself and cannot give back, in KiB: sockets and all the like.
pub(crate) fn kernel_kib() -> Option<f64> {
    field_kib("/proc/meminfo", "SUnreclaim:")
}

/// The processor, how many of them, and the kernel.
pub(crate) fn machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let named = |line: &str| line.split_once(": ").map(|(_, name)| name.to_owned());
    let models: Vec<String> =
        cpuinfo.lines().filter(|line| line.starts_with("model name")).filter_map(named).collect();
    let model = models.first().map_or("unknown processors", String::as_str);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{} x {model}, Linux {}", models.len(), kernel.trim())
}

/// How long a process has had a processor, in seconds.
pub(crate) fn processor_seconds(pid: u32) -> Option<f64> {
    harness::processor::time_of(pid).map(|time| time.as_secs_f64())
}

/// Where a process listens with TCP on this host, if it does so in one place.
pub(crate) fn listener_of(pid: u32) -> Option<SocketAddr> {
    const LISTEN: &str = "0A";
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let links = descriptors.flatten().flat_map(|entry| fs::read_link(entry.path()));
    let inodes: BTreeSet<String> = links
        .filter_map(|link| {
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_it = fields.get(3) == Some(&LISTEN) && inodes.contains(*fields.get(9)?);
        let port = fields.get(1)?.rsplit_once(':')?.1;
        let port = is_it.then(|| u16::from_str_radix(port, 16).ok())??;
        Some((Ipv4Addr::LOCALHOST, port).into())
    })
}

/// How busy all processors of the machine were so far, in ticks of the kernel.
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
        // Time of guests is counted in the first two fields, too.
        let ticks: Vec<f64> =
            first.split_ascii_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        let total = ticks.iter().sum();
        let idle: f64 = IDLE.iter().filter_map(|&at| ticks.get(at)).sum();
        Self { busy: total - idle, total }
    }

    /// The part of the machine that was busy since `earlier`, in percent: everybody's work.
    pub(crate) fn percent_since(self, earlier: Self) -> f64 {
        100.0 * (self.busy - earlier.busy) / (self.total - earlier.total)
    }
}

/// The load averages of 1, 5 and 15 minutes.
pub(crate) fn load_averages() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
