//! The step between the launcher and a game: what a new process does before the game's program takes its place.
//!
//! The process is made with the launcher's memory lent to it (vfork(2)), so that it costs next to nothing,
//! and may do little more than system calls. Everything that can be prepared was prepared in a [`Plan`]; here it
//! is carried out, from what needs the most rights to what needs the least, and every wall is up before the
//! game's first instruction.
//!
//! With the crate `process` this is the only file with `unsafe` code: the descriptor table of a whole process has
//! no owner that a type could name.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::ptr;

use libc::c_char;
use process::{Stack, spawn_and_wait, spawn_sibling};
use protocol::{GAME_CONTROL_FD, GAME_SOCKET_FD};
use seccompiler::BpfProgram;

use crate::confine::{Filter, Identity};

/// The descriptors below this one are the launcher's own for good: what it passes on is above, so that no place
/// is taken before it is read.
pub(crate) const FIRST_FREE_FD: RawFd = GAME_CONTROL_FD + 1;

/// What a resource limit is of. C libraries do not agree on its type.
#[cfg(target_env = "gnu")]
pub(crate) type ResourceKind = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
pub(crate) type ResourceKind = libc::c_int;

/// What a shell says when it cannot run a program.
const CANNOT_RUN: i32 = 127;

/// No kernel knows a capability with a higher number: a set has 64 bits.
const CAPABILITY_MAX: u32 = 63;

/// The last attempt of all.
const RUN: &str = "run it";

/// Digits of the highest process id.
const PID_DIGITS: usize = 10;

/// Everything that a new process is to be and have.
pub(crate) struct Plan<'a> {
    /// What it runs: an executable, not a script.
    pub(crate) program: BorrowedFd<'a>,
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    /// Its working directory, seen from inside its mount namespace.
    pub(crate) directory: &'a CStr,
    /// Whether that is its /tmp, too, in a mount namespace of its own.
    pub(crate) has_tmp: bool,
    /// The UDP socket; descriptor 3.
    pub(crate) socket: Option<BorrowedFd<'a>>,
    /// The control channel; descriptor 4.
    pub(crate) control: Option<BorrowedFd<'a>>,
    /// The pipe to the log; descriptors 1 and 2.
    pub(crate) output: BorrowedFd<'a>,
    /// The control group's `cgroup.procs`.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// The namespaces to enter, in this order.
    pub(crate) namespaces: &'a [BorrowedFd<'a>],
    /// Resource limits: what, and how much.
    pub(crate) limits: &'a [(ResourceKind, u64)],
    /// Descriptors that it may have. Of this number is the one of its program, which therefore it can never make
    /// again: see [`Profile::Strict`](crate::Profile::Strict).
    pub(crate) files_max: u64,
    /// The user and group that it becomes.
    pub(crate) identity: Option<Identity>,
    /// A user namespace of its own, where it keeps the user that it shares with others.
    pub(crate) own_namespace: Option<OwnNamespace<'a>>,
    /// Whether it gives up all rights that a process of root has, if it stays one.
    pub(crate) gives_up_rights: bool,
    /// Whether its ruleset is its alone, and to be opened to what the kernel tells about itself in /proc.
    pub(crate) sees_itself: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) ruleset: Option<BorrowedFd<'a>>,
    pub(crate) filter: Option<&'a Filter>,
    /// Whether it is told its own process id in `LISTEN_PID`, as who inherits a socket is.
    pub(crate) listens: bool,
}

/// A user namespace for one game, in which the same user and group are: the kernel counts processes by user and
/// user namespace (from Linux 5.14), so that one game's do not count against another's limit.
#[derive(Clone, Copy)]
pub(crate) struct OwnNamespace<'a> {
    /// `/proc`, as it is outside: in the game's mount namespace it is read-only.
    pub(crate) proc: BorrowedFd<'a>,
    /// The lines that say which user and which group are in it; user_namespaces(7).
    pub(crate) user: &'a CStr,
    pub(crate) group: &'a CStr,
    /// Limits that are for such a namespace alone.
    pub(crate) limits: &'a [(ResourceKind, u64)],
}

/// What could not be done, and why.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stumble {
    pub(crate) attempt: &'static str,
    pub(crate) errno: i32,
}

