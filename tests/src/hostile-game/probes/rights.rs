//! Rights, and more than a game's share of what there is.

use std::fs::File;
use std::io;

use nix::mount::MsFlags;
use nix::mqueue::{MQ_OFlag, mq_open};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, setuid};

use super::Outcome;

pub(super) fn become_root() -> Outcome {
    setuid(Uid::from_raw(0))?;
    Ok("is root".to_owned())
}

pub(super) fn raise_limit() -> Outcome {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard + 1, hard + 1)?;
    Ok(format!("may open {} files", hard + 1))
}

pub(super) fn unshare(what: &str) -> Outcome {
    let flag = match what {
        "user" => CloneFlags::CLONE_NEWUSER,
        "net" => CloneFlags::CLONE_NEWNET,
        "mount" => CloneFlags::CLONE_NEWNS,
        "ipc" => CloneFlags::CLONE_NEWIPC,
        "pid" => CloneFlags::CLONE_NEWPID,
        _ => panic!("no such namespace: {what}"),
    };
    nix::sched::unshare(flag)?;
    Ok("made one".to_owned())
}

/// Enters another's namespace.
pub(super) fn enter(path: &str) -> Outcome {
    setns(File::open(path)?, CloneFlags::empty())?;
    Ok("entered it".to_owned())
}

/// Mounts something, and takes it away again: without walls it is the host's tree.
pub(super) fn mount(path: &str) -> Outcome {
    let nothing: Option<&str> = None;
    nix::mount::mount(Some("none"), path, Some("tmpfs"), MsFlags::empty(), nothing)?;
    nix::mount::umount(path)?;
    Ok("mounted something".to_owned())
}

pub(super) fn chroot(path: &str) -> Outcome {
    nix::unistd::chroot(path)?;
    Ok("has another root".to_owned())
}

pub(super) fn open_queue(name: &str) -> Outcome {
    mq_open(name, MQ_OFlag::O_RDONLY, Mode::empty(), None)?;
    Ok("opened it".to_owned())
}

pub(super) fn take_memory(bytes: usize) -> Outcome {
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(bytes).map_err(io::Error::other)?;
    Ok(format!("has {} bytes", memory.capacity()))
}

/// Takes the processor for good.
pub(super) fn take_time() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

pub(super) fn open_files(count: usize) -> Outcome {
    let null = File::open("/dev/null")?;
    let copies = (1..count).map(|_| null.try_clone()).collect::<io::Result<Vec<_>>>()?;
    Ok(format!("opened {} at once", copies.len() + 1))
}
