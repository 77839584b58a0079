//! The system calls that a game may make; seccomp(2).
//!
//! An allow-list. A call that is not listed fails with EPERM if it is as old as the C libraries in use; newer calls fail
//! with ENOSYS, as in a kernel without them: libraries and runtimes try those first and fall back.

mod tree;

use libc::c_long;
use seccompiler::{BpfProgram, SeccompCmpOp as Op};

use crate::program::Profile;

/// The properties of a program that determine its system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProgramKind {
    /// It is dynamically linked, and opens its libraries at its start.
    pub(super) is_dynamic: bool,
    /// It forks games, and receives their descriptors.
    pub(super) is_template: bool,
}

pub(super) struct Filters {
    filters: Vec<(ProgramKind, Filter)>,
}

/// A filter that lacks only the id of the process that installs it.
pub(crate) struct Filter {
    pub(crate) program: BpfProgram,
    /// The instructions that compare with that id.
    pub(crate) own_pid_at: Vec<usize>,
}

/// Stands in a filter for the id of the process that installs it. No process has this id: PID_MAX_LIMIT is 2^22.
const OWN_PID: u32 = 0x4D75_7374;

impl Filter {
    fn new(allowed: &[Allowed]) -> Self {
        let program = tree::compile(allowed, MISSING, NEWER);
        let own_pid_at = (0..program.len()).filter(|at| program[*at].k == OWN_PID).collect();
        Self { program, own_pid_at }
    }
}

/// The calls that a program's games may make besides those of all games.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExtraCalls {
    /// Internet sockets: the games are in the host's network. Landlock, where available, restricts their TCP ports.
    pub(super) internet: bool,
    /// Connecting to Unix sockets by name: those of other programs are covered, or closed to the game's user.
    pub(super) unix: bool,
    /// Changing files' attributes by name: no other process has its user, or it can write only permitted files.
    pub(super) naming: bool,
    /// Scheduling its threads by id: no other process has its user.
    pub(super) own_threads: bool,
    /// Signalling processes by id: Landlock confines a game's signals, or no other process has its user.
    pub(super) signals: bool,
}

#[cfg(test)]
impl ExtraCalls {
    fn everything(is_allowed: bool) -> Self {
        Self {
            internet: is_allowed,
            unix: is_allowed,
            naming: is_allowed,
            own_threads: is_allowed,
            signals: is_allowed,
        }
    }
}

/// A condition on one argument of a call.
#[derive(Debug, Clone)]
struct Argument(u8, Op, u64);

/// A call that is allowed when all conditions on its arguments hold.
type Allowed = (c_long, Vec<Argument>);

impl Filters {
    /// Compiles the filters of a profile. The program itself is run by the descriptor `program_fd`, which it cannot
    /// open again.
    pub(super) fn new(profile: Profile, program_fd: u64, extra: ExtraCalls) -> Self {
        let mut filters = Vec::new();
        for is_dynamic in [false, true] {
            for is_template in [false, true] {
                let kind = ProgramKind { is_dynamic, is_template };
                let mut allowed = match profile {
                    Profile::Off => Vec::new(),
                    Profile::Default => default_calls(kind, extra),
                    Profile::Strict => strict_calls(kind, extra),
                };
                if is_template {
                    allowed.extend(template_calls());
                }
                allowed.push(run_program(program_fd));
                filters.push((kind, Filter::new(&allowed)));
            }
        }
        Self { filters }
    }

    pub(super) fn filter(&self, kind: ProgramKind) -> Option<&Filter> {
        self.filters.iter().find(|(of, _)| *of == kind).map(|(_, filter)| filter)
    }
}

/// How the launch step runs the game's program: by a descriptor whose number, this one or one a little above,
/// exceeds the game's limit, so that the game can never open it again. `AT_FDCWD` is negative and not allowed. This
/// leaves absolute paths, for which the kernel ignores the descriptor: Landlock restricts those.
fn run_program(program_fd: u64) -> Allowed {
    let highest = u64::from(i32::MAX.unsigned_abs());
    let by_descriptor = u64::from(libc::AT_EMPTY_PATH.unsigned_abs());
    let arguments = vec![
        Argument(0, Op::Ge, program_fd),
        Argument(0, Op::Le, highest),
        Argument(4, Op::Eq, by_descriptor),
    ];
    (libc::SYS_execveat, arguments)
}

