//! How a process ended that is not a child of this one.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `struct pidfd_info` of `linux/pidfd.h`, in its first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`; ioctl(2).
const PIDFD_GET_INFO: libc::Ioctl = 0xC040_FF0B_u32 as libc::Ioctl;

/// `PIDFD_INFO_EXIT`: the exit status is wanted, and known.
const INFO_EXIT: u64 = 1 << 3;

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// How a process ended, by its pidfd: its exit status, or the signal that killed it. `None`: its parent has not
/// reaped it yet, or the kernel (before 6.15) does not report it.
///
/// # Errors
/// When the kernel (before 6.13) lacks the request, or (before 6.15) the process was reaped already.
pub fn exit_of(process: BorrowedFd<'_>) -> io::Result<Option<Result<i32, i32>>> {
    let mut info = PidfdInfo { mask: INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the kernel copies as many bytes in and out as the size in the request's number says, which is the
    // size of this structure of plain numbers; it lives until the call returns.
    let result = unsafe { libc::ioctl(process.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let status = info.exit_code;
    Ok((info.mask & INFO_EXIT != 0).then(|| match libc::WIFSIGNALED(status) {
        true => Err(libc::WTERMSIG(status)),
        false => Ok(libc::WEXITSTATUS(status)),
    }))
}
