//! The launch step: what a new process does between its creation and the game's program.
//!
//! The new process borrows the launcher's memory (vfork(2)), which makes it cheap, and may do little more than
//! system calls. Everything that can be prepared is in a [`Plan`]; here it is carried out, from what needs the most
//! privileges to what needs the least, and all confinement is in place before the game's first instruction.
//!
//! ExtraCalls the crate `process` this is the only file with `unsafe` code: the descriptor table of a whole process
//! has no owner that a type could name.

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
use crate::limits::CAPABILITY_MAX;

/// The launcher itself keeps the descriptors below this one: what it passes on is above, so that no target is
/// overwritten before it is copied.
pub(crate) const FIRST_FREE_FD: RawFd = GAME_CONTROL_FD + 1;

/// The kind of a resource limit. C libraries disagree about its type.
#[cfg(target_env = "gnu")]
pub(crate) type ResourceKind = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
pub(crate) type ResourceKind = libc::c_int;

/// A shell's exit status when it cannot run a program.
const CANNOT_RUN: i32 = 127;

/// The last attempt.
const RUN: &str = "run it";

/// Digits of the highest process id.
const PID_DIGITS: usize = 10;

/// The parameters of a new process.
pub(crate) struct Plan<'a> {
    /// The executable, not a script.
    pub(crate) program: BorrowedFd<'a>,
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    /// Its working directory, as seen in its mount namespace.
    pub(crate) directory: &'a CStr,
    /// Whether that is also its /tmp, in its own mount namespace.
    pub(crate) has_tmp: bool,
    /// Its UDP socket; descriptor 3.
    pub(crate) socket: Option<BorrowedFd<'a>>,
    /// Its control channel; descriptor 4.
    pub(crate) control: Option<BorrowedFd<'a>>,
    /// The pipe to the log; descriptors 1 and 2.
    pub(crate) output: BorrowedFd<'a>,
    /// The `cgroup.procs` of its control group.
    pub(crate) cgroup: Option<BorrowedFd<'a>>,
    /// The namespaces to enter, in this order.
    pub(crate) namespaces: &'a [BorrowedFd<'a>],
    /// Resource limits.
    pub(crate) limits: &'a [(ResourceKind, u64)],
    /// The highest number of descriptors. The descriptor of its program has this number, so that it can never
    /// open it again: see [`Profile::Strict`](crate::Profile::Strict).
    pub(crate) files_max: u64,
    /// The user and group it changes to.
    pub(crate) identity: Option<Identity>,
    /// Its own user namespace, if it shares its user with others.
    pub(crate) own_namespace: Option<OwnNamespace<'a>>,
    /// Whether it drops root's capabilities, if it stays root.
    pub(crate) drops_capabilities: bool,
    /// Whether its ruleset is its own, and should include its directory in /proc.
    pub(crate) may_read_own_proc: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) ruleset: Option<BorrowedFd<'a>>,
    pub(crate) filter: Option<&'a Filter>,
    /// Whether it gets its pid in `LISTEN_PID`, as a process does that inherits a socket.
    pub(crate) listens: bool,
}

/// A user namespace for one game, with the same user and group: the kernel counts processes by user and user
/// namespace (from Linux 5.14), so that one game's do not count against another's limit.
#[derive(Clone, Copy)]
pub(crate) struct OwnNamespace<'a> {
    /// `/proc` outside of the game's mount namespace, where it is read-only.
    pub(crate) proc: BorrowedFd<'a>,
    /// The lines that map its user and its group; user_namespaces(7).
    pub(crate) user: &'a CStr,
    pub(crate) group: &'a CStr,
    /// Limits in this namespace.
    pub(crate) limits: &'a [(ResourceKind, u64)],
}

/// The operation that failed, and its error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaunchStepError {
    pub(crate) attempt: &'static str,
    pub(crate) errno: i32,
}

// Attempts that a machine may not permit; see the module `trial`.
pub(crate) const ENTER_CGROUP: &str = "enter its control group";
pub(crate) const ENTER_NAMESPACE: &str = "enter a namespace";
pub(crate) const COVER_TMP: &str = "cover /tmp by its working directory";
pub(crate) const ENTER_DIRECTORY: &str = "enter its working directory";
pub(crate) const CHANGE_USER: &str = "change its user";
pub(crate) const DROP_CAPABILITIES: &str = "drop its capabilities";
pub(crate) const RESTRICT_FILES: &str = "restrict its files";
pub(crate) const RESTRICT_CALLS: &str = "restrict its system calls";

