//! The limits of the host: checked before a run, and reported when they are reached after all.

use std::fs;
use std::io;
use std::net::IpAddr;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The resources that a run needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) players: u32,
    pub(crate) target: IpAddr,
    /// The addresses that players come from, if they do not leave it to the kernel.
    pub(crate) sources: Option<u32>,
}

/// The known resources of the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Has {
    pub(crate) descriptors: u64,
    pub(crate) ports: Option<u32>,
    /// In KiB.
    pub(crate) memory: Option<u64>,
}

/// Descriptors besides the players': standard ones, the loop's, and a report's file.
const DESCRIPTORS_OWN: u64 = 32;

/// The memory of a player, in KiB: this program's part, and the kernel's for both ends of its connection.
const PLAYER_KIB: u64 = 12;

/// Why the host is too small.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooSmall {
    #[error(
        "{players} players need {needed} descriptors, and this process may have {allowed}. Allow more with \
         `ulimit -n {needed}` (as root, if the shell refuses it), with LimitNOFILE={needed} in a systemd unit or with \
         nofile in /etc/security/limits.conf; or use --players {fits}"
    )]
    Descriptors { players: u32, needed: u64, allowed: u64, fits: u64 },
    #[error(
        "{players} players from {sources} address(es) need {needed} ports of each, and net.ipv4.ip_local_port_range has \
         {has}. Allow more with `sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"`{or_more_sources}; or use \
         --players {fits}"
    )]
    Ports {
        players: u32,
        sources: u32,
        needed: u32,
        has: u32,
        or_more_sources: &'static str,
        fits: u64,
    },
    #[error(
        "{players} players need about {needed_mib} MiB of memory, this end and the kernel's part together, and the host \
         has {has_mib} MiB left; use --players {fits}"
    )]
    Memory { players: u32, needed_mib: u64, has_mib: u64, fits: u64 },
}

impl Has {
    /// Raises the limit of descriptors as far as possible, and reads the others.
    pub(crate) fn look(needs: &Needs) -> Self {
        Self {
            descriptors: take_descriptors(descriptors_for(needs.players)),
            ports: local_ports(),
            memory: memory_available(),
        }
    }

    /// Whether the resources suffice.
    ///
    /// # Errors
    /// The missing resource, and what to do about it.
    pub(crate) fn check(&self, needs: &Needs) -> Result<(), TooSmall> {
        let players = needs.players;
        let needed = descriptors_for(players);
        if self.descriptors < needed {
            let (allowed, fits) =
                (self.descriptors, self.descriptors.saturating_sub(DESCRIPTORS_OWN));
            return Err(TooSmall::Descriptors { players, needed, allowed, fits });
        }
        let sources = needs.sources.unwrap_or(1).max(1);
        let needed = players.div_ceil(sources);
        if let Some(has) = self.ports.filter(|has| *has < needed) {
            let fits = u64::from(has) * u64::from(sources);
            let or_more_sources =
                if needs.target.is_loopback() { ", or use more --sources" } else { "" };
            return Err(TooSmall::Ports { players, sources, needed, has, or_more_sources, fits });
        }
        let needed = u64::from(players) * PLAYER_KIB;
        if let Some(has) = self.memory.filter(|has| *has < needed) {
            let (needed_mib, has_mib) = (needed / 1024, has / 1024);
            return Err(TooSmall::Memory { players, needed_mib, has_mib, fits: has / PLAYER_KIB });
        }
        Ok(())
    }
}

fn descriptors_for(players: u32) -> u64 {
    // A player has one socket at a time: it closes the connection before it joins its game.
    u64::from(players) + DESCRIPTORS_OWN
}

/// Raises the limit as far as is needed: the soft one always, the hard one where this process may.
fn take_descriptors(needed: u64) -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return u64::MAX };
    if soft < needed {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard);
        if needed > hard {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, needed, needed);
        }
    }
    getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft)
}

fn local_ports() -> Option<u32> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = range.split_ascii_whitespace().flat_map(str::parse::<u32>);
    let (first, last) = (bounds.next()?, bounds.next()?);
    Some((last + 1).saturating_sub(first))
}

fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// How many descriptors a process may have: the daemon's limit is a limit of the run, too.
pub(crate) fn descriptors_of(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Advice for an error that shows that a resource of the host is exhausted.
pub(crate) fn advice_on(error: &io::Error) -> Option<&'static str> {
    match nix::errno::Errno::from_raw(error.raw_os_error()?) {
        nix::errno::Errno::EMFILE => Some(
            "this process has run out of descriptors: allow more with `ulimit -n`, or use fewer --players",
        ),
        nix::errno::Errno::ENFILE => {
            Some("the host has run out of descriptors: allow more with `sysctl -w fs.file-max=…`")
        }
        nix::errno::Errno::EADDRNOTAVAIL | nix::errno::Errno::EADDRINUSE => Some(
            "the host has run out of ports: allow more with `sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"`, or \
             use more --sources",
        ),
        nix::errno::Errno::ENOBUFS | nix::errno::Errno::ENOMEM => Some(
            "the host has run out of memory for sockets: use fewer --players, or see net.ipv4.tcp_mem",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HAS: Has = Has { descriptors: 1024, ports: Some(28_232), memory: Some(1024 * 1024) };

    fn needs(players: u32, sources: Option<u32>) -> Needs {
        Needs { players, target: Ipv4Addr::LOCALHOST.into(), sources }
    }

    #[test]
    fn what_is_too_small_is_named_with_what_would_fit() {
        assert_eq!(HAS.check(&needs(992, Some(992))), Ok(()));
        let error = HAS.check(&needs(993, Some(993))).unwrap_err().to_string();
        assert!(error.contains("ulimit -n 1025") && error.contains("--players 992"), "{error}");
        let has = Has { descriptors: 1_000_000, ..HAS };
        assert_eq!(has.check(&needs(56_464, Some(2))), Ok(()));
        let error = has.check(&needs(56_465, Some(2))).unwrap_err().to_string();
        assert!(error.contains("28232") && error.contains("more --sources"), "{error}");
        let error = has.check(&needs(100_000, Some(1000))).unwrap_err().to_string();
        assert!(error.contains("MiB") && error.contains("--players 87381"), "{error}");
    }

    #[test]
    fn this_host_can_be_looked_at() {
        let needs = needs(1, None);
        let has = Has::look(&needs);
        assert!(has.ports.is_some_and(|ports| ports > 0) && has.memory.is_some());
        assert_eq!(descriptors_of(std::process::id().try_into().unwrap()), Some(has.descriptors));
    }

    #[test]
    fn errors_that_show_a_limit_come_with_advice() {
        let error = io::Error::from_raw_os_error(nix::libc::EMFILE);
        assert!(advice_on(&error).unwrap().contains("ulimit -n"));
        assert_eq!(advice_on(&io::Error::from_raw_os_error(nix::libc::ECONNREFUSED)), None);
    }
}
