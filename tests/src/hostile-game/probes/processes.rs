//! Processes that are none of a game's.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rustix::process::{
    PidfdFlags, PidfdGetfdFlags, Resource, getpid, getpriority_process, getrlimit, pidfd_getfd,
    pidfd_open, prlimit, setpriority_process,
};

use super::Outcome;

/// Above the number of any descriptor that a game could be born with.
const DESCRIPTORS: i32 = 2_000;

/// The numbers of what is open; in the beginning, what it is born with.
pub(super) fn open_descriptors() -> Vec<i32> {
    let this_process = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let is_open = |number: &i32| {
        *number != this_process.as_raw_fd()
            && pidfd_getfd(&this_process, *number, PidfdGetfdFlags::empty()).is_ok()
    };
    (0..DESCRIPTORS).filter(is_open).collect()
}

/// The signal that does nothing: whether it may is asked all the same.
pub(super) fn signal(pid: i32) -> Outcome {
    kill(Pid::from_raw(pid), None)?;
    Ok("may send it signals".to_owned())
}

/// The signals of programs to themselves: garbage collectors, raise(3).
pub(super) fn signal_own() -> Outcome {
    nix::sys::signal::raise(Signal::SIGURG)?;
    kill(Pid::this(), None)?;
    kill(Pid::from_raw(0), None)?;
    Ok("signalled itself".to_owned())
}

pub(super) fn join_group(pid: i32) -> Outcome {
    nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(pid))?;
    Ok("joined its group".to_owned())
}

/// A signal that does nothing where it is not waited for. Whether anybody got it the kernel does not say.
pub(super) fn signal_all() -> Outcome {
    kill(Pid::from_raw(-1), Signal::SIGURG)?;
    Ok("asked to signal everybody".to_owned())
}

pub(super) fn trace(pid: i32) -> Outcome {
    let pid = Pid::from_raw(pid);
    ptrace::seize(pid, ptrace::Options::empty())?;
    ptrace::interrupt(pid)?;
    waitpid(pid, Some(WaitPidFlag::__WALL))?;
    ptrace::detach(pid, None)?;
    Ok("traced it".to_owned())
}

/// Reads another's memory, at an address where there is some.
pub(super) fn peek(pid: i32, address: usize) -> Outcome {
    let mut bytes = [0; 8];
    let there = RemoteIoVec { base: address, len: bytes.len() };
    let read = process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(&mut bytes)], &[there])?;
    Ok(format!("read {read} bytes"))
}

pub(super) fn take_descriptor(pid: i32, number: i32) -> Outcome {
    let process = process(pid).and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))?;
    let taken: OwnedFd = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
    Ok(format!("took it: {taken:?}"))
}

/// Sets another process's limit to its current value, which has no effect.
pub(super) fn limit(pid: i32) -> Outcome {
    prlimit(Some(process(pid)?), Resource::Stack, getrlimit(Resource::Stack))?;
    Ok("set its limit".to_owned())
}

pub(super) fn slow(pid: i32) -> Outcome {
    let process = Some(process(pid)?);
    setpriority_process(process, getpriority_process(None)?)?;
    Ok("set its priority".to_owned())
}

/// Says on which processors another runs: on all that this one has.
pub(super) fn pin(pid: i32) -> Outcome {
    let all: CpuSet = sched_getaffinity(Pid::this())?;
    sched_setaffinity(Pid::from_raw(pid), &all)?;
    Ok("set its processors".to_owned())
}

fn process(pid: i32) -> io::Result<rustix::process::Pid> {
    rustix::process::Pid::from_raw(pid).ok_or_else(|| io::Error::other("no pid"))
}