/// Creates a process, and returns its pid once it runs its program.
///
/// # Errors
/// Names the step that failed; the process has then ended, or is about to.
pub(crate) fn launch(stack: &mut Stack, plan: &Plan<'_>) -> io::Result<i32> {
    let arguments = pointers(plan.arguments, None);
    // Room for the process's own id, which only it knows.
    let mut listen_pid = *b"LISTEN_PID=0000000000\0";
    let environment = pointers(plan.environment, plan.listens.then(|| listen_pid.as_ptr().cast()));
    let digits = &mut listen_pid["LISTEN_PID=".len()..];
    // Likewise its seccomp filter, which lacks that id.
    let mut filter = plan.filter.map(|filter| filter.program.clone());
    let mut failed = None;
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
        failed = Some(become_game(plan, &arguments, &environment, filter.as_ref()));
        CANNOT_RUN
    };
    // SAFETY: the launcher has one thread. Until its program runs, the new process makes system calls and
    // writes to `digits` and `failed`, which exist for it; it allocates nothing and cannot panic.
    let pid = unsafe { spawn_sibling(stack, &mut child)? };
    match failed {
        None => Ok(pid),
        Some(LaunchStepError { attempt, errno }) => {
            let error = io::Error::from_raw_os_error(errno);
            // The caller names the program that cannot be run.
            if attempt == RUN {
                return Err(error);
            }
            Err(io::Error::new(error.kind(), format!("cannot {attempt}: {error}")))
        }
    }
}

/// Creates a process that does everything up to its program, and ends there: a test whether the machine permits the
/// plan.
///
/// # Errors
/// Those of clone(2). The result names the step that failed.
pub(crate) fn try_out(
    stack: &mut Stack,
    plan: &Plan<'_>,
) -> io::Result<Result<(), LaunchStepError>> {
    let mut result = Ok(());
    let mut child = || {
        result = prepare(plan, plan.filter.map(|filter| &filter.program)).map(drop);
        0
    };
    // SAFETY: as in `launch`; the child ends where the other one runs its program.
    unsafe { spawn_and_wait(stack, &mut child)? };
    Ok(result)
}

fn pointers(strings: &[CString], last: Option<*const c_char>) -> Vec<*const c_char> {
    let all = strings.iter().map(|string| string.as_ptr());
    all.chain(last).chain([ptr::null()]).collect()
}

/// Writes the id left-aligned, padded with zero bytes: to some readers `LISTEN_PID=0000001234` would be another
/// number.
fn write_pid(target: &mut [u8], pid: u32) {
    let mut digits = [0; PID_DIGITS];
    let (mut rest, mut count) = (pid, 0);
    while rest > 0 && count < PID_DIGITS {
        digits[count] = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
    }
    for (at, byte) in target.iter_mut().enumerate() {
        *byte = if at < count { digits[count - 1 - at] } else { 0 };
    }
}

/// Returns only if a step failed.
fn become_game(
    plan: &Plan<'_>,
    arguments: &[*const c_char],
    environment: &[*const c_char],
    filter: Option<&BpfProgram>,
) -> LaunchStepError {
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
            step_failed(RUN)
        }
        Err(failed) => failed,
    }
}

fn prepare(plan: &Plan<'_>, filter: Option<&BpfProgram>) -> Result<RawFd, LaunchStepError> {
    // A session, and so a process group, of its own: setpgid(2) joins only groups of the caller's session.
    // SAFETY: setsid(2) takes nothing.
    check("give it a session", unsafe { libc::setsid() })?;
    reset_nice_value()?;
    enter_cgroup(plan)?;
    assign_descriptors(plan)?;
    for namespace in plan.namespaces {
        // SAFETY: setns(2) takes numbers; 0 stands for a namespace of any kind.
        check(ENTER_NAMESPACE, unsafe { libc::setns(namespace.as_raw_fd(), 0) })?;
    }
    // SAFETY: chdir(2) reads a C string.
    check(ENTER_DIRECTORY, unsafe { libc::chdir(plan.directory.as_ptr()) })?;
    if plan.has_tmp {
        cover_tmp(plan.directory)?;
    }
    enter_own_namespace(plan)?;
    let program = limit(plan)?;
    if let Some(ruleset) = plan.ruleset.filter(|_| plan.may_read_own_proc) {
        open_own_proc(ruleset);
    }
    if let Some(identity) = plan.identity {
        change_user(identity)?;
    }
    // SAFETY: geteuid(2) takes nothing.
    if plan.drops_capabilities && unsafe { libc::geteuid() } == 0 {
        drop_capabilities()?;
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
        // No system call but execveat(2) follows this one.
        seccompiler::apply_filter(filter).map_err(|_| step_failed(RESTRICT_CALLS))?;
    }
    Ok(program)
}

