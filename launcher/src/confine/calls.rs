//! Which system calls a game may make; seccomp(2).
//!
//! An allow-list. What is not named is refused with EPERM, if it is as old as the C libraries that there are; newer
//! calls, and those that are not known at all, are answered with ENOSYS, as by a kernel that lacks them: libraries and
//! runtimes try those first and have another way.

mod tree;

use libc::c_long;
use seccompiler::{BpfProgram, SeccompCmpOp as Op};

use crate::program::Profile;

/// What a program is, as far as it decides what it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Use {
    /// It is linked when it starts, which takes opening files.
    pub(super) is_dynamic: bool,
    /// It forks games, and has their descriptors sent.
    pub(super) is_template: bool,
}

/// The filters of one mode, by use.
pub(super) struct Calls {
    filters: Vec<(Use, Filter)>,
}

/// A filter that is complete but for the id of the process that installs it.
pub(crate) struct Filter {
    pub(crate) program: BpfProgram,
    /// The instructions that compare with that id.
    pub(crate) own_pid_at: Vec<usize>,
}

/// Stands in a filter for the id of the process that installs it. No process has such an id: PID_MAX_LIMIT is 2^22.
const OWN_PID: u32 = 0x4D75_7374;

impl Filter {
    fn new(allowed: &[Allowed]) -> Self {
        let program = tree::lay_out(allowed, MISSING, NEWER);
        let own_pid_at = (0..program.len()).filter(|at| program[*at].k == OWN_PID).collect();
        Self { program, own_pid_at }
    }
}

/// What the games of a mode are allowed besides what all are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Besides {
    /// Sockets of the internet: they are in the host's network. On which TCP ports is for Landlock to say, where it is there.
    pub(super) internet: bool,
    /// Unix sockets to connect to by name: every place is covered where those of other programs are, and those that
    /// are elsewhere are closed to its user.
    pub(super) unix: bool,
    /// To change what files are by their names: nobody else has its user, or all of that user's files are read-only to it
    /// but those that it may write.
    pub(super) naming: bool,
    /// To set how its threads run, by their numbers: nobody else has its user.
    pub(super) own_threads: bool,
    /// To signal processes by their numbers: Landlock keeps a game's signals inside, or nobody else has its user.
    pub(super) signals: bool,
}

#[cfg(test)]
impl Besides {
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

/// What a condition says of one argument of a call.
#[derive(Debug, Clone)]
struct Argument(u8, Op, u64);

/// A call that is allowed when all conditions on its arguments hold.
type Allowed = (c_long, Vec<Argument>);

impl Calls {
    /// Prepares the filters of a profile. The program itself is run by the descriptor `program_fd`, which it
    /// cannot make again.
    pub(super) fn new(profile: Profile, program_fd: u64, besides: Besides) -> Self {
        let mut filters = Vec::new();
        for is_dynamic in [false, true] {
            for is_template in [false, true] {
                let used = Use { is_dynamic, is_template };
                let mut allowed = match profile {
                    Profile::Off => Vec::new(),
                    Profile::Default => default_calls(used, besides),
                    Profile::Strict => strict_calls(used, besides),
                };
                if is_template {
                    allowed.extend(template_calls());
                }
                allowed.push(run_program(program_fd));
                filters.push((used, Filter::new(&allowed)));
            }
        }
        Self { filters }
    }