// Attempts that a machine may not allow; see the module `trial`.
pub(crate) const ENTER_CGROUP: &str = "enter its control group";
pub(crate) const ENTER_NAMESPACE: &str = "enter a namespace";
pub(crate) const COVER_TMP: &str = "cover /tmp by its working directory";
pub(crate) const ENTER_DIRECTORY: &str = "enter its working directory";
pub(crate) const CHANGE_USER: &str = "change its user";
pub(crate) const GIVE_UP_RIGHTS: &str = "give up its capabilities";
pub(crate) const RESTRICT_FILES: &str = "restrict its files";
pub(crate) const RESTRICT_CALLS: &str = "restrict its system calls";

/// Makes the process, and returns its pid once it runs its program.
///
/// # Errors
/// Names the step that failed; the process is then gone, or on its way.
pub(crate) fn launch(stack: &mut Stack, plan: &Plan<'_>) -> io::Result<i32> {
    let arguments = pointers(plan.arguments, None);
    // A place for the process's own id, which only it knows.
    let mut listen_pid = *b"LISTEN_PID=0000000000\0";
    let environment = pointers(plan.environment, plan.listens.then(|| listen_pid.as_ptr().cast()));
    let digits = &mut listen_pid["LISTEN_PID=".len()..];
    // Likewise its filter of system calls, in which its own id is missing.
    let mut filter = plan.filter.map(|filter| filter.program.clone());
    let mut stumble = None;
    let mut child = || {
        let pid = std::process::id();
        write_pid(digits, pid);
        let own_pid_at = plan.filter.iter().flat_map(|filter| &filter.own_pid_at);
        let instructions = filter.as_deref_mut().unwrap_or_default();
        for at in own_pid_at {
            if let Some(instruction) = instructions.get_mut(*at) {
                instruction.k = pid;
            }
        }
        let failed = become_game(plan, &arguments, &environment, filter.as_ref());
        stumble = Some(failed);
        CANNOT_RUN
    };
    // SAFETY: the launcher has one thread. Until its program runs, the new process makes system calls and writes
    // to `digits` and `stumble`, which are there for it; it allocates nothing and cannot panic.
    let pid = unsafe { spawn_sibling(stack, &mut child)? };
    match stumble {
        None => Ok(pid),
        Some(Stumble { attempt, errno }) => {
            let error = io::Error::from_raw_os_error(errno);
            // The caller says what cannot be run.
            if attempt == RUN {
                return Err(error);
            }
            Err(io::Error::new(error.kind(), format!("cannot {attempt}: {error}")))
        }
    }
}

/// Makes a process that goes all the way to its program, and ends there: whether the machine lets games have what
/// is planned for them.
///
/// # Errors
/// Those of clone(2). In the result, the step that failed.
pub(crate) fn try_out(stack: &mut Stack, plan: &Plan<'_>) -> io::Result<Result<(), Stumble>> {
    let mut result = Ok(());
    let mut child = || {
        result = prepare(plan, plan.filter.map(|filter| &filter.program)).map(drop);
        0
    };
    // SAFETY: as in `launch`; the child ends where that one runs its program.
    unsafe { spawn_and_wait(stack, &mut child)? };
    Ok(result)
}

fn pointers(strings: &[CString], last: Option<*const c_char>) -> Vec<*const c_char> {
    let all = strings.iter().map(|string| string.as_ptr());
    all.chain(last).chain([ptr::null()]).collect()
}

/// Writes the id in as many digits as there are places; `LISTEN_PID=0000001234` would be another number to some
/// readers, so it is shifted to the left.
fn write_pid(place: &mut [u8], pid: u32) {
    let mut digits = [0; PID_DIGITS];
    let (mut rest, mut count) = (pid, 0);
    while rest > 0 && count < PID_DIGITS {
        digits[count] = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
    }
    for (at, byte) in place.iter_mut().enumerate() {
        *byte = if at < count { digits[count - 1 - at] } else { 0 };
    }
}

/// Returns only when something failed.
fn become_game(
    plan: &Plan<'_>,
    arguments: &[*const c_char],
    environment: &[*const c_char],
    filter: Option<&BpfProgram>,
) -> Stumble {
    match prepare(plan, filter) {
        Ok(program) => {
            // SAFETY: execveat(2) reads arrays of C strings that end with a null pointer; all outlive the call.
            unsafe {
                libc::syscall(
                    libc::SYS_execveat,
                    program,
                    c"".as_ptr(),
                    arguments.as_ptr(),
                    environment.as_ptr(),
                    libc::AT_EMPTY_PATH,
                );
            }
            stumble(RUN)
        }
        Err(stumble) => stumble,
    }
}

