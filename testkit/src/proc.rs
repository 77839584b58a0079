//! Processes as the kernel shows them; proc(5).

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// The unit of times in `/proc/PID/stat`: 100 clock ticks a second on every Linux that Muster runs on.
const TICK: Duration = Duration::from_millis(10);

/// The numbers of a process's open descriptors, in order.
pub fn descriptors(pid: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let mut numbers: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// The state of a process: `R`, `S`, `T`, `Z` and so on; `None`: there is no such process.
pub fn state(pid: i32) -> Option<char> {
    stat(pid)?.chars().next()
}

/// Whether a process exists and is not a zombie.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// A field of `/proc/PID/status`.
pub fn status(pid: i32, field: &str) -> Option<String> {
    self::field(&format!("/proc/{pid}/status"), field)
}

/// How often a process gave up the processor voluntarily, in all its threads: how often it was woken.
pub fn voluntary_switches(pid: i32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let of_thread = |thread: fs::DirEntry| -> Option<u64> {
        let status = thread.path().join("status");
        field(status.to_str()?, "voluntary_ctxt_switches")?.parse().ok()
    };
    threads.flatten().filter_map(of_thread).sum()
}

/// The processor time of a process and of its threads, ended ones included, in steps of 10 ms.
pub fn processor_time(pid: i32) -> Duration {
    const UTIME: usize = 11;
    ticks(pid, UTIME).unwrap_or_default()
}

/// The processor time of the children that a process has reaped, and of theirs, in steps of 10 ms.
pub fn reaped_time(pid: i32) -> Option<Duration> {
    const CUTIME: usize = 13;
    ticks(pid, CUTIME)
}

/// The processor time of a process's living threads, in nanoseconds. `None`: there is no such process.
pub fn scheduled_time(pid: i32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let nanos = threads.flatten().filter_map(|thread| {
        let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanos.sum()))
}

/// The resident memory of a process, in bytes.
pub fn memory(pid: i32) -> u64 {
    1024 * u64::from(kib(&format!("/proc/{pid}/status"), "VmRSS").unwrap_or_default())
}

/// The memory of a process with its share of shared pages (`Pss`), in KiB.
pub fn proportional_kib(pid: i32) -> Option<u32> {
    kib(&format!("/proc/{pid}/smaps_rollup"), "Pss")
}

/// The memory of a process's page tables, in KiB.
pub fn page_tables_kib(pid: i32) -> Option<u32> {
    kib(&format!("/proc/{pid}/status"), "VmPTE")
}

/// The unreclaimable memory of the kernel, in KiB: sockets and the like.
pub fn kernel_kib() -> Option<u32> {
    kib("/proc/meminfo", "SUnreclaim")
}

/// The children of a process, zombies included, in the order of their start.
pub fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("children")));
    let lists: Vec<String> = lists.flatten().collect();
    lists.iter().flat_map(|list| list.split_ascii_whitespace()).flat_map(str::parse).collect()
}

/// The command line of a process.
pub fn command_line(pid: i32) -> Vec<String> {
    zero_terminated(pid, "cmdline")
}

/// All processes.
pub fn all() -> impl Iterator<Item = i32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The processes whose working directory is inside a directory: games, whatever their parents are.
pub fn working_in(directory: &Path) -> Vec<i32> {
    let works_there = |pid: &i32| {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|it| it.starts_with(directory))
    };
    all().filter(works_there).collect()
}

/// The environment that a process was started with, as `NAME=value`.
pub fn environment(pid: i32) -> Vec<String> {
    zero_terminated(pid, "environ")
}

/// An address on which a process listens with TCP over IPv4.
pub fn listener_of(pid: i32) -> Option<SocketAddr> {
    let inodes = sockets(pid);
    let mut listeners = listeners(&format!("/proc/{pid}/net/tcp"));
    listeners.find(|(_, inode)| inodes.contains(inode)).map(|(address, _)| address)
}

/// The process on this host that listens with TCP on an address, if it is visible.
pub fn listener_at(address: SocketAddr) -> Option<i32> {
    let is_it = |listening: SocketAddr| {
        listening.port() == address.port()
            && (listening.ip().is_unspecified() || listening.ip() == address.ip())
    };
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().flat_map(listeners);
    let inodes: BTreeSet<String> =
        tables.filter(|(listening, _)| is_it(*listening)).map(|(_, inode)| inode).collect();
    if inodes.is_empty() {
        return None;
    }
    // A process that inherited the socket is younger than the one that made it.
    all().filter(|&pid| !sockets(pid).is_disjoint(&inodes)).min()
}

/// The inodes of a process's sockets.
fn sockets(pid: i32) -> BTreeSet<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = descriptors.flat_map(|entry| fs::read_link(entry.path()));
    let inode = |link: &str| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
    links.filter_map(|link| inode(link.to_str()?)).collect()
}

/// Listening addresses and the inodes of their sockets.
fn listeners(table: &str) -> impl Iterator<Item = (SocketAddr, String)> + use<> {
    const LISTEN: &str = "0A";
    let table = fs::read_to_string(table).unwrap_or_default();
    let lines: Vec<String> = table.lines().skip(1).map(str::to_owned).collect();
    lines.into_iter().filter_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, LISTEN, ..] = fields[..] else { return None };
        let (host, port) = local.rsplit_once(':')?;
        let address = (host_of(host)?, u16::from_str_radix(port, 16).ok()?);
        Some((address.into(), (*fields.get(9)?).to_owned()))
    })
}

/// The address that a table shows in words of four bytes, each in the byte order of this machine.
fn host_of(text: &str) -> Option<IpAddr> {
    let words =
        (0..text.len()).step_by(8).map(|at| u32::from_str_radix(text.get(at..at + 8)?, 16).ok());
    let words: Vec<u32> = words.collect::<Option<_>>()?;
    let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(bytes) => Some(bytes.into()),
        Err(_) => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything.
fn stat(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(") ")?.1.to_owned())
}

/// The sum of two neighbouring times of `/proc/PID/stat`: of the user and of the system.
fn ticks(pid: i32, first: usize) -> Option<Duration> {
    let stat = stat(pid)?;
    Some(TICK * stat.split(' ').skip(first).take(2).flat_map(str::parse::<u32>).sum())
}

/// The value of a line `NAME: value`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned())
}

fn kib(file: &str, name: &str) -> Option<u32> {
    field(file, name)?.strip_suffix(" kB")?.trim().parse().ok()
}

fn zero_terminated(pid: i32, file: &str) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_process_behind_a_listener_is_found() {
        let this = i32::try_from(std::process::id()).unwrap();
        for host in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let mut address = listener.local_addr().unwrap();
            if address.ip().is_unspecified() {
                address.set_ip([127, 0, 0, 1].into());
            }
            assert_eq!(listener_at(address), Some(this), "{host}");
        }
        assert_eq!(listener_at(([127, 0, 0, 1], 1).into()), None);
    }
}