/// Calls that fail with ENOSYS: clone3 hides its flags from filters, and C libraries fall back to clone.
const MISSING: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// From this number on, calls that are not allowed fail with ENOSYS, too: they came with Linux 5.6 or later, so
/// that programs have a fallback (fchmodat2, futex_wake, map_shadow_stack, cachestat, ...).
const NEWER: c_long = libc::SYS_openat2;

fn unconditional(calls: &[c_long]) -> Vec<Allowed> {
    calls.iter().map(|&call| (call, Vec::new())).collect()
}

fn is(index: u8, value: i32) -> Argument {
    Argument(index, Op::Eq, u64::from(value.unsigned_abs()))
}

fn is_not(index: u8, value: i32) -> Argument {
    Argument(index, Op::Ne, u64::from(value.unsigned_abs()))
}

/// The argument is the id of the process that installs the filter.
fn is_itself(index: u8) -> Argument {
    Argument(index, Op::Eq, u64::from(OWN_PID))
}

/// A socket's type, with any flags.
fn is_type(index: u8, kind: i32) -> Argument {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let beyond = !u64::from(flags.unsigned_abs()) & 0xFFFF_FFFF;
    Argument(index, Op::MaskedEq(beyond), u64::from(kind.unsigned_abs()))
}

/// Reading, writing and waiting on open descriptors; memory; time; exit.
const PLAIN: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_signalfd4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_shutdown,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Calls that kernels for newer architectures lack.
#[cfg(target_arch = "x86_64")]
const OLD_PLAIN: &[c_long] = &[
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_signalfd,
    libc::SYS_dup2,
    libc::SYS_pause,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_PLAIN: &[c_long] = &[];

/// The calls of a game that uses only what it inherits: it opens, creates and runs nothing.
fn strict_calls(kind: ProgramKind, extra: ExtraCalls) -> Vec<Allowed> {
    let mut calls =
        [unconditional(PLAIN), unconditional(OLD_PLAIN), socket_options(extra)].concat();
    for command in
        [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC]
    {
        calls.push((libc::SYS_fcntl, vec![is(1, command)]));
    }
    calls.push((libc::SYS_ioctl, vec![Argument(1, Op::Eq, u64::from(libc::FIONBIO as u32))]));
    // Names, and whether others may inspect it; nothing that grants a privilege.
    for option in [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_DUMPABLE, libc::PR_SET_VMA] {
        calls.push((libc::SYS_prctl, vec![is(0, option)]));
    }
    // Reading and lowering its own limits; a lowered hard limit cannot be raised.
    calls.push((libc::SYS_prlimit64, vec![is(0, 0)]));
    if !kind.is_template {
        // abort(3), the only signal that it can send.
        calls.push((libc::SYS_tgkill, vec![is_itself(0), is(2, libc::SIGABRT)]));
    }
    // How a program in safe Rust takes what it inherited. It can name only itself, or its template.
    calls.push((libc::SYS_pidfd_open, vec![is_itself(0)]));
    calls.extend(unconditional(&[libc::SYS_pidfd_getfd]));
    if kind.is_dynamic {
        calls.extend(unconditional(LOADING));
        calls.push(read_only(libc::SYS_openat, 2));
        calls.extend(unconditional(&[libc::SYS_mmap, libc::SYS_mprotect]));
        #[cfg(target_arch = "x86_64")]
        calls.push(read_only(libc::SYS_open, 1));
        #[cfg(target_arch = "x86_64")]
        calls.extend(unconditional(&[libc::SYS_access, libc::SYS_readlink, libc::SYS_stat]));
        return calls;
    }
    // No executable memory besides the program's own.
    let holds_no_code = Argument(2, Op::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs())), 0);
    calls.push((libc::SYS_mmap, vec![holds_no_code.clone()]));
    calls.push((libc::SYS_mprotect, vec![holds_no_code]));
    calls
}

/// Opening an existing file for reading. Landlock restricts which files.
fn read_only(call: c_long, flags: u8) -> Allowed {
    let writing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
    (call, vec![Argument(flags, Op::MaskedEq(u64::from(writing.unsigned_abs())), 0)])
}