    pub(super) fn filter(&self, used: Use) -> Option<&Filter> {
        self.filters.iter().find(|(of, _)| *of == used).map(|(_, filter)| filter)
    }
}

/// How the launch step runs the game's program: by a descriptor whose number, this one or one a little above, is
/// beyond the game's limit, so that the game can never make it again. `AT_FDCWD`, which is negative, is none. That leaves
/// absolute paths, for which the kernel does not look at the descriptor: which of those can be run, Landlock says.
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

/// What is answered with ENOSYS: clone3 hides its flags from filters, and C libraries use clone where they are told
/// that it does not exist.
const MISSING: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// From here on calls that are not allowed are answered with ENOSYS, too: they came with Linux 5.6 or later, so that
/// whoever makes one is prepared for a kernel without it (fchmodat2, futex_wake, map_shadow_stack, cachestat, ...).
const NEWER: c_long = libc::SYS_openat2;

fn freely(calls: &[c_long]) -> Vec<Allowed> {
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

/// A socket's type, whatever the flags that come with it.
fn is_type(index: u8, kind: i32) -> Argument {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let beyond = !u64::from(flags.unsigned_abs()) & 0xFFFF_FFFF;
    Argument(index, Op::MaskedEq(beyond), u64::from(kind.unsigned_abs()))
}

/// Reading, writing and waiting on what is open; memory; time; an end.
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

/// Calls that newer processors' kernels do without.
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

/// Playing, with what is there at birth: nothing is opened, made, run or told to others.
fn strict_calls(used: Use, besides: Besides) -> Vec<Allowed> {
    let mut calls = [freely(PLAIN), freely(OLD_PLAIN), socket_options(besides)].concat();
    for command in
        [libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL, libc::F_DUPFD_CLOEXEC]
    {
        calls.push((libc::SYS_fcntl, vec![is(1, command)]));
    }
    calls.push((libc::SYS_ioctl, vec![Argument(1, Op::Eq, u64::from(libc::FIONBIO as u32))]));
    // Names and its own readability by others; nothing that gives a right.
    for option in [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_SET_DUMPABLE, libc::PR_SET_VMA] {
        calls.push((libc::SYS_prctl, vec![is(0, option)]));
    }
    // Limits of its own are asked, and lowered; what was lowered for it cannot be raised.
    calls.push((libc::SYS_prlimit64, vec![is(0, 0)]));
    if !used.is_template {
        // How a program aborts, which is the only signal that it can send.
        calls.push((libc::SYS_tgkill, vec![is_itself(0), is(2, libc::SIGABRT)]));
    }
    // How a program in safe Rust can take what it inherited. It can name nobody but itself, or its template.
    calls.push((libc::SYS_pidfd_open, vec![is_itself(0)]));
    calls.extend(freely(&[libc::SYS_pidfd_getfd]));
    if used.is_dynamic {
        calls.extend(freely(LOADING));
        calls.push(read_only(libc::SYS_openat, 2));
        calls.extend(freely(&[libc::SYS_mmap, libc::SYS_mprotect]));
        #[cfg(target_arch = "x86_64")]
        calls.push(read_only(libc::SYS_open, 1));
        #[cfg(target_arch = "x86_64")]
        calls.extend(freely(&[libc::SYS_access, libc::SYS_readlink, libc::SYS_stat]));
        return calls;
    }
    // No memory that holds code besides the program's own.
    let holds_no_code = Argument(2, Op::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs())), 0);
    calls.push((libc::SYS_mmap, vec![holds_no_code.clone()]));
    calls.push((libc::SYS_mprotect, vec![holds_no_code]));
    calls
}

/// Opening a file that is there, to read it. Which files those are is not for this layer to say.
fn read_only(call: c_long, flags: u8) -> Allowed {
    let writing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
    (call, vec![Argument(flags, Op::MaskedEq(u64::from(writing.unsigned_abs())), 0)])
}

/// What the dynamic loader does before a program begins, besides opening libraries.
const LOADING: &[c_long] = &[
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_readlinkat,
    libc::SYS_pread64,
];

/// Files, threads, processes and programs; all that concerns the machine as a whole is missing.
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

/// Changing what a file is, by its name. Landlock does not look at these, so they are for games with a user of
/// their own: others would close each other's directories.
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

/// What a game does to its own threads and processes, by their numbers. Nobody else has its user, and to take
/// precedence over others (sched(7): the real-time policies) is a right that it lacks.
const OWN_THREADS: &[c_long] =
    &[libc::SYS_sched_setscheduler, libc::SYS_sched_setparam, libc::SYS_sched_setattr];

/// Policies for threads that wait their turn; sched(7).
const TURNS: [i32; 3] = [libc::SCHED_OTHER, libc::SCHED_BATCH, libc::SCHED_IDLE];

