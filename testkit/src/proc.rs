//! What the kernel knows of a process; proc(5).

use std::fs;
use std::path::Path;
use std::time::Duration;

/// The numbers of a process's open descriptors, in order.
pub fn descriptors(pid: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let mut numbers: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// The state of a process: `R`, `S`, `T`, `Z` and so on; `None` is gone.
pub fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether a process runs: it is there, and not only as a zombie.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// A field of `/proc/pid/status`.
pub fn status(pid: i32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.map(|value| value.trim().to_owned())
}

/// How often a process gave up the processor by itself, in all its threads: how often it was woken.
pub fn voluntary_switches(pid: i32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let of_thread = |thread: fs::DirEntry| -> Option<u64> {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line?.trim().parse().ok()
    };
    threads.flatten().filter_map(of_thread).sum()
}

/// How long a process has had the processor, in all its threads; in steps of about 10 ms.
pub fn processor_time(pid: i32) -> Duration {
    // Clock ticks per second: what proc(5) counts in is 100 on every Linux that Muster runs on.
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // After the command's name, which may hold anything, utime and stime are the 12th and 13th field.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    TICK * fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u32>().ok()).sum()
}

/// The memory that a process has in use, in bytes.
pub fn memory(pid: i32) -> u64 {
    let kilobytes = status(pid, "VmRSS").and_then(|value| value.strip_suffix(" kB")?.parse().ok());
    1024 * kilobytes.unwrap_or(0_u64)
}

/// The children of a process, dead ones that were not reaped included.
pub fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.flatten().map(|thread| fs::read_to_string(thread.path().join("children")));
    let lists: Vec<String> = lists.flatten().collect();
    lists.iter().flat_map(|list| list.split_ascii_whitespace()).flat_map(str::parse).collect()
}

/// The words that a process was started with.
pub fn words(pid: i32) -> Vec<String> {
    zero_ended(pid, "cmdline")
}

/// All processes.
pub fn all() -> impl Iterator<Item = i32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The processes that work in a test's own directory: games, wherever they are in the tree of processes.
pub fn at_work(directory: &Path) -> Vec<i32> {
    let works_there = |pid: &i32| {
        fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|it| it.starts_with(directory))
    };
    all().filter(works_there).collect()
}

/// The environment that a process was started with, `NAME=value` each.
pub fn environment(pid: i32) -> Vec<String> {
    zero_ended(pid, "environ")
}

fn zero_ended(pid: i32, file: &str) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}
