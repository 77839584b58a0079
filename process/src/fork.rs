//! Copying this process as a sibling.
//!
//! The C library's own fork cannot use `CLONE_PARENT`, and clone(2) called without the library leaves one thing
//! wrong: the library keeps the thread's id in a variable of its own, and the copy has the id of the original
//! there. Calls about "this thread" would then reach the original: pthread_setaffinity_np(3) would move it,
//! pthread_kill(3) would miss. The library's own fork has the kernel write the new id into that variable
//! (`CLONE_CHILD_SETTID`), and so does this one: the address is the one that the library passed to
//! set_tid_address(2) when the process started, and prctl(2) returns it.

use std::io::{self, ErrorKind};
use std::ptr::null_mut;

use libc::{c_long, pid_t};

/// The process in which a fork returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The original, with the pid of the copy.
    Parent(i32),
    /// The copy.
    Child,
}

/// Copies this process. The copy is a child of this process's parent, which receives this process's own exit signal
/// when the copy ends: SIGCHLD, if this process was started by an exec.
///
/// The copy has its memory, descriptors and signals as after any fork(2). Handlers of pthread_atfork(3) are not
/// called, and a robust mutex (pthread_mutexattr_setrobust(3)) that its first thread holds at its end is not
/// released.
///
/// # Errors
/// As [`can_fork_sibling`]; or when the kernel cannot create another process, or this process has no parent in its
/// pid namespace.
pub fn fork_sibling() -> io::Result<Forked> {
    refuse_threads()?;
    let address = thread_id_address()?;
    let flags = libc::CLONE_PARENT | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    // SAFETY: clone(2) without CLONE_VM: "the child process runs in a separate copy of the memory space of the
    // calling process"; and with a null stack it "uses a duplicate of the parent's stack". Only what another thread
    // was changing could be inconsistent in the copy, and there is no other thread. The kernel writes the new id to
    // `address`, in the copy alone, where the C library's fork has it written too. The last two arguments are that
    // address and the thread's storage, in an order that differs between architectures; the latter is ignored
    // without CLONE_SETTLS, so the address may stand for both.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            c_long::from(flags | libc::SIGCHLD),
            null_mut::<u8>(),
            null_mut::<pid_t>(),
            address,
            address,
        )
    };
    match pid {
        0 => Ok(Forked::Child),
        // A pid fits its own type, and what does not is the -1 of an error.
        _ => pid_t::try_from(pid)
            .ok()
            .filter(|pid| *pid > 0)
            .map(Forked::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// Whether this process can be copied, as far as that is known in advance.
///
/// # Errors
/// [`ErrorKind::ResourceBusy`] when it has other threads, which a copy would lack while the locks that they hold
/// stay locked. A thread that was joined may count for a moment longer. [`ErrorKind::Unsupported`] when the kernel
/// (built without `CONFIG_CHECKPOINT_RESTORE`) does not report where the C library keeps the thread's id, or the C
/// library (musl) does not tell the kernel.
pub fn can_fork_sibling() -> io::Result<()> {
    refuse_threads()?;
    thread_id_address().map(drop)
}

/// Fails in a process with several threads. While the only thread is here, no other can start.
fn refuse_threads() -> io::Result<()> {
    // SAFETY: unshare(2) changes what the calling process shares, and touches no memory. Of these two: "If
    // [CLONE_SIGHAND] is specified and the process is multithreaded, EINVAL"; "CLONE_VM: [the same]"; and in a
    // process with one thread that shares neither with another process, it does nothing.
    let result = unsafe { libc::unshare(libc::CLONE_VM | libc::CLONE_SIGHAND) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(match error.raw_os_error() {
        Some(libc::EINVAL) => {
            io::Error::new(ErrorKind::ResourceBusy, "this process has other threads")
        }
        _ => error,
    })
}

/// The address at which the C library keeps the id of this thread.
fn thread_id_address() -> io::Result<*mut pid_t> {
    let mut address: *mut pid_t = null_mut();
    // SAFETY: PR_GET_TID_ADDRESS(2const): it returns "the clear_child_tid address set by set_tid_address(2) and the
    // clone(2) CLONE_CHILD_CLEARTID flag, in the location pointed to by" its argument, which is ours.
    let result = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut address) };
    let unsupported = |why| Err(io::Error::new(ErrorKind::Unsupported, why));
    if result != 0 {
        return unsupported(
            "this kernel does not report the address of a thread's id (CHECKPOINT_RESTORE)",
        );
    }
    // SAFETY: the kernel will write to this address at the end of the thread, as the C library asked it to: so it
    // is the library's own memory, aligned, and exists as long as the thread. Other libraries than glibc have a
    // lock there, which is an integer too. No other thread writes it, for there is none.
    let kept = (!address.is_null()).then(|| unsafe { address.read_volatile() });
    // SAFETY: gettid(2) takes nothing and "is always successful".
    let id = unsafe { libc::gettid() };
    if kept != Some(id) {
        return unsupported("this C library does not tell the kernel where it keeps a thread's id");
    }
    Ok(address)
}