/// A nice value below 0 that Muster was started with is for its loop, not for games. Nor should a game get less
/// time because Muster was started with `nice`.
fn reset_nice_value() -> Result<(), LaunchStepError> {
    // SAFETY: getpriority(2) takes numbers. An error is -1, too, and harmless here.
    let inherited = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    if inherited == 0 {
        return Ok(());
    }
    // SAFETY: setpriority(2) takes numbers.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
    // Raising the nice value takes no privileges; lowering it does, and without them the game keeps it.
    if inherited > 0 { Ok(()) } else { check("reset its nice value", result) }
}

/// If there are too many user namespaces, or none are permitted, the game has neither one nor its limits.
fn enter_own_namespace(plan: &Plan<'_>) -> Result<(), LaunchStepError> {
    let Some(own) = &plan.own_namespace else { return Ok(()) };
    // SAFETY: unshare(2) takes numbers.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } < 0 {
        return Ok(());
    }
    // The launcher, whose memory this still is, is not dumpable: root owns its files in /proc; proc(5). The
    // program that comes next has its own memory.
    // SAFETY: prctl(2), PR_GET_DUMPABLE and PR_SET_DUMPABLE take numbers.
    let was_dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
    // SAFETY: as above.
    check("own its files in /proc", unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) })?;
    let mapped = map_user(own);
    // SAFETY: as above.
    check("hide its files in /proc", unsafe { libc::prctl(libc::PR_SET_DUMPABLE, was_dumpable) })?;
    mapped?;
    set_limits(own.limits)
}

