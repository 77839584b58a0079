//! Copying this process as a sibling.
//!
//! The C library's own fork cannot say `CLONE_PARENT`, and clone(2) called past it leaves one thing behind: the
//! library keeps the thread's id in a place of its own, and in the copy that is the id of the original. What asks the
//! library about "this thread" would then reach the original: pthread_setaffinity_np(3) would move it,
//! pthread_kill(3) miss. The library's own fork has the kernel write the new id into that place
//! (`CLONE_CHILD_SETTID`), and so does this one: the place is the one that the library named to
//! set_tid_address(2) when the process started, and prctl(2) tells it back.

use std::io::{self, ErrorKind};
use std::ptr::null_mut;

use libc::{c_long, pid_t};

/// Which of the two processes a fork returned in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The one that was there before, with the new one's pid.
    Parent(i32),
    /// The new one.
    Child,
}

/// Copies this process; the copy is a child of this process's parent, which gets this process's own exit signal
/// at its end: SIGCHLD, if this process was started by an exec.
///
/// The copy has its memory, descriptors and signals as after any fork(2). Handlers of pthread_atfork(3) are not
/// called, and a robust mutex (pthread_mutexattr_setrobust(3)) that its first thread holds at its end is not
/// given back.
///
/// # Errors
/// As [`can_fork_sibling`]; or when the kernel has no room for one more process, or this process has no parent in
/// its pid namespace.
pub fn fork_sibling() -> io::Result<Forked> {
    refuse_threads()?;
    let place = place_of_thread_id()?;
    let flags = libc::CLONE_PARENT | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    // SAFETY: clone(2) without CLONE_VM: "the child process runs in a separate copy of the memory space of the
    // calling process"; and with a null stack it "uses a duplicate of the parent's stack". What could be broken in
    // the copy is what another thread was at, and there is none. The kernel writes the new id to `place`, in the copy
    // alone, where the C library has its own writer do the same. The last two arguments are the
    // place and the thread's storage, in an order that differs between architectures; the latter is not looked at
    // without CLONE_SETTLS, so that the place may stand for both.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            c_long::from(flags | libc::SIGCHLD),
            null_mut::<u8>(),
            null_mut::<pid_t>(),
            place,
            place,
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

/// Whether this process can be copied, as far as one can know before it is.
///
/// # Errors
/// [`ErrorKind::ResourceBusy`] when it has other threads, of which a copy would have none, but whatever they held. A
/// thread that was joined may count for a moment longer. [`ErrorKind::Unsupported`] when the kernel (built
/// without `CONFIG_CHECKPOINT_RESTORE`) cannot tell where the C library keeps the thread's id, or the C library
/// (musl) does not tell the kernel.
pub fn can_fork_sibling() -> io::Result<()> {
    refuse_threads()?;
    place_of_thread_id().map(drop)
}

/// An error in a process with several threads. No other one can begin once the only one is here.
fn refuse_threads() -> io::Result<()> {
    // SAFETY: unshare(2) changes what the calling process shares, and touches no memory. Of these two: "If
    // [CLONE_SIGHAND] is specified and the process is multithreaded, EINVAL"; "CLONE_VM: [the same]"; and in a process
    // with one thread that shares neither with another process, it does nothing.
    let alone = unsafe { libc::unshare(libc::CLONE_VM | libc::CLONE_SIGHAND) };
    if alone == 0 {
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

/// Where the C library keeps the id of this thread.
fn place_of_thread_id() -> io::Result<*mut pid_t> {
    let mut place: *mut pid_t = null_mut();
    // SAFETY: PR_GET_TID_ADDRESS(2const): it returns "the clear_child_tid address set by set_tid_address(2) and the
    // clone(2) CLONE_CHILD_CLEARTID flag, in the location pointed to by" its argument, which is ours.
    let told = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut place) };
    let unsupported = |why| Err(io::Error::new(ErrorKind::Unsupported, why));
    if told != 0 {
        return unsupported(
            "this kernel does not tell where a thread's id is (CHECKPOINT_RESTORE)",
        );
    }
    // SAFETY: the kernel will write to this address at the end of the thread, as the C library asked it to: so it
    // is the library's own memory, aligned, and there as long as the thread is. Other libraries than glibc have a
    // lock there, which is an integer, too. Nobody else writes, for there is no other thread.
    let kept = (!place.is_null()).then(|| unsafe { place.read_volatile() });
    // SAFETY: gettid(2) takes nothing and "is always successful".
    let id = unsafe { libc::gettid() };
    if kept != Some(id) {
        return unsupported("this C library does not tell the kernel where it keeps a thread's id");
    }
    Ok(place)
}
