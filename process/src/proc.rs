//! The kernel's information about a process: proc(5). A process that has ended, or that this one may not inspect,
//! yields `None`, or an empty list.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use crate::limits::CHILDREN_READS_MAX;

/// `/proc/PID/stat` counts time in these: sysconf(_SC_CLK_TCK) is 100 on every machine that Muster runs on.
const TICK: Duration = Duration::from_millis(10);

/// Fields of `/proc/PID/stat`, counted from the one after the name.
mod field {
    pub(super) const STATE: usize = 0;
    pub(super) const PARENT: usize = 1;
    pub(super) const USER_TIME: usize = 11;
    pub(super) const CHILDREN_USER_TIME: usize = 13;
    pub(super) const START_TIME: usize = 19;
}

/// The ids of all processes that are visible.
pub fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The state of a process: `R`, `S`, `D`, `T`, `Z` and so on; proc_pid_stat(5).
pub fn state(pid: i32) -> Option<char> {
    stat(pid)?.field(field::STATE)?.parse().ok()
}

/// Whether a process exists and is not only a zombie.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// The parent of a process.
pub fn parent(pid: i32) -> Option<i32> {
    stat(pid)?.number(field::PARENT)
}

/// The processor time of all threads of a process, in its own code and in the kernel. The kernel counts in steps of
/// 10 ms.
pub fn processor_time(pid: i32) -> Option<Duration> {
    stat(pid)?.time(field::USER_TIME)
}

/// The processor time of the children that a process has waited for, and of theirs.
pub fn processor_time_of_children(pid: i32) -> Option<Duration> {
    stat(pid)?.time(field::CHILDREN_USER_TIME)
}

/// When a process started, counted from the start of the machine.
pub fn start_time(pid: i32) -> Option<Duration> {
    Some(TICK * stat(pid)?.number(field::START_TIME)?)
}

/// The user a process runs as; proc_pid_status(5). (The owner of its directory is root if it is not dumpable.)
pub fn user(pid: i32) -> Option<u32> {
    status(pid, "Uid")?.split_ascii_whitespace().next()?.parse().ok()
}

/// The resident memory of a process, in bytes. A zombie has none.
pub fn resident_bytes(pid: i32) -> Option<u64> {
    let status = read(pid, "status")?;
    let Some(resident) = status_field(&status, "VmRSS") else { return Some(0) };
    Some(1024 * resident.strip_suffix(" kB")?.parse::<u64>().ok()?)
}

/// A field of `/proc/PID/status`.
pub fn status(pid: i32, field: &str) -> Option<String> {
    status_field(&read(pid, "status")?, field).map(str::to_owned)
}

/// The program and the arguments that a process was started with.
pub fn arguments(pid: i32) -> Vec<String> {
    let words = words(pid, "cmdline").into_iter();
    words.map(|word| String::from_utf8_lossy(&word).into_owned()).collect()
}

/// The environment that a process was started with, each variable as `NAME=value`. It is empty while the process
/// changes from one program to the next.
pub fn environment(pid: i32) -> Vec<Vec<u8>> {
    words(pid, "environ")
}

/// The children of a process, zombies included, whichever of its threads created them.
pub fn children(pid: i32) -> Vec<i32> {
    Children::new(pid).list()
}

/// Reads the children of one process many times.
#[derive(Debug)]
pub struct Children {
    parent: i32,
    /// The list of the first thread, which is kept open.
    first_thread: Option<File>,
}

impl Children {
    /// Opens the lists of children of a process.
    pub fn new(parent: i32) -> Self {
        let first_thread = File::open(format!("/proc/{parent}/task/{parent}/children")).ok();
        Self { parent, first_thread }
    }

    /// Reads the lists until two reads agree: a read omits some children when others are reaped meanwhile.
    pub fn list(&self) -> Vec<i32> {
        let mut children = self.read();
        for _ in 0..CHILDREN_READS_MAX {
            let again = self.read();
            if again == children {
                break;
            }
            children = again;
        }
        children
    }