fn map_user(own: &OwnNamespace<'_>) -> Result<(), LaunchStepError> {
    for (file, line) in [(c"self/uid_map", own.user), (c"self/gid_map", own.group)] {
        // SAFETY: openat(2) reads a C string and returns a new descriptor.
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

fn enter_cgroup(plan: &Plan<'_>) -> Result<(), LaunchStepError> {
    let Some(procs) = plan.cgroup else { return Ok(()) };
    // SAFETY: write(2) reads one byte. cgroups(7): "0" is the writing process.
    let written = unsafe { libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1) };
    check(ENTER_CGROUP, i64::try_from(written).unwrap_or(-1))
}

/// 0 is /dev/null, as in the launcher; 1 and 2 are the log, 3 is the socket, 4 the control channel. The launcher's
/// other descriptors are close-on-exec, its own 3 and 4 included.
fn assign_descriptors(plan: &Plan<'_>) -> Result<(), LaunchStepError> {
    let log = Some(plan.output);
    let targets = [
        (log, libc::STDOUT_FILENO),
        (log, libc::STDERR_FILENO),
        (plan.socket, GAME_SOCKET_FD),
        (plan.control, GAME_CONTROL_FD),
    ];
    for (descriptor, target) in targets {
        let Some(descriptor) = descriptor else { continue };
        debug_assert!(descriptor.as_raw_fd() >= FIRST_FREE_FD);
        // SAFETY: dup2(2): "If the file descriptor newfd was previously open, it is closed before being
        // reused". This process has its own descriptor table, and nothing in it reads 1 to 4. The copy is
        // not close-on-exec.
        check("assign its descriptors", unsafe { libc::dup2(descriptor.as_raw_fd(), target) })?;
    }
    Ok(())
}

/// Sets the limits, and moves the program's descriptor above the limit of descriptors.
fn limit(plan: &Plan<'_>) -> Result<RawFd, LaunchStepError> {
    let above = i32::try_from(plan.files_max).unwrap_or(i32::MAX);
    // SAFETY: fcntl(2), F_DUPFD_CLOEXEC touches no descriptor that exists.
    let program = unsafe { libc::fcntl(plan.program.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) };
    check("keep its program open", program)?;
    set_limits(plan.limits)?;
    set_limits(&[(libc::RLIMIT_NOFILE, plan.files_max)])?;
    Ok(program)
}

fn set_limits(limits: &[(ResourceKind, u64)]) -> Result<(), LaunchStepError> {
    for (resource, max) in limits {
        let limit = libc::rlimit { rlim_cur: *max, rlim_max: *max };
        // SAFETY: setrlimit(2) reads a structure that outlives the call.
        check("limit its resources", unsafe { libc::setrlimit(*resource, &raw const limit) })?;
    }
    Ok(())
}

/// Copies the mount namespace that all games share, and mounts the working directory at /tmp as well.
fn cover_tmp(directory: &CStr) -> Result<(), LaunchStepError> {
    let none = ptr::null::<c_char>();
    // SAFETY: unshare(2) takes numbers; this process has its own root and working directory (no CLONE_FS).
    check(COVER_TMP, unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    // SAFETY: mount(2) reads C strings; to bind takes neither a type nor data.
    let result = unsafe {
        libc::mount(directory.as_ptr(), c"/tmp".as_ptr(), none, libc::MS_BIND, ptr::null())
    };
    check(COVER_TMP, result)
}

/// Opens to a game its own directory in /proc, which language runtimes read when they start. If there is no /proc,
/// or it cannot be opened, the game does without.
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
    // SAFETY: open(2) reads a C string and returns a new descriptor, which the exec closes.
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

/// Drops all of root's capabilities, so that only the ownership of root's files is left: those that this process
/// has, and those that it could regain by running another program, which are the bounding and the ambient set;
/// capabilities(7).
fn drop_capabilities() -> Result<(), LaunchStepError> {
    for capability in 0..=CAPABILITY_MAX {
        // SAFETY: prctl(2), PR_CAPBSET_DROP takes numbers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } < 0 {
            let failed = step_failed(DROP_CAPABILITIES);
            match failed.errno {
                // The kernel has no more.
                libc::EINVAL => break,
                _ => return Err(failed),
            }
        }
    }
    // SAFETY: prctl(2), PR_CAP_AMBIENT takes numbers.
    let result =
        unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    check(DROP_CAPABILITIES, result)?;
    // linux/capability.h: _LINUX_CAPABILITY_VERSION_3, this process; two structures of three words each.
    let header: [u32; 2] = [0x2008_0522, 0];
    let none = [0_u32; 6];
    // SAFETY: capset(2) reads a header and, for this version, two structures of three words; all outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    check(DROP_CAPABILITIES, result)
}

/// Uses the raw calls, because the C library's would synchronize threads.
fn change_user(Identity { user, group }: Identity) -> Result<(), LaunchStepError> {
    // SAFETY: setgroups(2), setresgid(2) and setresuid(2) take numbers; a list of no groups is not read.
    unsafe {
        check(CHANGE_USER, libc::syscall(libc::SYS_setgroups, 0, ptr::null::<u32>()))?;
        check(CHANGE_USER, libc::syscall(libc::SYS_setresgid, group, group, group))?;
        check(CHANGE_USER, libc::syscall(libc::SYS_setresuid, user, user, user))
    }
}

/// The launcher blocks all signals and has default actions for all of them; a game inherits the actions only.
fn unblock_signals() -> Result<(), LaunchStepError> {
    let none = 0_u64;
    // SAFETY: rt_sigprocmask(2) reads a mask of the given size.
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

fn check(attempt: &'static str, result: impl Into<i64>) -> Result<(), LaunchStepError> {
    if result.into() < 0 { Err(step_failed(attempt)) } else { Ok(()) }
}

fn step_failed(attempt: &'static str) -> LaunchStepError {
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or_default();
    LaunchStepError { attempt, errno }
}

/// Takes the inherited descriptor that is the launcher's end of the channel to the daemon, and opens /dev/null as
/// 0, 1, 3 and 4. All later descriptors are above.
///
/// # Errors
/// When no descriptors are left.
pub(crate) fn arrange_own_descriptors() -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd as _;
    let duplicate = |from: RawFd| {
        // SAFETY: fcntl(2), F_DUPFD_CLOEXEC touches no descriptor that exists.
        own_check(unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, FIRST_FREE_FD) })
    };
    // A parent may have left descriptors open, which neither the launcher nor games need.
    // SAFETY: close_range(2) closes "all open file descriptors from first to last (included)"; no object of
    // this process owns a descriptor yet but the standard three.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let channel = duplicate(libc::STDOUT_FILENO)?;
    // SAFETY: open(2) reads a C string and returns a new descriptor without an owner.
    let opened =
        own_check(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) })?;
    let null = if opened < FIRST_FREE_FD { duplicate(opened)? } else { opened };
    for (target, flags) in
        [(0, 0), (1, libc::O_CLOEXEC), (3, libc::O_CLOEXEC), (4, libc::O_CLOEXEC)]
    {
        // SAFETY: dup3(2) closes what was there: the setup, which was read to its end, the channel, which
        // was copied, and `opened`, which was copied if it was as low.
        own_check(unsafe { libc::dup3(null, target, flags) })?;
    }
    // SAFETY: `channel` was created above and has no other owner.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(channel) })
}

fn own_check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_written_left_aligned() {
        let mut target = *b"LISTEN_PID=0000000000\0";
        write_pid(&mut target["LISTEN_PID=".len()..], 30_271);
        let text = CStr::from_bytes_until_nul(&target).unwrap();
        assert_eq!(text, c"LISTEN_PID=30271");
    }
}
