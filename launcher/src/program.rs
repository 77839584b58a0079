//! What a mode says of its games' processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A mode, as far as the launcher is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The mode's name.
    pub mode: String,
    /// The program, then its arguments.
    pub command: Vec<String>,
    /// Variables for the game besides those of the contract.
    pub env: BTreeMap<String, String>,
    /// What the program knows of Muster.
    pub contract: Contract,
    /// Where the program is started once and then forks its games: how many, before it is started anew.
    pub template: Option<u64>,
    /// From the start of a template to its `ready`.
    pub ready_timeout: Duration,
    /// What its games may do.
    pub confinement: Confinement,
}

impl Program {
    /// Whether the games of both are the same: how long one may take to load is not a matter of what it is.
    pub fn is(&self, other: &Self) -> bool {
        *self == Self { ready_timeout: self.ready_timeout, ..other.clone() }
    }

    /// The files and directories that the command's arguments name by absolute paths: a whole word, or what stands
    /// behind the first `=` of one, as in `--data=/srv/game`. What has to be listed to be read is left out.
    pub fn named_paths(&self) -> impl Iterator<Item = &Path> {
        self.words_that_are_paths().filter(|path| !is_too_wide(path))
    }

    /// The directories that the arguments name and that are too wide for that to open them: they are opened by
    /// `confinement.read` alone.
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

    /// All paths of the mode's own: what it runs, names, reads and writes.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let listed = self.confinement.read.iter().chain(&self.confinement.write);
        let program = self.command.first().map(Path::new);
        program.into_iter().chain(self.words_that_are_paths()).chain(listed.map(PathBuf::as_path))
    }

    /// The bound for what a game's working directory holds, if there is one to be watched: who opens nothing writes
    /// nothing.
    pub(crate) fn directory_max(&self) -> Option<u64> {
        let confinement = &self.confinement;
        confinement.limits.directory_max.filter(|_| confinement.seccomp != Profile::Strict)
    }

    /// Whether its games reach the network where players are: they bind their own port there, or are to see all of it.
    pub fn reaches_network(&self) -> bool {
        !self.confinement.network || !self.contract.inherits_socket()
    }
}

/// Directories of the system beneath which nothing is opened for being named: what is there is other programs', or
/// the kernel's.
const CLOSED: &[&str] =
    &["/proc", "/sys", "/dev", "/run", "/var/run", "/boot", "/etc/muster", "/root"];

/// Whether a directory holds more than one program's own files: one at the top, such as `/etc` or `/home`, somebody's
/// whole home, or one that belongs to the system.
fn is_too_wide(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else { return false };
    let depth = path.components().count() - 1;
    path.is_dir()
        && (depth <= 1
            || (depth == 2 && path.starts_with("/home"))
            || CLOSED.iter().any(|closed| path.starts_with(closed)))
}

/// What a program knows of Muster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Contract {
    /// `muster-game/1`: it takes its socket and speaks on its control channel.
    Muster,
    /// Nothing: it takes its socket as descriptor 3, or binds its port itself.
    Plain {
        /// Whether it binds its port itself.
        binds: bool,
    },
}

impl Contract {
    /// Whether its socket is bound before the program runs, as descriptor 3.
    pub fn inherits_socket(self) -> bool {
        self != Self::Plain { binds: true }
    }
}

/// The layers of a game's confinement. Each one is on unless the operator says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// As whom it runs, where Muster runs as root.
    pub user: User,
    /// No program that it runs can gain a right; prctl(2), `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// No network but its socket: an empty network namespace.
    pub network: bool,
    /// No shared memory, semaphores or message queues of the host: an IPC namespace.
    pub ipc: bool,
    /// A file system that is read-only except for its working directory: a mount namespace.
    pub mount: bool,
    /// No file but those listed here; landlock(7).
    pub landlock: bool,
    /// The system calls that it may make; seccomp(2).
    pub seccomp: Profile,
    /// A control group of its own, where a tree was delegated to Muster.
    pub cgroup: bool,
    /// Files and directories that it may read, and run programs from, besides the system's.
    pub read: Vec<PathBuf>,
    /// Files and directories that it may also write, besides its working directory.
    pub write: Vec<PathBuf>,
    /// What it may use.
    pub limits: Limits,
}

/// As whom a game runs, where Muster runs as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// As Muster itself.
    Muster,
    /// As a user that is this game's alone, or its template's.
    Own,
    /// As a user of the system, with that user's main group. Others may be the same user, so that nobody is killed or
    /// counted for being it.
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
    /// All that there are.
    Off,
    /// What programs use that mind their own business, in any language.
    Default,
    /// What it takes to play with descriptors that are there already: nothing is opened, made or run.
    Strict,
}

/// What a game may use; `None` is as much as Muster itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory: of its own data (setrlimit(2), `RLIMIT_DATA`), and in its control group all of it.
    pub memory_max: Option<u64>,
    /// Seconds on the processor, in all its threads.
    pub cpu_time_max: Option<u64>,
    /// Per cent of one processor, in its control group.
    pub cpu_max: Option<u64>,
    /// Open files.
    pub files_max: u64,
    /// Bytes in a file that it writes.
    pub file_size_max: Option<u64>,
    /// Bytes in its working directory, and files by them.
    #[serde(default)]
    pub directory_max: Option<u64>,
    /// Processes and threads. Counted where the game has a user or a control group of its own.
    pub processes_max: Option<u64>,
}