    fn read(&self) -> Vec<i32> {
        match &self.first_thread {
            Some(list) if self.has_one_thread() => numbers(&read_from_start(list)),
            _ => self.read_all_threads(),
        }
    }

    /// The directory of threads has one link for each thread, and two more.
    fn has_one_thread(&self) -> bool {
        let threads = fs::metadata(format!("/proc/{}/task", self.parent));
        threads.is_ok_and(|threads| threads.nlink() == 3)
    }

    fn read_all_threads(&self) -> Vec<i32> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.parent));
        let lists = threads.into_iter().flatten().flatten();
        let lists = lists.flat_map(|thread| fs::read(thread.path().join("children")));
        lists.flat_map(|list| numbers(&list)).collect()
    }
}

/// The fields of `/proc/PID/stat` after the name, which is in parentheses and may contain anything.
struct Stat(String);

fn stat(pid: i32) -> Option<Stat> {
    Stat::after_name(&read(pid, "stat")?)
}

impl Stat {
    fn after_name(stat: &str) -> Option<Self> {
        Some(Self(stat.rsplit_once(')')?.1.to_owned()))
    }

    fn field(&self, index: usize) -> Option<&str> {
        self.0.split_ascii_whitespace().nth(index)
    }

    fn number<T: std::str::FromStr>(&self, index: usize) -> Option<T> {
        self.field(index)?.parse().ok()
    }

    /// The sum of two adjacent times: that in user space and that in the kernel.
    fn time(&self, index: usize) -> Option<Duration> {
        Some(TICK * (self.number::<u32>(index)? + self.number::<u32>(index + 1)?))
    }
}

fn read(pid: i32, file: &str) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn status_field<'a>(status: &'a str, field: &str) -> Option<&'a str> {
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.map(str::trim)
}

/// The words of a file in which each one ends with a zero byte.
fn words(pid: i32, file: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
    words.map(<[u8]>::to_vec).collect()
}

/// Reads an open file of proc(5) as it is now.
fn read_from_start(file: &File) -> Vec<u8> {
    let mut text = vec![0; 4096];
    let mut length = 0;
    while let Ok(read) = file.read_at(&mut text[length..], length as u64)
        && read > 0
    {
        length += read;
        if length == text.len() {
            text.resize(2 * length, 0);
        }
    }
    text.truncate(length);
    text
}

fn numbers(list: &[u8]) -> Vec<i32> {
    let list = String::from_utf8_lossy(list);
    list.split_ascii_whitespace().flat_map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_is_not_taken_for_fields() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 4 50 1 2 20 0 1 0 4711 2 3";
        let stat = Stat::after_name(text).unwrap();
        assert_eq!(stat.field(field::STATE), Some("S"));
        assert_eq!(stat.number(field::PARENT), Some(1));
        assert_eq!(stat.time(field::USER_TIME), Some(54 * TICK));
        assert_eq!(stat.time(field::CHILDREN_USER_TIME), Some(3 * TICK));
        assert_eq!(stat.number(field::START_TIME), Some(4711));
        assert!(Stat::after_name("nonsense").is_none());
        assert_eq!(status_field("Name:\tx\nVmRSS:\t    640 kB\n", "VmRSS"), Some("640 kB"));
        assert_eq!(status_field("VmRSSX:\t1\n", "VmRSS"), None);
    }

    #[test]
    fn a_process_is_what_the_kernel_says_it_is() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read x"]).env("A", "b=c").stdin(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(children(own).contains(&pid) && pids().any(|it| it == pid));
        assert_eq!((parent(pid), user(pid)), (Some(own), user(own)));
        assert_eq!(arguments(pid), ["/bin/sh", "-c", "read x"]);
        assert!(environment(pid).iter().any(|variable| variable == b"A=b=c"));
        assert!(is_alive(pid) && start_time(pid) >= start_time(own));
        assert!(processor_time(own).is_some() && resident_bytes(own) > Some(100_000));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((state(pid), resident_bytes(pid)), (None, None));
    }
}
