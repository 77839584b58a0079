//! A clean start: what a parent left behind is put in order before a process of Muster does anything else.
//!
//! Almost everything about a process survives an exec: signals that are ignored or blocked, the scheduling policy, the
//! classes of processor and disk, limits, the umask, open descriptors. A supervisor, a shell or a window manager may
//! have set any of it for reasons of its own. With SIGCHLD ignored, for one, the kernel reaps children itself, and
//! their parent never hears of them. [`begin`] is called first in `main` by the daemon, the keeper and the launcher; games
//! inherit what the launcher is.
//!
//! Some of it is the operator's choice and stays: the nice value and the processors of the daemon (`Nice=`,
//! `CPUAffinity=`), a score below zero for the out-of-memory killer (`OOMScoreAdjust=`), and all hard limits.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_long};

/// What a process of Muster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The daemon, or the keeper that watches over it.
    Service,
    /// The launcher. Games are as it is.
    Launcher,
}

/// What could not be put in order: what was attempted, and why it failed.
pub type Flaw = (&'static str, io::Error);

/// The score of the launcher and of games for the out-of-memory killer, at least: they go before the daemon does.
const OOM_SCORE_OF_GAMES: i32 = 500;

/// The highest score there is; proc_pid_oom_score_adj(5).
const OOM_SCORE_MAX: i32 = 1000;

/// The variable that leaves Muster's processes open to other processes of their user: a debugger, strace(1), tests.
pub const TRACEABLE: &str = "MUSTER_TRACEABLE";

/// Where the score is.
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";

/// The soft limit of a stack that Linux has by default: an unlimited one changes where a program's memory is laid out.
const STACK_MAX: u64 = 8 * 1024 * 1024;

/// How late the kernel may let a thread's timers fire, in nanoseconds; the kernel's own default.
const TIMER_SLACK: c_long = 50_000;

/// Processors that a kernel may have.
const PROCESSORS_MAX: usize = 8192;

/// Capability to look into any process; capabilities(7).
const CAP_SYS_PTRACE: u32 = 19;

/// What a signal's action is by default, and when it is ignored: as the kernel has them.
const DEFAULT: u64 = libc::SIG_DFL as u64;
const IGNORED: u64 = libc::SIG_IGN as u64;

/// Signals that a service must not be ended or stopped by, and does not wait for: a reader that is gone, a file that
/// may not grow, a terminal that background jobs may not write to. Each of these is an error of the call instead.
const NOT_HEARD: [c_int; 3] = [libc::SIGPIPE, libc::SIGXFSZ, libc::SIGTTOU];

/// Puts what this process has inherited in order, as far as it may. Comes first of all, while there is one thread.
/// Which signals are blocked is left to the caller, who may be waiting for some that have come already.
pub fn begin(part: Part) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let mut attempt = |what: &'static str, result: io::Result<()>| {
        flaws.extend(result.err().map(|error| (what, error)));
    };
    reset_signals(part);
    attempt("leave the scheduling policy that it was started with", be_scheduled_as_others());
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
        // SAFETY: set_mempolicy(2) reads no mask of length zero; MPOL_DEFAULT is 0. A kernel without NUMA has no such
        // call, and nothing to reset.
        unsafe { libc::syscall(libc::SYS_set_mempolicy, 0, ptr::null::<u64>(), 0) };
        // SAFETY: personality(2) takes a number, that of an ordinary process, and has no effect before an exec.
        unsafe { libc::personality(0) };
    }
    attempt("keep its memory to itself", be_private());
    flaws
}

/// Closes all descriptors from 3 on but some, which a careless parent left open.
///
/// # Errors
/// When the kernel (before 5.9) does not know how.
pub fn close_strays(kept: &[RangeInclusive<RawFd>]) -> io::Result<()> {
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
    // SAFETY: close_range(2) closes descriptors that no Rust value owns: this comes before any is opened.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })
}