fn prepare(plan: &Plan<'_>, filter: Option<&BpfProgram>) -> Result<RawFd, Stumble> {
    // A session, and so a process group, of its own: setpgid(2) joins groups of the caller's session alone.
    // SAFETY: setsid(2) takes nothing.
    check("give it a session", unsafe { libc::setsid() })?;
    be_nice_as_others()?;
    enter_cgroup(plan)?;
    place_descriptors(plan)?;
    for namespace in plan.namespaces {
        // SAFETY: setns(2) takes numbers; 0 takes a namespace of any kind.
        check(ENTER_NAMESPACE, unsafe { libc::setns(namespace.as_raw_fd(), 0) })?;
    }
    // SAFETY: chdir(2) reads a C string.
    check(ENTER_DIRECTORY, unsafe { libc::chdir(plan.directory.as_ptr()) })?;
    if plan.has_tmp {
        cover_tmp(plan.directory)?;
    }
    enter_own_namespace(plan)?;
    let program = limit(plan)?;
    if let Some(ruleset) = plan.ruleset.filter(|_| plan.sees_itself) {
        open_own_proc(ruleset);
    }
    if let Some(identity) = plan.identity {
        become_user(identity)?;
    }
    // SAFETY: geteuid(2) only tells.
    if plan.gives_up_rights && unsafe { libc::geteuid() } == 0 {
        give_up_rights()?;
    }
    if plan.no_new_privileges {
        // SAFETY: prctl(2), PR_SET_NO_NEW_PRIVS takes numbers.
        let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        check("renounce new privileges", result)?;
    }
    if let Some(ruleset) = plan.ruleset {
        // SAFETY: landlock_restrict_self(2) takes numbers.
        let result =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
        check(RESTRICT_FILES, result)?;
    }
    unblock_signals()?;
    if let Some(filter) = filter {
        // No system call but execveat(2) comes after this one.
        seccompiler::apply_filter(filter).map_err(|_| stumble(RESTRICT_CALLS))?;
    }
    Ok(program)
}

/// Muster may have been started with precedence over others (nice(2) below 0). That is for its loop, not for games. Nor
/// is a game to come last because somebody started Muster with `nice`.
fn be_nice_as_others() -> Result<(), Stumble> {
    // SAFETY: getpriority(2) takes numbers. An error is -1, too, and does no harm here.
    let inherited = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if inherited == 0 {
        return Ok(());
    }
    // SAFETY: setpriority(2) takes numbers.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    // To have less precedence takes no rights; to have more does, and without them the game runs as it is.
    if inherited > 0 { Ok(()) } else { check("give up its precedence", result) }
}

/// Where there are too many user namespaces, or none are allowed, a game goes without, and without the limits.
fn enter_own_namespace(plan: &Plan<'_>) -> Result<(), Stumble> {
    let Some(own) = &plan.own_namespace else { return Ok(()) };
    // SAFETY: unshare(2) takes numbers.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } < 0 {
        return Ok(());
    }
    // The launcher, whose memory this still is, is not dumpable: then its files in /proc are root's; proc(5). The
    // program that comes next has memory of its own.
    // SAFETY: prctl(2), PR_GET_DUMPABLE and PR_SET_DUMPABLE take numbers.
    let was_dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
    // SAFETY: as above.
    check("be seen in /proc", unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) })?;
    let mapped = map_user(own);
    // SAFETY: as above.
    check("be hidden in /proc", unsafe { libc::prctl(libc::PR_SET_DUMPABLE, was_dumpable) })?;
    mapped?;
    set_limits(own.limits)
}

fn map_user(own: &OwnNamespace<'_>) -> Result<(), Stumble> {
    for (file, line) in [(c"self/uid_map", own.user), (c"self/gid_map", own.group)] {
        // SAFETY: openat(2) reads a C string and gives a new descriptor.
        let map = unsafe { libc::openat(own.proc.as_raw_fd(), file.as_ptr(), libc::O_WRONLY) };
        check("open the map of its users", map)?;
        let text = line.to_bytes();
        // SAFETY: write(2) reads as many bytes as `text` has; close(2) closes what was opened above.
        let written = unsafe {
            let written = libc::write(map, text.as_ptr().cast(), text.len());
            libc::close(map);
            written
        };
        check("map its user", i64::try_from(written).unwrap_or(-1))?;
    }
    Ok(())
}

