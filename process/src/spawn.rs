//! Starting another program as a sibling, in the way that costs least: with this process's memory lent to the
//! new one until it has a program of its own (vfork(2)).

use std::io;

use libc::{c_int, c_void};

/// Bytes of stack for what a new process does before it runs its program.
const STACK_BYTES: usize = 256 * 1024;

/// Where a new process keeps its stack until it runs its program. Made once and used for one after another.
#[derive(Debug)]
pub struct Stack(Box<[Block]>);

/// Has the alignment that processors want of a stack.
type Block = u128;

impl Stack {
    /// Makes a stack.
    pub fn new() -> Self {
        Self(vec![0; STACK_BYTES / size_of::<Block>()].into_boxed_slice())
    }

    fn top(&mut self) -> *mut c_void {
        self.0.as_mut_ptr_range().end.cast()
    }
}

impl Default for Stack {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes a sibling of this process and has it run `child`, which is to become another program; what it returns
/// is the new process's exit status. This process stands still meanwhile. Returns the new process's pid.
///
/// # Safety
/// The new process works in the memory of this one: it has to do with system calls alone, must not panic, and
/// what it changes stays changed. This process must have no other thread, which would not stand still.
///
/// # Errors
/// When the kernel has no room for one more process.
pub unsafe fn spawn_sibling(stack: &mut Stack, child: &mut dyn FnMut() -> i32) -> io::Result<i32> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: the caller's promise.
    unsafe { spawn(stack, flags, child) }
}

/// Ends every process of a user, those that are just being made included: kill(2) with -1, as that user, reaches
/// all of them at once, while one who reads a list and then kills is outrun by whoever forks. Only root can.
///
/// `as_user` is a user whom nobody else is. The process that kills is `user` in effect only: by kill(2) a process is
/// reached by who is its real or its saved user, so that those who are to die cannot stop the one who kills.
///
/// # Errors
/// When there is no room for the process that does it, or it may not become that user.
///
/// # Panics
/// When one of the users is root or the one who asks: it would be the end of more than a game.
pub fn kill_all_of(stack: &mut Stack, user: u32, as_user: u32) -> io::Result<()> {
    // SAFETY: geteuid(2) only tells.
    let own = unsafe { libc::geteuid() };
    let is_harmless = |user: u32| user != 0 && user != own;
    assert!(is_harmless(user) && is_harmless(as_user), "asked to kill everything of user {user}");
    let mut become_and_kill = || {
        // SAFETY: setresuid(2) and kill(2) take numbers. The raw call changes this process alone; the C
        // library's would also tell threads that it believes to have.
        unsafe {
            if libc::syscall(libc::SYS_setresuid, as_user, user, as_user) != 0 {
                return 1;
            }
            libc::kill(-1, libc::SIGKILL);
        }
        0
    };
    // SAFETY: the closure is two system calls; callers are single-threaded as `Stack` is theirs alone, and what
    // is shared meanwhile is not written to.
    let ended_well = unsafe { spawn_and_wait(stack, &mut become_and_kill)? };
    match ended_well {
        // kill(2): "-1" reaches everybody but the one who kills.
        true => Ok(()),
        false => Err(io::Error::other(format!("cannot act as user {user}"))),
    }
}

/// Makes a child of this process, has it run `child`, which is not to become another program, and waits for its end.
/// Whether that was an exit with the status 0.
///
/// # Safety
/// As for [`spawn_sibling`].
///
/// # Errors
/// When the kernel has no room for one more process.
pub unsafe fn spawn_and_wait(
    stack: &mut Stack,
    child: &mut dyn FnMut() -> i32,
) -> io::Result<bool> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the caller's promise.
    let pid = unsafe { spawn(stack, flags, child)? };
    let mut status = 0;
    // SAFETY: waitpid(2) writes to `status`, which lives until it returns.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    Ok(waited == pid && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0)
}

/// # Safety
/// As for [`spawn_sibling`].
unsafe fn spawn(
    stack: &mut Stack,
    flags: c_int,
    mut child: &mut dyn FnMut() -> i32,
) -> io::Result<i32> {
    extern "C" fn run(child: *mut c_void) -> c_int {
        // SAFETY: `spawn` passes a pointer to its own `child`, and stands still while this runs.
        let child = unsafe { &mut *child.cast::<&mut dyn FnMut() -> i32>() };
        child()
    }
    // SAFETY: clone(2): the stack "should point to the topmost address of the memory space set up for the child
    // stack", which `stack` lends. CLONE_VFORK: "the execution of the calling process is suspended until the
    // child releases its virtual memory resources", so `child` and the stack outlive their use.
    let pid = unsafe { libc::clone(run, stack.top(), flags, (&raw mut child).cast()) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}
