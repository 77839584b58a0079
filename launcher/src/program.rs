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

    /// The files that the command's arguments name, by absolute paths.
    pub(crate) fn named_files(&self) -> impl Iterator<Item = &Path> {
        let words = self.command.iter().skip(1).map(Path::new);
        words.filter(|path| path.is_absolute() && path.is_file())
    }
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

/// The layers of a game's confinement. Each one is on unless the operator says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// A user of its own, where Muster runs as root.
    pub user: bool,
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
    /// Processes and threads. Counted where the game has a user or a control group of its own.
    pub processes_max: Option<u64>,
}
