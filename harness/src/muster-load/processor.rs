//! Who uses the processor, and how much: this program, and the daemon that it loads. proc(5).

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use harness::processor::time_of;
use nix::sys::resource::{UsageWho, getrusage};

/// Processor time so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) own: Duration,
    pub(crate) daemon: Option<Duration>,
    /// Of the daemon's children: the launcher, and the games that have ended.
    pub(crate) children: Option<Duration>,
}

/// Who looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processor {
    daemon: Option<u32>,
}

impl Processor {
    /// Looks at this program, and at a daemon if its process is known.
    pub(crate) fn new(daemon: Option<u32>) -> Self {
        Self { daemon }
    }

    pub(crate) fn daemon(&self) -> Option<u32> {
        self.daemon
    }

    pub(crate) fn used(&self) -> Used {
        let daemon = self.daemon.and_then(time_of);
        Used { own: own(), daemon, children: self.daemon.and_then(of_children) }
    }
}

fn own() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| {
            let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        })
        .sum()
}

/// The launcher, which is a living child, and all children that were waited for, with theirs.
fn of_children(pid: u32) -> Option<Duration> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let is_launcher = |child: &u32| {
        fs::read(format!("/proc/{child}/cmdline"))
            .is_ok_and(|words| words.starts_with(b"muster-launcher"))
    };
    let mut children = children.split_ascii_whitespace().flat_map(str::parse::<u32>);
    let launcher = children.find(is_launcher).and_then(time_of).unwrap_or_default();
    Some(launcher + waited_for(pid)?)
}

/// `cutime` and `cstime`, in hundredths of a second: the kernel's unit for user space on Linux.
fn waited_for(pid: u32) -> Option<Duration> {
    const CUTIME: usize = 13;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let fields = stat.rsplit_once(") ")?.1;
    let ticks = fields.split(' ').skip(CUTIME).take(2).flat_map(str::parse::<u64>);
    Some(Duration::from_millis(ticks.sum::<u64>() * 10))
}

/// The process on this host that listens at a TCP address, if it can be seen.
pub(crate) fn listener_at(address: SocketAddr) -> Option<u32> {
    let inodes = listening_inodes(address);
    if inodes.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let listens = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut links = descriptors.flat_map(|entry| fs::read_link(entry.path()));
        links.any(|link| {
            let inode = link.to_str().and_then(|link| link.strip_prefix("socket:["));
            inode
                .and_then(|inode| inode.strip_suffix(']'))
                .is_some_and(|inode| inodes.contains(inode))
        })
    };
    // One that inherited the socket is younger than who made it.
    pids.filter(listens).min()
}

fn listening_inodes(address: SocketAddr) -> BTreeSet<String> {
    const LISTEN: &str = "0A";
    let mut inodes = BTreeSet::new();
    for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = fs::read_to_string(file).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, local, _, state, ..] = fields[..] else { continue };
            let Some((host, port)) = local.rsplit_once(':') else { continue };
            let is_port = u16::from_str_radix(port, 16) == Ok(address.port());
            if state == LISTEN && is_port && (is_any(host) || host == in_table(address.ip())) {
                inodes.extend(fields.get(9).map(|inode| (*inode).to_owned()));
            }
        }
    }
    inodes
}

fn is_any(host: &str) -> bool {
    host.bytes().all(|byte| byte == b'0')
}

/// An address as those tables write it: in words of four bytes, in the order of this machine.
fn in_table(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).map(|word| {
        let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        format!("{word:08X}")
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_listens_is_found() {
        for host in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else { continue };
            let mut address = listener.local_addr().unwrap();
            if address.ip().is_unspecified() {
                address.set_ip([127, 0, 0, 1].into());
            }
            assert_eq!(listener_at(address), Some(std::process::id()), "{host}");
        }
        assert_eq!(listener_at(([127, 0, 0, 1], 1).into()), None);
    }

    #[test]
    fn time_is_counted() {
        // A process of one thread that does nothing but use the processor.
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let processor = Processor::new(Some(busy.id()));
        let used = || processor.used().daemon.unwrap();
        let (deadline, before) = (Instant::now() + Duration::from_secs(30), used());
        while used() < before + Duration::from_millis(20) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let (after, children) = (used(), processor.used().children);
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(after >= before + Duration::from_millis(20), "{before:?}, {after:?}");
        assert_eq!(children, Some(Duration::ZERO), "it has none");
        assert_eq!(processor.used().daemon, None, "it is gone");
        assert!(processor.used().own > Duration::ZERO);
    }
}
