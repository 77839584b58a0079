//! A clean start: a process of Muster resets what it inherited from its parent before it does anything else.
//!
//! Almost everything about a process survives an exec: ignored and blocked signals, the scheduling policy, the
//! classes of processor and disk, limits, the umask, open descriptors. A supervisor, a shell or a window manager
//! may have set any of it for its own reasons. With SIGCHLD ignored, for example, the kernel reaps children itself,
//! and their parent is never notified. The daemon, the keeper and the launcher call [`begin`] first in `main`;
//! games inherit what the launcher has.
//!
//! Some of it is the operator's choice and stays: the nice value and the processors of the daemon (`Nice=`,
//! `CPUAffinity=`), a score below zero for the out-of-memory killer (`OOMScoreAdjust=`), and all hard limits.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_long};

use crate::limits::PROCESSORS_MAX;
use crate::limits::{OOM_SCORE_MAX, STACK_MAX};

/// The role of a process of Muster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The daemon, or the keeper that supervises it.
    Service,
    /// The launcher. Games inherit its state.
    Launcher,
}

/// A reset that failed: what was attempted, and why it failed.
pub type Failure = (&'static str, io::Error);

/// The lowest out-of-memory score of the launcher and of games: the kernel kills them before the daemon.
const OOM_SCORE_OF_GAMES: i32 = 500;

/// The variable that lets other processes of the same user inspect Muster's processes: a debugger, strace(1),
/// tests.
pub const TRACEABLE: &str = "MUSTER_TRACEABLE";

/// The file with the score.
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";

/// How late the kernel may fire a thread's timers, in nanoseconds; the kernel's own default.
const TIMER_SLACK: c_long = 50_000;

/// Capability to inspect any process; capabilities(7).
const CAP_SYS_PTRACE: u32 = 19;

/// A signal's default action, and the action to ignore it, as the kernel encodes them.
const DEFAULT: u64 = libc::SIG_DFL as u64;
const IGNORED: u64 = libc::SIG_IGN as u64;

/// Signals that must not end or stop a service, and that it does not wait for: a closed pipe, a file over its
/// limit, a terminal that background jobs may not write to. Each of these is an error of the call instead.
const IGNORED_SIGNALS: [c_int; 3] = [libc::SIGPIPE, libc::SIGXFSZ, libc::SIGTTOU];

/// Resets what this process has inherited, as far as it may. Call it first, while there is one thread. Blocked
/// signals are left to the caller, who may be waiting for some that are pending.
pub fn begin(part: Part) -> Vec<Failure> {
    let mut failures = Vec::new();
    let mut attempt = |what: &'static str, result: io::Result<()>| {
        failures.extend(result.err().map(|error| (what, error)));
    };
    reset_signals(part);
    attempt("leave the scheduling policy that it was started with", reset_scheduling());
    attempt("leave the class of disk access that it was started with", reset_disk_class());
    // SAFETY: prctl(2), PR_SET_TIMERSLACK takes a number.
    let slack = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK, 0, 0, 0) };
    attempt("set the slack of its timers", check(slack.into()));
    attempt("set its limits", reset_limits());
    attempt("set its score for the out-of-memory killer", set_oom_score(part));
    // SAFETY: umask(2) takes a number, and "always succeeds".
    unsafe { libc::umask(if part == Part::Launcher { 0o022 } else { 0o077 }) };
    if part == Part::Launcher {
        attempt("use all processors", use_all_processors());
        // SAFETY: set_mempolicy(2) reads no mask of length zero; MPOL_DEFAULT is 0. A kernel without NUMA lacks
        // this call, and has nothing to reset.
        unsafe { libc::syscall(libc::SYS_set_mempolicy, 0, ptr::null::<u64>(), 0) };
        // SAFETY: personality(2) takes a number, that of an ordinary process, and has no effect before an exec.
        unsafe { libc::personality(0) };
    }
    attempt("keep its memory to itself", make_private());
    failures
}