fn enter_cgroup(plan: &Plan<'_>) -> Result<(), Stumble> {
    let Some(procs) = plan.cgroup else { return Ok(()) };
    // SAFETY: write(2) reads one byte. cgroups(7): "0" is the writing process.
    let written = unsafe { libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) };
    check(ENTER_CGROUP, i64::try_from(written).unwrap_or(-1))
}

/// 0 is /dev/null, as it is in the launcher; 1 and 2 are the log, 3 is the socket, 4 the control channel. All else
/// that the launcher has open is close-on-exec, its own 3 and 4 included.
fn place_descriptors(plan: &Plan<'_>) -> Result<(), Stumble> {
    let log = Some(plan.output);
    let places = [
        (log, libc::STDOUT_FILENO),
        (log, libc::STDERR_FILENO),
        (plan.socket, GAME_SOCKET_FD),
        (plan.control, GAME_CONTROL_FD),
    ];
    for (descriptor, place) in places {
        let Some(descriptor) = descriptor else { continue };
        debug_assert!(descriptor.as_raw_fd() >= FIRST_FREE_FD);
        // SAFETY: dup2(2): "If the file descriptor newfd was previously open, it is closed before being reused".
        // This process has a descriptor table of its own, and nothing in it reads 1 to 4. The copy is not
        // close-on-exec.
        check("place its descriptors", unsafe { libc::dup2(descriptor.as_raw_fd(), place) })?;
    }
    Ok(())
}

/// Sets the limits, and puts the program where no limit lets the game put anything.
fn limit(plan: &Plan<'_>) -> Result<RawFd, Stumble> {
    let above = i32::try_from(plan.files_max).unwrap_or(i32::MAX);
    // SAFETY: fcntl(2), F_DUPFD_CLOEXEC touches no descriptor that exists.
    let program = unsafe { libc::fcntl(plan.program.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) };
    check("keep its program open", program)?;
    set_limits(plan.limits)?;
    set_limits(&[(libc::RLIMIT_NOFILE, plan.files_max)])?;
    Ok(program)
}

fn set_limits(limits: &[(ResourceKind, u64)]) -> Result<(), Stumble> {
    for (resource, max) in limits {
        let limit = libc::rlimit { rlim_cur: *max, rlim_max: *max };
        // SAFETY: setrlimit(2) reads a structure that outlives the call.
        check("limit what it uses", unsafe { libc::setrlimit(*resource, &raw const limit) })?;
    }
    Ok(())
}

/// Makes a copy of the mount namespace that all games share, in which the working directory is /tmp as well.
fn cover_tmp(directory: &CStr) -> Result<(), Stumble> {
    let none = ptr::null::<c_char>();
    // SAFETY: unshare(2) takes numbers; this process shares its root and working directory with nobody (no CLONE_FS).
    check(COVER_TMP, unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    // SAFETY: mount(2) reads C strings; to bind takes neither a type nor data.
    let result = unsafe {
        libc::mount(directory.as_ptr(), c"/tmp".as_ptr(), none, libc::MS_BIND, ptr::null())
    };
    check(COVER_TMP, result)
}

/// Opens to a game what the kernel tells about it: its own directory in /proc, which language runtimes read when they
/// start. Where there is no /proc, or it cannot be opened, the game is without.
fn open_own_proc(ruleset: BorrowedFd<'_>) {
    // linux/landlock.h; landlock_add_rule(2).
    const RULE_PATH_BENEATH: i32 = 1;
    const READ_FILE: u64 = 1 << 2;
    const READ_DIR: u64 = 1 << 3;
    #[repr(C, packed)]
    struct PathBeneath {
        allowed_access: u64,
        parent_fd: i32,
    }
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: open(2) reads a C string and gives a new descriptor, which ends with the exec.
    let own = unsafe { libc::open(c"/proc/self".as_ptr(), flags) };
    if own < 0 {
        return;
    }
    let rule = PathBeneath { allowed_access: READ_FILE | READ_DIR, parent_fd: own };
    // SAFETY: landlock_add_rule(2) reads a structure of the kind that the constant names, which outlives the call.
    unsafe {
        let rule = (&raw const rule).cast::<libc::c_void>();
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), RULE_PATH_BENEATH, rule, 0);
    }
}