/// The calls of the dynamic loader before a program starts, besides opening libraries.
const LOADING: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_pread64,
];

/// Files, threads, processes and programs; nothing that concerns the whole machine.
const ORDINARY: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_fchmod,
    libc::SYS_umask,
    libc::SYS_truncate,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync_file_range,
    libc::SYS_flock,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_pipe2,
    libc::SYS_memfd_create,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_rm_watch,
    libc::SYS_fcntl,
    libc::SYS_fgetxattr,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_msync,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_pkey_alloc,
    libc::SYS_pkey_free,
    libc::SYS_pkey_mprotect,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_getitimer,
    libc::SYS_setitimer,
    libc::SYS_futex_waitv,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_pidfd_getfd,
    libc::SYS_getpgid,
    libc::SYS_setsid,
    libc::SYS_getsid,
    libc::SYS_getgroups,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_capget,
    libc::SYS_prctl,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_getpriority,
    libc::SYS_getcpu,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_getattr,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_sysinfo,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    libc::SYS_seccomp,
];

#[cfg(target_arch = "x86_64")]
const OLD_ORDINARY: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_pipe,
    libc::SYS_accept,
    libc::SYS_inotify_init,
    libc::SYS_alarm,
    libc::SYS_getpgrp,
    libc::SYS_fork,
    libc::SYS_vfork,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_ORDINARY: &[c_long] = &[libc::SYS_renameat];

/// Changing files' attributes by name. Landlock does not restrict these, so they are for games with their own user:
/// others would close each other's directories.
const NAMING: &[c_long] = &[
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
];

/// Scheduling threads and processes by id. No other process has the game's user, and priority over others
/// (sched(7): the real-time policies) takes a privilege that it lacks.
const OWN_THREADS: &[c_long] =
    &[libc::SYS_sched_setscheduler, libc::SYS_sched_setparam, libc::SYS_sched_setattr];

/// Policies without priority; sched(7).
const TURNS: [i32; 3] = [libc::SCHED_OTHER, libc::SCHED_BATCH, libc::SCHED_IDLE];

/// The ioctls of ordinary programs. Others inspect the host's network, or write to terminals.
const REQUESTS: &[libc::Ioctl] = &[
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::FIONCLEX,
    libc::TIOCOUTQ,
    libc::TIOCGWINSZ,
    libc::TCGETS,
];

/// Options of a socket. Not those that receive what others are sent, or bind it to a device of the host; and a
/// socket that Muster bound cannot share its port.
fn socket_options(extra: ExtraCalls) -> Vec<Allowed> {
    /// Joining a multicast group, from any source or from one; the same numbers in linux/in.h and linux/in6.h.
    const MCAST_JOIN_GROUP: i32 = 42;
    const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
    let mut of_socket = vec![
        is(1, libc::SOL_SOCKET),
        is_not(2, libc::SO_BINDTODEVICE),
        is_not(2, libc::SO_BINDTOIFINDEX),
        is_not(2, libc::SO_ATTACH_FILTER),
        is_not(2, libc::SO_ATTACH_BPF),
    ];
    if !extra.internet {
        of_socket.push(is_not(2, libc::SO_REUSEPORT));
    }
    let of_ipv4 = vec![
        is(1, libc::IPPROTO_IP),
        is_not(2, libc::IP_ADD_MEMBERSHIP),
        is_not(2, libc::IP_ADD_SOURCE_MEMBERSHIP),
        is_not(2, MCAST_JOIN_GROUP),
        is_not(2, MCAST_JOIN_SOURCE_GROUP),
    ];
    let of_ipv6 = vec![
        is(1, libc::IPPROTO_IPV6),
        is_not(2, libc::IPV6_ADD_MEMBERSHIP),
        is_not(2, libc::IPV6_JOIN_ANYCAST),
        is_not(2, MCAST_JOIN_GROUP),
        is_not(2, MCAST_JOIN_SOURCE_GROUP),
    ];
    let of_transport = [libc::IPPROTO_TCP, libc::IPPROTO_UDP].map(|level| vec![is(1, level)]);
    let all = [of_socket, of_ipv4, of_ipv6].into_iter().chain(of_transport);
    all.map(|arguments| (libc::SYS_setsockopt, arguments)).collect()
}