/// Closes all descriptors from 3 on except `kept`: a parent may have left any of them open.
///
/// # Errors
/// When the kernel (before 5.9) lacks close_range(2).
pub fn close_unknown_descriptors(kept: &[RangeInclusive<RawFd>]) -> io::Result<()> {
    let mut kept: Vec<_> = kept.iter().filter(|kept| !kept.is_empty() && *kept.end() > 2).collect();
    kept.sort_by_key(|kept| *kept.start());
    let mut next = 3;
    for kept in kept {
        close_range(next, kept.start().saturating_sub(1))?;
        next = next.max(kept.end().saturating_add(1));
    }
    close_range(next, RawFd::MAX)
}

fn close_range(first: RawFd, last: RawFd) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: close_range(2) closes descriptors that no Rust value owns: this runs before any is opened.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })
}

/// Gives signals their default actions. A handler does not survive an exec; an ignored signal stays ignored.
fn reset_signals(part: Part) {
    for signal in 1..=libc::SIGRTMAX() {
        let wanted = match part {
            Part::Service if IGNORED_SIGNALS.contains(&signal) => IGNORED,
            // A signal with a handler is Rust's own. And setting the default a second time would drop a pending
            // signal: SIGCHLD, in a daemon that was just replaced in place.
            Part::Service if action_of(signal) != IGNORED => continue,
            Part::Service | Part::Launcher => DEFAULT,
        };
        // The kernel's `struct sigaction`: the action comes first, then no flags and an empty mask. The C library's
        // call would not touch the two signals that it reserves, which posix_spawn(3) leaves ignored.
        let action = [wanted, 0, 0, 0];
        // SAFETY: sigaction(2): "If act is non-NULL, the new action for signal signum is installed from act", and
        // `action` is as large as the kernel's structure. It names no code. SIGKILL and SIGSTOP are answered with
        // EINVAL; they have their defaults anyway.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                action.as_ptr(),
                ptr::null::<u64>(),
                size_of::<u64>(),
            );
        }
    }
}

fn action_of(signal: c_int) -> u64 {
    let mut action = [0_u64; 8];
    // SAFETY: sigaction(2): "If oldact is non-NULL, the previous action is saved in oldact", which is larger than the
    // kernel's structure.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            ptr::null::<u64>(),
            action.as_mut_ptr(),
            size_of::<u64>(),
        );
    }
    action[0]
}

/// Real-time and idle policies are both wrong: such a daemon would never yield, such games might never run.
fn reset_scheduling() -> io::Result<()> {
    // SAFETY: sched_getscheduler(2) takes a number; 0 is the calling thread.
    let policy = unsafe { libc::sched_getscheduler(0) };
    if policy & !libc::SCHED_RESET_ON_FORK == libc::SCHED_OTHER {
        return Ok(());
    }
    // SAFETY: all zeroes are a valid structure of plain numbers.
    let priority: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: sched_setscheduler(2) reads a structure that outlives the call.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const priority) }.into())
}

/// ioprio_set(2): class "none", which follows the nice value.
fn reset_disk_class() -> io::Result<()> {
    const WHO_PROCESS: c_int = 1;
    // SAFETY: ioprio_set(2) takes numbers; 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, 0) })
}

fn use_all_processors() -> io::Result<()> {
    let all = [0xFF_u8; PROCESSORS_MAX / 8];
    // SAFETY: sched_setaffinity(2) reads a mask of the given size. "Any valid bits in mask [are] silently restricted"
    // to those that exist and that the cpuset allows.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, all.len(), all.as_ptr()) })
}

