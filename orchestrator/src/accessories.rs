//! The admin socket and the HTTP listener, which the daemon can do without.
//!
//! Where the configuration says nothing, both are at their usual places if these are free; where they are not, the daemon
//! starts without, and says so in one line. Operators' commands look for the socket in the same [places].

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::admin::socket::{AdminSocket, LOCK_TIMEOUT};
use crate::http::Door;

/// The socket's name in a directory of Muster's.
const SOCKET: &str = "admin.sock";

/// Where the package's unit and a daemon of root have it: systemd's `RuntimeDirectory=muster`.
const SYSTEM_DIRECTORY: &str = "/run/muster";

/// Where HTTP is served unless the configuration says otherwise.
const METRICS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9107);

/// Where a daemon's admin socket may be that nobody configured, the likeliest first.
pub(crate) fn places() -> Vec<PathBuf> {
    let user = absolute("XDG_RUNTIME_DIR").map(|directory| directory.join("muster"));
    let directories = [given_directory(), user, Some(SYSTEM_DIRECTORY.into())];
    directories.into_iter().flatten().map(|directory| directory.join(SOCKET)).collect()
}

/// Opens the admin socket at its usual place, if that can be had.
pub(crate) fn usual_admin() -> Option<AdminSocket> {
    let without = |why: &dyn std::fmt::Display| {
        log::info!("no admin socket (listen.admin or --admin sets one): {why}");
    };
    let directory = usual_directory().inspect_err(|why| without(why)).ok()?;
    let path = directory.join(SOCKET);
    let socket = AdminSocket::bind(&path, LOCK_TIMEOUT).inspect_err(|error| without(error)).ok()?;
    log::info!("serving operators admin={}", path.display());
    Some(socket)
}

/// Opens the HTTP listener at its usual address, if that is free.
pub(crate) fn usual_metrics() -> Option<Door> {
    let bound = Door::bind(METRICS);
    let without = |error: &io::Error| {
        log::info!(
            "no HTTP (listen.metrics or --metrics sets an address): cannot listen on {METRICS}: {error}"
        );
    };
    bound.inspect_err(without).ok()
}

/// The directory for a socket that nobody configured: the service manager's, the system's for root, else the user's.
fn usual_directory() -> Result<PathBuf, String> {
    if let Some(given) = given_directory() {
        return Ok(given);
    }
    if geteuid().is_root() {
        return make(SYSTEM_DIRECTORY.into());
    }
    let user = absolute("XDG_RUNTIME_DIR").ok_or("XDG_RUNTIME_DIR is not set")?;
    make(user.join("muster"))
}

/// The directory that systemd made for the daemon.
fn given_directory() -> Option<PathBuf> {
    // systemd.exec(5): with several directories, their paths are separated by colons.
    let given = std::env::var_os("RUNTIME_DIRECTORY")?;
    std::env::split_paths(&given).next().filter(|path| path.is_absolute())
}

fn absolute(variable: &str) -> Option<PathBuf> {
    let value: Option<OsString> = std::env::var_os(variable);
    value.map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Makes sure that a directory is there in which nobody else can put a socket of theirs.
fn make(directory: PathBuf) -> Result<PathBuf, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", directory.display());
    match DirBuilder::new().mode(0o700).create(&directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed(&format_args!("cannot make the directory: {error}")));
        }
        Ok(()) | Err(_) => {}
    }
    match is_ours(&directory) {
        Ok(true) => Ok(directory),
        Ok(false) => Err(failed(&"it is not a directory that only this user can write to")),
        Err(error) => Err(failed(&error)),
    }
}

fn is_ours(directory: &Path) -> io::Result<bool> {
    let found = std::fs::symlink_metadata(directory)?;
    let others_may_write = found.mode() & 0o022 != 0;
    Ok(found.is_dir() && found.uid() == geteuid().as_raw() && !others_may_write)
}