/// Gives signals their default actions. A handler does not survive an exec; what is ignored stays so.
fn reset_signals(part: Part) {
    for signal in 1..=libc::SIGRTMAX() {
        let wanted = match part {
            Part::Service if NOT_HEARD.contains(&signal) => IGNORED,
            // What has a handler is Rust's own. And to set a default that is set already would drop a signal that is
            // waiting: SIGCHLD, in a daemon that was just replaced in place.
            Part::Service if action_of(signal) != IGNORED => continue,
            Part::Service | Part::Launcher => DEFAULT,
        };
        // The kernel's `struct sigaction`: the action comes first, then no flags and an empty mask. The C library's
        // call would not touch the two signals that it keeps for itself, which posix_spawn(3) leaves ignored.
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

/// Whatever the policy was, real-time or idle: a daemon that never gives way, or games that never get a turn, are
/// not what anybody wants.
fn be_scheduled_as_others() -> io::Result<()> {
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

/// ioprio_set(2): "none", which follows the nice value.
fn reset_disk_class() -> io::Result<()> {
    const WHO_PROCESS: c_int = 1;
    // SAFETY: ioprio_set(2) takes numbers; 0 is the calling thread.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, 0) })
}

fn use_all_processors() -> io::Result<()> {
    let all = [0xFF_u8; PROCESSORS_MAX / 8];
    // SAFETY: sched_setaffinity(2) reads as many bytes as it is told. "Any valid bits in mask [are] silently restricted"
    // to those that there are and that the cpuset allows.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, all.len(), all.as_ptr()) })
}

/// Soft limits go up to the hard ones, which are the operator's. No core is ever written: it would hold keys.
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

/// Where memory runs out, games go before the daemon does. Anybody may raise the score; to lower it takes rights, or
/// that somebody without them raised it.
fn set_oom_score(part: Part) -> io::Result<()> {
    // Without /proc it is what it is.
    let Ok(text) = fs::read_to_string(OOM_SCORE_FILE) else { return Ok(()) };
    let Ok(inherited) = text.trim().parse::<i32>() else { return Ok(()) };
    let wanted = match part {
        Part::Service => inherited.min(0),
        Part::Launcher => (inherited + 1).clamp(OOM_SCORE_OF_GAMES, OOM_SCORE_MAX),
    };
    if wanted == inherited { Ok(()) } else { fs::write(OOM_SCORE_FILE, wanted.to_string()) }
}

/// Nobody who is not root looks into this process, and no core of it is written; prctl(2), PR_SET_DUMPABLE. An exec
/// ends that, so that games are not concerned. [`TRACEABLE`] leaves it out.
///
/// Where /proc hides what one may not look into (`hidepid`), the parts of Muster would no longer see each other, unless
/// they have rights of root's: there this does nothing, and others see nothing of Muster anyway.
fn be_private() -> io::Result<()> {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    if std::env::var_os(TRACEABLE).is_some_and(|it| !it.is_empty()) {
        return Ok(());
    }
    if is_hiding(&read("/proc/self/mounts")) && !may_look(&read("/proc/self/status")) {
        return Ok(());
    }
    // SAFETY: prctl(2), PR_SET_DUMPABLE takes a number.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into())
}

/// Whether the /proc of a list of mounts hides processes; proc(5).
fn is_hiding(mounts: &str) -> bool {
    let mut options = mounts.lines().filter_map(|mount| {
        let mut fields = mount.split(' ').skip(1);
        (fields.next() == Some("/proc") && fields.next() == Some("proc")).then(|| fields.next())?
    });
    // The last one lies on top.
    options.next_back().is_some_and(|options| {
        options
            .split(',')
            .filter_map(|option| option.strip_prefix("hidepid="))
            .any(|how| !matches!(how, "0" | "off"))
    })
}

/// Whether a process with this status may look into others; proc_pid_status(5), `CapEff`.
fn may_look(status: &str) -> bool {
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
    fn a_proc_that_hides_is_known_by_its_options() {
        let plain = "proc /proc proc rw,nosuid,relatime 0 0\n";
        assert!(!is_hiding(plain) && !is_hiding(""));
        let hiding = "tmpfs /run tmpfs rw 0 0\nproc /proc proc rw,nosuid,hidepid=invisible 0 0\n";
        assert!(is_hiding(hiding) && is_hiding(&hiding.replace("invisible", "2")));
        assert!(!is_hiding(&hiding.replace("invisible", "off")));
        assert!(!is_hiding(&format!("{hiding}{plain}")), "another one lies on top");
        assert!(!is_hiding(&hiding.replace(" /proc ", " /elsewhere ")));
    }

    #[test]
    fn who_may_look_is_known_by_its_capabilities() {
        assert!(may_look("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(may_look("CapEff:\t0000000000080000\n"));
        assert!(!may_look("CapEff:\t0000000000040000\n") && !may_look(""));
    }
}
