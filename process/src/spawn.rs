//! Starting another program as a sibling, in the cheapest way: this process's memory is lent to the new one until
//! it executes its program (vfork(2)).

use std::io;

use libc::{c_int, c_void};

use crate::limits::STACK_BYTES;

/// The stack of a new process until it executes its program. Created once and used for one after another.
#[derive(Debug)]
pub struct Stack(Box<[Block]>);

/// Has the alignment that processors require of a stack.
type Block = u128;

impl Stack {
    /// Allocates a stack.
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

/// Creates a sibling of this process and has it run `child`, which should execute another program; what it returns
/// is the new process's exit status. This process is suspended meanwhile. Returns the new process's pid.
///
/// # Safety
/// The new process works in the memory of this one: it must make system calls only and must not panic, and what it
/// changes stays changed. This process must have no other thread, which would not be suspended.
///
/// # Errors
/// When the kernel cannot create another process.
pub unsafe fn spawn_sibling(stack: &mut Stack, child: &mut dyn FnMut() -> i32) -> io::Result<i32> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: the caller's promise.
    unsafe { spawn(stack, flags, child) }
}

/// Creates a child of this process, has it run `child`, which should not execute another program, and waits for its
/// end. Returns whether it exited with status 0.
///
/// # Safety
/// As for [`spawn_sibling`].
///
/// # Errors
/// When the kernel cannot create another process.
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
        // SAFETY: `spawn` passes a pointer to its own `child`, and is suspended while this runs.
        let child = unsafe { &mut *child.cast::<&mut dyn FnMut() -> i32>() };
        child()
    }
    // SAFETY: clone(2): the stack "should point to the topmost address of the memory space set up for the child
    // stack", which `stack` lends. CLONE_VFORK: "the execution of the calling process is suspended until the
    // child releases its virtual memory resources", so `child` and the stack outlive their use.
    let pid = unsafe { libc::clone(run, stack.top(), flags, (&raw mut child).cast()) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}