/// What an ordinary program asks of what it has open. Others tell about the host's network, or put words into
/// terminals.
const REQUESTS: &[libc::Ioctl] = &[
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::FIONCLEX,
    libc::TIOCOUTQ,
    libc::TIOCGWINSZ,
    libc::TCGETS,
];

/// Options of a socket. Not those that make it hear what others are sent, or bind it to a device of the host; and
/// one that Muster bound cannot share its port.
fn socket_options(besides: Besides) -> Vec<Allowed> {
    /// Joining a group, from any source or from one; the same numbers in linux/in.h and linux/in6.h.
    const MCAST_JOIN_GROUP: i32 = 42;
    const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
    let mut of_socket = vec![
        is(1, libc::SOL_SOCKET),
        is_not(2, libc::SO_BINDTODEVICE),
        is_not(2, libc::SO_BINDTOIFINDEX),
        is_not(2, libc::SO_ATTACH_FILTER),
        is_not(2, libc::SO_ATTACH_BPF),
    ];
    if !besides.internet {
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

/// Sockets of a game's own making. A pair of datagrams would reach every socket that the file system shows, and
/// other protocols of TCP's type pass by Landlock.
fn sockets(besides: Besides) -> Vec<Allowed> {
    let mut calls = Vec::new();
    for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
        let arguments = vec![is(0, libc::AF_UNIX), is_type(1, kind), is(2, 0)];
        calls.push((libc::SYS_socketpair, arguments.clone()));
        if besides.unix {
            calls.push((libc::SYS_socket, arguments));
        }
    }
    if besides.internet {
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
        // How C libraries list the addresses of the host (getifaddrs(3)). To change them is a right that no game has.
        let netlink = vec![is(0, libc::AF_NETLINK), is(2, libc::NETLINK_ROUTE)];
        calls.push((libc::SYS_socket, netlink));
    }
    calls
}

/// Signals, and process groups. `kill` with 0 is for the caller's own group, which no other game can be in: each
/// leads a session of its own.
///
/// A fork of a template has an id that nobody knows before, and siblings that the kernel would let it signal: it
/// signals nobody. Where nothing else keeps games apart that share a user, a game signals only itself.
fn signals(used: Use, besides: Besides) -> Vec<Allowed> {
    let mut calls = vec![(libc::SYS_kill, vec![is(0, 0)])];
    if used.is_template {
        calls.push((libc::SYS_pidfd_open, vec![is_itself(0)]));
        calls.push((libc::SYS_setpgid, vec![is(0, 0), is(1, 0)]));
        return calls;
    }
    calls.extend(freely(&[libc::SYS_pidfd_open, libc::SYS_setpgid]));
    if !besides.signals {
        let at_itself = SIGNALS.iter().map(|call| (*call, vec![is_itself(0)]));
        calls.extend(at_itself);
        return calls;
    }
    calls.extend(freely(SIGNALS));
    calls.extend(freely(&[libc::SYS_pidfd_send_signal]));
    calls
}

/// Calls that signal a process, which their first argument names.
const SIGNALS: &[c_long] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
];

fn default_calls(used: Use, besides: Besides) -> Vec<Allowed> {
    let mut calls =
        [freely(PLAIN), freely(OLD_PLAIN), freely(ORDINARY), freely(OLD_ORDINARY)].concat();
    calls.extend(socket_options(besides));
    calls.extend(sockets(besides));
    calls.extend(signals(used, besides));
    calls.extend(REQUESTS.iter().map(|request| {
        // The kernel takes the number of a request as 32 bits.
        (libc::SYS_ioctl, vec![Argument(1, Op::Eq, u64::from(*request as u32))])
    }));
    // Threads and processes, but no namespaces, in which a process has rights that it has not here.
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    let none = Op::MaskedEq(u64::from(namespaces.unsigned_abs()));
    calls.push((libc::SYS_clone, vec![Argument(0, none, 0)]));
    // What it sets is its own: of others who run as the same user nothing else would keep it. 0 is the caller.
    for (call, whose) in [
        (libc::SYS_prlimit64, vec![Argument(0, Op::Eq, 0)]),
        (libc::SYS_sched_setaffinity, vec![Argument(0, Op::Eq, 0)]),
        // PRIO_PROCESS, which is not a group or everybody.
        (libc::SYS_setpriority, vec![Argument(0, Op::Eq, 0), Argument(1, Op::Eq, 0)]),
    ] {
        calls.push((call, whose));
    }
    for policy in TURNS {
        let arguments =
            vec![Argument(0, Op::Eq, 0), Argument(1, Op::Eq, u64::from(policy.unsigned_abs()))];
        calls.push((libc::SYS_sched_setscheduler, arguments));
    }
    // A named pipe, which is as harmless as a file; not a device.
    for (call, kind) in [
        (libc::SYS_mknodat, 2),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_mknod, 1),
    ] {
        let is_pipe = Op::MaskedEq(u64::from(libc::S_IFMT));
        calls.push((call, vec![Argument(kind, is_pipe, u64::from(libc::S_IFIFO))]));
    }
    // One who only asks may: some libraries check what they were born with.
    calls.push((libc::SYS_personality, vec![Argument(0, Op::Eq, 0xFFFF_FFFF)]));
    for (calls_of, is_allowed) in [(NAMING, besides.naming), (OWN_THREADS, besides.own_threads)] {
        calls.extend(freely(if is_allowed { calls_of } else { &[] }));
    }
    calls
}

