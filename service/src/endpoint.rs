//! Where optional listeners are: the admin socket and HTTP, which the daemon can run without.
//!
//! Without a setting both are at their default locations if these are free. The daemon creates its admin socket at
//! [`default_admin_socket`]; operators' commands look for it at the [`admin_socket_candidates`].

use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::unistd::geteuid;

/// The word that turns a listener off. A file of this name is written `./off`.
const OFF: &str = "off";

/// The socket's name in its directory.
const SOCKET: &str = "admin.sock";

/// The directory for the package's unit and for root: systemd's `RuntimeDirectory=muster`.
const SYSTEM_DIRECTORY: &str = "/run/muster";

/// The location of an optional listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Endpoint<T> {
    /// The default location, if it is free.
    #[default]
    Default,
    /// None.
    Off,
    /// This one, as soon as it is available.
    At(T),
}

impl<T> Endpoint<T> {
    /// This location; if it is the default one, the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Default => other,
            Self::Off | Self::At(_) => self,
        }
    }
}

impl FromStr for Endpoint<PathBuf> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            OFF => Ok(Self::Off),
            "" => Err("must be a path, or \"off\"".to_owned()),
            path => Ok(Self::At(path.into())),
        }
    }
}

impl FromStr for Endpoint<SocketAddr> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = || format!("must be an address and port, or \"off\", is \"{text}\"");
        match text {
            OFF => Ok(Self::Off),
            address => address.parse().map(Self::At).map_err(|_| problem()),
        }
    }
}

/// Why there is no directory for the admin socket.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is no user session.
    #[error("XDG_RUNTIME_DIR is not set")]
    NoSession,
    /// It cannot be created.
    #[error("cannot create the directory {}: {source}", path.display())]
    Create {
        /// Its path.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// Other users could replace the socket.
    #[error("{} is not a directory that only this user can write to", .0.display())]
    Shared(PathBuf),
    /// Its owner cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

/// The paths at which a daemon without `listen.admin` may have its admin socket, the likeliest first.
pub fn admin_socket_candidates() -> Vec<PathBuf> {
    let user = absolute("XDG_RUNTIME_DIR").map(|directory| directory.join("muster"));
    let directories = [runtime_directory(), user, Some(SYSTEM_DIRECTORY.into())];
    directories.into_iter().flatten().map(|directory| directory.join(SOCKET)).collect()
}

/// The path for the admin socket of a daemon without `listen.admin`: in the service manager's directory, else in the
/// system's for root or the user's, which is created.
///
/// # Errors
/// When there is no such directory.
pub fn default_admin_socket() -> Result<PathBuf, DirectoryError> {
    let directory = match runtime_directory() {
        Some(given) => given,
        None if geteuid().is_root() => create(SYSTEM_DIRECTORY.into())?,
        None => {
            let user = absolute("XDG_RUNTIME_DIR").ok_or(DirectoryError::NoSession)?;
            create(user.join("muster"))?
        }
    };
    Ok(directory.join(SOCKET))
}

/// The directory that systemd created for the daemon.
fn runtime_directory() -> Option<PathBuf> {
    // systemd.exec(5): with several directories, their paths are separated by colons.
    let given = std::env::var_os("RUNTIME_DIRECTORY")?;
    std::env::split_paths(&given).next().filter(|path| path.is_absolute())
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Creates a directory in which no other user can put a socket, or checks that it is one.
fn create(path: PathBuf) -> Result<PathBuf, DirectoryError> {
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(DirectoryError::Create { path, source });
        }
        Ok(()) | Err(_) => {}
    }
    match is_private(&path) {
        Ok(true) => Ok(path),
        Ok(false) => Err(DirectoryError::Shared(path)),
        Err(source) => Err(DirectoryError::Read { path, source }),
    }
}

fn is_private(directory: &Path) -> io::Result<bool> {
    let found = std::fs::symlink_metadata(directory)?;
    let others_may_write = found.mode() & 0o022 != 0;
    Ok(found.is_dir() && found.uid() == geteuid().as_raw() && !others_may_write)
}