/// Raises soft limits to the hard ones, which are the operator's. No core is ever written: it would contain keys.
fn reset_limits() -> io::Result<()> {
    let raised = [
        libc::RLIMIT_CPU,
        libc::RLIMIT_FSIZE,
        libc::RLIMIT_DATA,
        libc::RLIMIT_AS,
        libc::RLIMIT_RSS,
        libc::RLIMIT_NPROC,
        libc::RLIMIT_LOCKS,
        libc::RLIMIT_RTTIME,
        libc::RLIMIT_SIGPENDING,
        libc::RLIMIT_MSGQUEUE,
    ];
    let soft = raised.map(|resource| (resource, u64::MAX)).into_iter();
    for (resource, soft) in soft.chain([(libc::RLIMIT_STACK, STACK_MAX)]) {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: getrlimit(2) writes to a structure that outlives the call.
        check(unsafe { libc::getrlimit(resource, &raw mut limit) }.into())?;
        limit.rlim_cur = limit.rlim_max.min(soft);
        // SAFETY: setrlimit(2) reads a structure that outlives the call.
        check(unsafe { libc::setrlimit(resource, &raw const limit) }.into())?;
    }
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) }.into())
}

/// Where memory runs out, games are killed before the daemon. Any process may raise its score; lowering it takes a
/// capability, or that an unprivileged process raised it.
fn set_oom_score(part: Part) -> io::Result<()> {
    // Without /proc it stays as it is.
    let Ok(text) = fs::read_to_string(OOM_SCORE_FILE) else { return Ok(()) };
    let Ok(inherited) = text.trim().parse::<i32>() else { return Ok(()) };
    let wanted = match part {
        Part::Service => inherited.min(0),
        Part::Launcher => (inherited + 1).clamp(OOM_SCORE_OF_GAMES, OOM_SCORE_MAX),
    };
    if wanted == inherited { Ok(()) } else { fs::write(OOM_SCORE_FILE, wanted.to_string()) }
}

/// Keeps other users' processes from inspecting this one, and no core of it is written; prctl(2), PR_SET_DUMPABLE.
/// An exec ends that, so games are not concerned. [`TRACEABLE`] skips it.
///
/// Where /proc hides processes that one may not inspect (`hidepid`), the parts of Muster would no longer see each
/// other, unless they have root's capabilities: there this does nothing, and others see nothing of Muster anyway.
fn make_private() -> io::Result<()> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    if std::env::var_os(TRACEABLE).is_some_and(|it| !it.is_empty()) {
        return Ok(());
    }
    if hides_processes(&read("/proc/self/mounts")) && !may_inspect(&read("/proc/self/status")) {
        return Ok(());
    }
    // SAFETY: prctl(2), PR_SET_DUMPABLE takes a number.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into())
}

/// Whether the /proc in a list of mounts hides processes; proc(5).
fn hides_processes(mounts: &str) -> bool {
    let mut options = mounts.lines().filter_map(|mount| {
        let mut fields = mount.split(' ').skip(1);
        (fields.next() == Some("/proc") && fields.next() == Some("proc")).then(|| fields.next())?
    });
    // The last one covers the others.
    options.next_back().is_some_and(|options| {
        options
            .split(',')
            .filter_map(|option| option.strip_prefix("hidepid="))
            .any(|how| !matches!(how, "0" | "off"))
    })
}

/// Whether a process with this status may inspect others; proc_pid_status(5), `CapEff`.
fn may_inspect(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    effective.is_some_and(|set| set & (1 << CAP_SYS_PTRACE) != 0)
}

fn check(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proc_that_hides_processes_is_known_by_its_options() {
        let plain = "proc /proc proc rw,nosuid,relatime 0 0\n";
        assert!(!hides_processes(plain) && !hides_processes(""));
        let hiding = "tmpfs /run tmpfs rw 0 0\nproc /proc proc rw,nosuid,hidepid=invisible 0 0\n";
        assert!(hides_processes(hiding) && hides_processes(&hiding.replace("invisible", "2")));
        assert!(!hides_processes(&hiding.replace("invisible", "off")));
        assert!(!hides_processes(&format!("{hiding}{plain}")), "another one covers it");
        assert!(!hides_processes(&hiding.replace(" /proc ", " /elsewhere ")));
    }

    #[test]
    fn a_process_that_may_inspect_others_is_known_by_its_capabilities() {
        assert!(may_inspect("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(may_inspect("CapEff:\t0000000000080000\n"));
        assert!(!may_inspect("CapEff:\t0000000000040000\n") && !may_inspect(""));
    }
}
