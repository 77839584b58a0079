//! The program of a mode, and its confinement.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A mode's program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The mode's name, for its environment and the log.
    pub mode: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Environment variables besides those of the contract.
    pub env: BTreeMap<String, String>,
    /// The contract that the program implements.
    pub contract: Contract,
    /// For a template: the number of games that it forks before it is restarted.
    pub template: Option<u64>,
    /// From the start of a template to `ready`.
    pub ready_timeout: Duration,
    /// The confinement of its games.
    pub confinement: Confinement,
}

impl Program {
    /// Whether the games of both are alike: how long a template may take to load does not change them.
    pub fn same_process_as(&self, other: &Self) -> bool {
        *self == Self { ready_timeout: self.ready_timeout, ..other.clone() }
    }

    /// The files and directories that the command's arguments name by absolute paths: a whole word, or the part
    /// of one after its first `=`, as in `--data=/srv/game`. Directories that hold more than one program's
    /// files are omitted ([`too_wide_paths`](Self::too_wide_paths)).
    pub fn named_paths(&self) -> impl Iterator<Item = &Path> {
        self.words_that_are_paths().filter(|path| !is_too_wide(path))
    }

    /// The directories that the arguments name and that naming alone does not open, because they are too wide:
    /// only `confinement.read` does.
    pub fn too_wide_paths(&self) -> impl Iterator<Item = &Path> {
        self.words_that_are_paths().filter(|path| is_too_wide(path))
    }

    fn words_that_are_paths(&self) -> impl Iterator<Item = &Path> {
        let words = self.command.iter().skip(1);
        let paths = words.flat_map(|word| {
            let value = word.split_once('=').map(|(_, value)| value);
            [Some(word.as_str()), value].into_iter().flatten().map(Path::new)
        });
        paths.filter(|path| path.is_absolute() && (path.is_file() || path.is_dir()))
    }

    /// All paths of the mode: what it runs, names, reads and writes.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let listed = self.confinement.read.iter().chain(&self.confinement.write);
        let program = self.command.first().map(Path::new);
        program.into_iter().chain(self.words_that_are_paths()).chain(listed.map(PathBuf::as_path))
    }

    /// The bound of a game's working directory, if it must be measured: a game that opens no files writes none.
    pub(crate) fn directory_max(&self) -> Option<u64> {
        let confinement = &self.confinement;
        confinement.limits.directory_max.filter(|_| confinement.seccomp != Profile::Strict)
    }

    /// Whether its games are in the players' network: they bind their own port there, or their network is not
    /// confined.
    pub fn reaches_network(&self) -> bool {
        !self.confinement.network || !self.contract.inherits_socket()
    }
}

/// System directories in which a path is not opened because an argument names it: they belong to other programs, or
/// to the kernel.
const CLOSED: &[&str] =
    &["/proc", "/sys", "/dev", "/run", "/var/run", "/boot", "/etc/muster", "/root"];

/// Whether a directory holds more than one program's own files: a top-level one, such as `/etc` or `/home`, a
/// user's home, or one of the system.
fn is_too_wide(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let depth = path.components().count() - 1;
    path.is_dir()
        && (depth <= 1
            || (depth == 2 && path.starts_with("/home"))
            || CLOSED.iter().any(|closed| path.starts_with(closed)))
}

/// The contract between Muster and a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contract {
    /// `muster-game/1`: it takes its socket, and speaks on its control channel.
    Muster,
    /// None: it takes its socket as descriptor 3, or binds its port itself.
    Plain {
        /// Whether it binds its port itself.
        binds: bool,
    },
}

impl Contract {
    /// Whether the program gets its bound socket as descriptor 3.
    pub fn inherits_socket(self) -> bool {
        self != Self::Plain { binds: true }
    }
}

/// The layers of a game's confinement. Each is on unless the operator turns it off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The user it runs as, if Muster runs as root.
    pub user: User,
    /// No program that it runs can gain a privilege; prctl(2), `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// No network except its socket: an empty network namespace.
    pub network: bool,
    /// No shared memory, semaphores or message queues of the host: an IPC namespace.
    pub ipc: bool,
    /// A file system that is read-only except for its working directory: a mount namespace.
    pub mount: bool,
    /// Only the files listed here; landlock(7).
    pub landlock: bool,
    /// The system calls it may make; seccomp(2).
    pub seccomp: Profile,
    /// A control group of its own, where a tree was delegated to Muster.
    pub cgroup: bool,
    /// Files and directories it may read, and run programs from, besides the system's.
    pub read: Vec<PathBuf>,
    /// Files and directories it may also write, besides its working directory.
    pub write: Vec<PathBuf>,
    /// The limits of its resources.
    pub limits: Limits,
}

/// The user a game runs as, if Muster runs as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// Muster's own.
    Muster,
    /// A user of this game alone, or of its template.
    Own,
    /// A user of the system, with that user's main group. Other processes may have the same user, so that none
    /// is killed or counted because of it.
    Named {
        /// The user.
        user: u32,
        /// Its group.
        group: u32,
    },
}

/// A list of system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// All system calls.
    Off,
    /// Those of ordinary programs in any language.
    Default,
    /// Those of a game that uses only the descriptors it inherits: it opens, creates and runs nothing.
    Strict,
}

/// A game's resource limits; `None` is as much as Muster itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory: of its own data (setrlimit(2), `RLIMIT_DATA`), and of everything in its control group.
    pub memory_max: Option<u64>,
    /// Seconds of processor time of all its threads.
    pub cpu_time_max: Option<u64>,
    /// Per cent of one processor, in its control group.
    pub cpu_max: Option<u64>,
    /// Open files.
    pub files_max: u64,
    /// Bytes in a file it writes.
    pub file_size_max: Option<u64>,
    /// Bytes in its working directory; the number of files follows from it.
    pub directory_max: Option<u64>,
    /// Processes and threads. Counted if the game has its own user or control group.
    pub processes_max: Option<u64>,
}