/// Gives up all rights of root but to be the owner of root's files: what this process has, and what it could get back by
/// running another program, which are the bounding and the ambient set; capabilities(7).
fn give_up_rights() -> Result<(), Stumble> {
    for capability in 0..=CAPABILITY_MAX {
        // SAFETY: prctl(2), PR_CAPBSET_DROP takes numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            let stumble = stumble(GIVE_UP_RIGHTS);
            match stumble.errno {
                // The kernel knows no more.
                libc::EINVAL => break,
                _ => return Err(stumble),
            }
        }
    }
    // SAFETY: prctl(2), PR_CAP_AMBIENT takes numbers.
    let result =
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    check(GIVE_UP_RIGHTS, result)?;
    // linux/capability.h: _LINUX_CAPABILITY_VERSION_3, this process; two structures of three words each.
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0_u32; 6];
    // SAFETY: capset(2) reads a header and, for this version, two structures of three words; all outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    check(GIVE_UP_RIGHTS, result)
}

/// The raw calls, as the C library's would look for threads to tell.
fn become_user(Identity { user, group }: Identity) -> Result<(), Stumble> {
    // SAFETY: setgroups(2), setresgid(2) and setresuid(2) take numbers; a list of no groups is not read.
    unsafe {
        check(CHANGE_USER, libc::syscall(libc::SYS_setgroups, 0, ptr::null::<u32>()))?;
        check(CHANGE_USER, libc::syscall(libc::SYS_setresgid, group, group, group))?;
        check(CHANGE_USER, libc::syscall(libc::SYS_setresuid, user, user, user))
    }
}

/// The launcher blocks all signals and has default actions for all of them; a game gets the latter alone.
fn unblock_signals() -> Result<(), Stumble> {
    let none = 0_u64;
    // SAFETY: rt_sigprocmask(2) reads a mask of the size that it is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null::<u64>(),
            size_of::<u64>(),
        )
    };
    check("unblock its signals", result)
}

fn check(attempt: &'static str, result: impl Into<i64>) -> Result<(), Stumble> {
    if result.into() < 0 { Err(stumble(attempt)) } else { Ok(()) }
}

fn stumble(attempt: &'static str) -> Stumble {
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or_default();
    Stumble { attempt, errno }
}

/// Takes the descriptor that the launcher was born with as its end of the channel to the daemon, and leaves
/// /dev/null in the places 0, 1, 3 and 4. Whatever is opened from then on is above.
///
/// # Errors
/// When there are no descriptors.
pub(crate) fn arrange_own_descriptors() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd as _;
    let duplicate = |from: RawFd| {
        // SAFETY: fcntl(2), F_DUPFD_CLOEXEC touches no descriptor that exists.
        own_check(unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, FIRST_FREE_FD) })
    };
    // What a careless parent left open is nobody's business here, and no game's.
    // SAFETY: close_range(2) closes "all open file descriptors from first to last (included)"; no object of this
    // process owns a descriptor yet but the standard three.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let channel = duplicate(libc::STDOUT_FILENO)?;
    // SAFETY: open(2) reads a C string and gives a new descriptor that nobody else knows.
    let opened =
        own_check(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) })?;
    let null = if opened < FIRST_FREE_FD { duplicate(opened)? } else { opened };
    for (place, flags) in [(0, 0), (1, libc::O_CLOEXEC), (3, libc::O_CLOEXEC), (4, libc::O_CLOEXEC)]
    {
        // SAFETY: dup3(2) closes what was there: the setup, which was read to its end, the channel, of which
        // there is a copy, and `opened`, of which there is one if it was as low.
        own_check(unsafe { libc::dup3(null, place, flags) })?;
    }
    // SAFETY: `channel` was made above and belongs to nobody else.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(channel) })
}

fn own_check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_written_from_the_left() {
        let mut place = *b"LISTEN_PID=0000000000\0";
        write_pid(&mut place["LISTEN_PID=".len()..], 30_271);
        let text = CStr::from_bytes_until_nul(&place).unwrap();
        assert_eq!(text, c"LISTEN_PID=30271");
    }
}