/// What a template does besides: it forks siblings, which take their places.
fn template_calls() -> Vec<Allowed> {
    let mut calls = freely(&[libc::SYS_chdir, libc::SYS_fcntl, libc::SYS_wait4]);
    // A fork leads a process group, and a session; it joins nobody else's.
    calls.push((libc::SYS_setpgid, vec![is(0, 0), is(1, 0)]));
    calls.extend(freely(&[libc::SYS_setsid]));
    // It shuts itself in, with nothing but its own directory beside what all forks have.
    calls.extend(freely(&[
        libc::SYS_landlock_create_ruleset,
        libc::SYS_landlock_add_rule,
        libc::SYS_landlock_restrict_self,
    ]));
    // What it loads it reads.
    calls.extend(freely(LOADING));
    calls.push(read_only(libc::SYS_openat, 2));
    #[cfg(target_arch = "x86_64")]
    calls.push(read_only(libc::SYS_open, 1));
    let sibling = u64::from((libc::CLONE_PARENT | libc::SIGCHLD).unsigned_abs());
    let settings =
        libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::CLONE_PARENT_SETTID;
    let beyond = !u64::from(settings.unsigned_abs()) & 0xFFFF_FFFF;
    calls.push((libc::SYS_clone, vec![Argument(0, Op::MaskedEq(beyond), sibling)]));
    // Loads on a thread of its own, which ends before the first game.
    let thread = u64::from((libc::CLONE_THREAD | libc::CLONE_VM).unsigned_abs());
    calls.push((libc::SYS_clone, vec![Argument(0, Op::MaskedEq(thread), thread)]));
    // Asks the kernel whether it has threads; creates nothing.
    for only in [
        libc::CLONE_THREAD,
        libc::CLONE_VM,
        libc::CLONE_SIGHAND,
        libc::CLONE_VM | libc::CLONE_SIGHAND,
    ] {
        let only = u64::from(only.unsigned_abs());
        calls.push((libc::SYS_unshare, vec![Argument(0, Op::Eq, only)]));
    }
    // Where the C library keeps its thread's id; prctl(2).
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
                let calls = Calls::new(profile, 1024, Besides::everything(all));
                for (used, filter) in &calls.filters {
                    assert!(!filter.program.is_empty(), "{used:?}");
                    // Who may signal others needs no number of its own.
                    let names_itself = profile == Profile::Strict || used.is_template || !all;
                    assert_eq!(!filter.own_pid_at.is_empty(), names_itself, "{used:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_strict_is_less_than_the_default() {
        let used = |is_dynamic| Use { is_dynamic, is_template: false };
        let all = Besides { internet: false, ..Besides::everything(true) };
        let ordinary = default_calls(used(true), all);
        for is_dynamic in [false, true] {
            for (call, _) in strict_calls(used(is_dynamic), all) {
                assert!(ordinary.iter().any(|(of, _)| *of == call), "call {call}");
            }
        }
    }
}
