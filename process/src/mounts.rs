//! Making a tree of mounts read-only.

use std::ffi::CStr;
use std::io;

/// The kernel's `struct mount_attr`; mount_setattr(2).
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Makes everything mounted at and beneath `path` read-only, and ignores its set-user-id bits, in this process's
/// mount namespace.
///
/// # Errors
/// Those of mount_setattr(2).
pub fn seal_mounts(path: &CStr) -> io::Result<()> {
    set(path, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID, 0)
}

/// Makes what is mounted at `path`, but not beneath, writable again.
///
/// # Errors
/// Those of mount_setattr(2).
pub fn unseal_mount(path: &CStr) -> io::Result<()> {
    set(path, 0, libc::MOUNT_ATTR_RDONLY)
}

fn set(path: &CStr, set: u64, clear: u64) -> io::Result<()> {
    let attributes = MountAttributes { set, clear, propagation: 0, user_namespace: 0 };
    let flags = if clear == 0 { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: mount_setattr(2) reads a C string and a structure of the given size; both live until it returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
