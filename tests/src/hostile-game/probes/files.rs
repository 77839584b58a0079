//! Files that are none of a game's.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::Outcome;

/// Opening counts: the kernel asks then whether it may be read. (What is read of memory at 0 is an error.)
pub(super) fn read(path: &str) -> Outcome {
    let mut file = File::open(path)?;
    let length = file.read(&mut [0; 100]);
    Ok(format!("read {length:?} bytes"))
}

pub(super) fn list(path: &str) -> Outcome {
    let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    Ok(format!("saw {} entries", entries.len()))
}

pub(super) fn write(path: &str) -> Outcome {
    OpenOptions::new().append(true).open(path)?;
    Ok("opened it for writing".to_owned())
}

pub(super) fn create(path: &str) -> Outcome {
    File::create_new(path)?;
    let removed = fs::remove_file(path);
    Ok(format!("made it, removed it: {removed:?}"))
}

/// A program that runs cannot be written to, but its name can be given to another.
pub(super) fn rename(path: &str) -> Outcome {
    let elsewhere = format!("{path}-moved");
    fs::rename(path, &elsewhere)?;
    fs::rename(&elsewhere, path)?;
    Ok("moved it there and back".to_owned())
}

pub(super) fn change_mode(path: &str) -> Outcome {
    let permissions = fs::metadata(path)?.permissions();
    fs::set_permissions(path, Permissions::from_mode(permissions.mode() & 0o7777))?;
    Ok("set its mode".to_owned())
}

/// Writes two bytes, the last of which is past a limit of `bytes`.
pub(super) fn fill(path: &str, bytes: u64) -> Outcome {
    let mut file = File::create(path)?;
    file.seek(SeekFrom::Start(bytes - 1))?;
    file.write_all(b"x")?;
    file.write_all(b"y")?;
    Ok(format!("wrote more than {bytes} bytes"))
}

/// The first disk, whatever it is.
pub(super) fn make_device(path: &str) -> Outcome {
    mknod(path, SFlag::S_IFBLK, Mode::S_IRWXU, makedev(8, 0))?;
    let removed = fs::remove_file(path);
    Ok(format!("made it, removed it: {removed:?}"))
}

/// Watches a directory.
pub(super) fn watch(path: &str) -> Outcome {
    use rustix::fs::inotify;
    let watches = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watches, path, inotify::WatchFlags::CREATE)?;
    Ok("watches it".to_owned())
}