/// Sockets that a game creates. A pair of datagram sockets could reach every socket in the file system, and other
/// protocols of TCP's type are not restricted by Landlock.
fn sockets(extra: ExtraCalls) -> Vec<Allowed> {
    let mut calls = Vec::new();
    for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
        let arguments = vec![is(0, libc::AF_UNIX), is_type(1, kind), is(2, 0)];
        calls.push((libc::SYS_socketpair, arguments.clone()));
        if extra.unix {
            calls.push((libc::SYS_socket, arguments));
        }
    }
    if extra.internet {
        let udp = (libc::SOCK_DGRAM, libc::IPPROTO_UDP);
        let tcp = (libc::SOCK_STREAM, libc::IPPROTO_TCP);
        for (kind, protocol) in [udp, tcp] {
            for family in [libc::AF_INET, libc::AF_INET6] {
                for protocol in [0, protocol] {
                    let arguments = vec![is(0, family), is_type(1, kind), is(2, protocol)];
                    calls.push((libc::SYS_socket, arguments));
                }
            }
        }
        // How C libraries list the addresses of the host (getifaddrs(3)). Changing them takes a privilege
        // that no game has.
        let netlink = vec![is(0, libc::AF_NETLINK), is(2, libc::NETLINK_ROUTE)];
        calls.push((libc::SYS_socket, netlink));
    }
    calls
}

/// Signals and process groups. `kill` with 0 is for the caller's own group, which no other game is in: each leads
/// its own session.
///
/// A template's fork has an id that is unknown in advance, and siblings that the kernel would let it signal: it may
/// signal no process. Where nothing else separates games that share a user, a game may signal only itself.
fn signals(kind: ProgramKind, extra: ExtraCalls) -> Vec<Allowed> {
    let mut calls = vec![(libc::SYS_kill, vec![is(0, 0)])];
    if kind.is_template {
        calls.push((libc::SYS_pidfd_open, vec![is_itself(0)]));
        calls.push((libc::SYS_setpgid, vec![is(0, 0), is(1, 0)]));
        return calls;
    }
    calls.extend(unconditional(&[libc::SYS_pidfd_open, libc::SYS_setpgid]));
    if !extra.signals {
        let at_itself = SIGNALS.iter().map(|call| (*call, vec![is_itself(0)]));
        calls.extend(at_itself);
        return calls;
    }
    calls.extend(unconditional(SIGNALS));
    calls.extend(unconditional(&[libc::SYS_pidfd_send_signal]));
    calls
}

/// Calls that signal the process in their first argument.
const SIGNALS: &[c_long] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
];

fn default_calls(kind: ProgramKind, extra: ExtraCalls) -> Vec<Allowed> {
    let mut calls = [
        unconditional(PLAIN),
        unconditional(OLD_PLAIN),
        unconditional(ORDINARY),
        unconditional(OLD_ORDINARY),
    ]
    .concat();
    calls.extend(socket_options(extra));
    calls.extend(sockets(extra));
    calls.extend(signals(kind, extra));
    calls.extend(REQUESTS.iter().map(|request| {
        // The kernel reads a request's number as 32 bits.
        (libc::SYS_ioctl, vec![Argument(1, Op::Eq, u64::from(*request as u32))])
    }));
    // Threads and processes, but no namespaces, in which a process would gain privileges.
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let none = Op::MaskedEq(u64::from(namespaces.unsigned_abs()));
    calls.push((libc::SYS_clone, vec![Argument(0, none, 0)]));
    // Only for the caller, which 0 means: nothing else would protect processes of the same user.
    for (call, whose) in [
        (libc::SYS_prlimit64, vec![Argument(0, Op::Eq, 0)]),
        (libc::SYS_sched_setaffinity, vec![Argument(0, Op::Eq, 0)]),
        // PRIO_PROCESS, not a group or all processes.
        (libc::SYS_setpriority, vec![Argument(0, Op::Eq, 0), Argument(1, Op::Eq, 0)]),
    ] {
        calls.push((call, whose));
    }
    for policy in TURNS {
        let arguments =
            vec![Argument(0, Op::Eq, 0), Argument(1, Op::Eq, u64::from(policy.unsigned_abs()))];
        calls.push((libc::SYS_sched_setscheduler, arguments));
    }
    // A named pipe, which is as harmless as a file; no device.
    for (call, kind) in [
        (libc::SYS_mknodat, 2),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mknod, 1),
    ] {
        let is_pipe = Op::MaskedEq(u64::from(libc::S_IFMT));
        calls.push((call, vec![Argument(kind, is_pipe, u64::from(libc::S_IFIFO))]));
    }
    // Reading the personality only: some libraries check it.
    calls.push((libc::SYS_personality, vec![Argument(0, Op::Eq, 0xFFFF_FFFF)]));
    for (calls_of, is_allowed) in [(NAMING, extra.naming), (OWN_THREADS, extra.own_threads)] {
        calls.extend(unconditional(if is_allowed { calls_of } else { &[] }));
    }
    calls
}

