//! Copies of a process as its siblings: in a separate program, where no other code reaps children.

#![allow(unsafe_code, clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use process::{Forked, can_fork_sibling, fork_sibling};

/// Runs `check` in a sibling of a process with one thread, and gives the sibling's end: its exit status, or the
/// signal that killed it. The sibling is a child of this process.
///
/// The test runner has threads, so that the process with one thread is a plain fork of it. A check that
/// panics exits with 101, having said why.
fn in_sibling(check: fn()) -> Result<i32, i32> {
    // One at a time: what another test's thread has locked at the fork stays locked in the copy.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut reader, writer) = io::pipe().unwrap();
    // SAFETY: the child calls what glibc keeps usable after the fork of a process with threads: memory, locks
    // of its own, and system calls; and it ends without returning.
    let first = unsafe { libc::fork() };
    assert!(first >= 0);
    if first == 0 {
        let status = match fork_sibling() {
            Ok(Forked::Child) => {
                let checked = std::panic::catch_unwind(check);
                if checked.is_ok() { 0 } else { 101 }
            }
            Ok(Forked::Parent(pid)) => {
                let written = io::Write::write(&mut &writer, &pid.to_ne_bytes());
                i32::from(written.is_err())
            }
            Err(_) => 99,
        };
        // SAFETY: _exit(2) ends the process, whatever its memory holds.
        unsafe { libc::_exit(status) };
    }
    drop(writer);
    let mut bytes = [0; 4];
    io::Read::read_exact(&mut reader, &mut bytes).unwrap();
    assert_eq!(wait_for(first), Ok(0));
    wait_for(i32::from_ne_bytes(bytes))
}

/// The end of a child of this process, which no other code reaps.
fn wait_for(pid: i32) -> Result<i32, i32> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut status = 0;
        // SAFETY: waitpid(2) writes to the place that it is given, which lives until it returns.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        if waited == pid {
            return match libc::WIFSIGNALED(status) {
                true => Err(libc::WTERMSIG(status)),
                false => Ok(libc::WEXITSTATUS(status)),
            };
        }
        assert_eq!(waited, 0, "{pid} is no child of this process");
        assert!(Instant::now() < deadline, "the sibling does not end");
        std::thread::yield_now();
    }
}

#[test]
fn a_process_with_threads_is_not_copied() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let other = std::thread::spawn(move || held.recv());
    assert_eq!(fork_sibling().unwrap_err().kind(), ErrorKind::ResourceBusy);
    drop(hold);
    assert!(other.join().unwrap().is_err());
}

#[test]
fn the_sibling_is_a_child_of_the_parent_and_lives() {
    assert_eq!(
        in_sibling(|| {
            let counted = Mutex::new(HashMap::from([("threads", 0)]));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| *counted.lock().unwrap().get_mut("threads").unwrap() += 1);
                }
            });
            assert_eq!(counted.lock().unwrap()["threads"], 4);
        }),
        Ok(0)
    );
}

/// Fails where the C library was left with the id of the original.
#[test]
fn the_c_library_knows_the_siblings_first_thread() {
    assert_eq!(
        in_sibling(|| {
            let mut clock = 0;
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: pthread_self(3) is always a running thread, and both calls write to the given variables only.
            unsafe {
                assert_eq!(libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock), 0);
                assert_eq!(libc::clock_gettime(clock, &raw mut time), 0);
            }
        }),
        Ok(0)
    );
    let killed_by_another_thread = || {
        // SAFETY: pthread_self(3) "always succeeds".
        let first = unsafe { libc::pthread_self() };
        std::thread::spawn(move || {
            // SAFETY: the first thread lives: it joins this one.
            assert_eq!(unsafe { libc::pthread_kill(first, libc::SIGUSR1) }, 0);
        })
        .join()
        .unwrap();
    };
    assert_eq!(in_sibling(killed_by_another_thread), Err(libc::SIGUSR1));
}

#[test]
fn the_siblings_signals_reach_the_sibling() {
    assert_eq!(in_sibling(|| std::process::abort()), Err(libc::SIGABRT));
    // SAFETY: raise(3) sends a signal to the calling thread.
    let raise = || assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
    assert_eq!(in_sibling(raise), Err(libc::SIGUSR2));
}

#[test]
fn a_sibling_can_be_copied_again() {
    assert_eq!(in_sibling(|| assert!(can_fork_sibling().is_ok())), Ok(0));
}