/// Further calls of a template: it forks siblings, which become games.
fn template_calls() -> Vec<Allowed> {
    let mut calls = unconditional(&[libc::SYS_chdir, libc::SYS_fcntl, libc::SYS_wait4]);
    // A fork leads its own process group and session.
    calls.push((libc::SYS_setpgid, vec![is(0, 0), is(1, 0)]));
    calls.extend(unconditional(&[libc::SYS_setsid]));
    // It restricts itself to its own directory and what all forks may use.
    calls.extend(unconditional(&[
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
    ]));
    // It reads what it loads.
    calls.extend(unconditional(LOADING));
    calls.push(read_only(libc::SYS_openat, 2));
    #[cfg(target_arch = "x86_64")]
    calls.push(read_only(libc::SYS_open, 1));
    let sibling = u64::from((libc::CLONE_PARENT | libc::SIGCHLD).unsigned_abs());
    let settings =
        libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::CLONE_PARENT_SETTID;
    let beyond = !u64::from(settings.unsigned_abs()) & 0xFFFF_FFFF;
    calls.push((libc::SYS_clone, vec![Argument(0, Op::MaskedEq(beyond), sibling)]));
    // It may load on a thread of its own, which ends before the first game.
    let thread = u64::from((libc::CLONE_THREAD | libc::CLONE_VM).unsigned_abs());
    calls.push((libc::SYS_clone, vec![Argument(0, Op::MaskedEq(thread), thread)]));
    // It asks the kernel whether it has threads; this creates nothing.
    for only in [
        libc::CLONE_THREAD,
        libc::CLONE_VM,
        libc::CLONE_SIGHAND,
        libc::CLONE_VM | libc::CLONE_SIGHAND,
    ] {
        let only = u64::from(only.unsigned_abs());
        calls.push((libc::SYS_unshare, vec![Argument(0, Op::Eq, only)]));
    }
    // The address of the C library's thread id; prctl(2).
    const PR_GET_TID_ADDRESS: u64 = 40;
    calls.push((libc::SYS_prctl, vec![Argument(0, Op::Eq, PR_GET_TID_ADDRESS)]));
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_filters_compile() {
        for profile in [Profile::Default, Profile::Strict] {
            for all in [false, true] {
                let filters = Filters::new(profile, 1024, ExtraCalls::everything(all));
                for (kind, filter) in &filters.filters {
                    assert!(!filter.program.is_empty(), "{kind:?}");
                    // A game that may signal others need not know its own id.
                    let names_itself = profile == Profile::Strict || kind.is_template || !all;
                    assert_eq!(!filter.own_pid_at.is_empty(), names_itself, "{kind:?}");
                }
            }
        }
    }

    #[test]
    fn the_strict_profile_allows_less_than_the_default_one() {
        let kind = |is_dynamic| ProgramKind { is_dynamic, is_template: false };
        let all = ExtraCalls { internet: false, ..ExtraCalls::everything(true) };
        let ordinary = default_calls(kind(true), all);
        for is_dynamic in [false, true] {
            for (call, _) in strict_calls(kind(is_dynamic), all) {
                assert!(ordinary.iter().any(|(of, _)| *of == call), "call {call}");
            }
        }
    }
}
