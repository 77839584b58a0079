//! What keeps the forks of one template apart: they have one user, and the template's Landlock domain is that of all
//! of them. So each fork enters one of its own before it plays, in which its own directory is, and the directories of
//! its siblings are not; and which its signals, and connections to abstract sockets, do not leave. landlock(7).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

/// The variable in which Muster names the paths that its own walls leave open to the template, like those of `PATH`.
/// Where it is not set, the operator wants no such walls.
const PATHS: &str = "MUSTER_LANDLOCK_PATHS";

/// The newest kernel feature that is asked for; an older kernel gives what it has.
const NEWEST: ABI = ABI::V6;

/// The paths that all forks may use as far as their template may, opened once.
pub(super) struct Walls {
    shared: Vec<PathFd>,
}

impl Walls {
    /// Opens what Muster names. `None`: no walls are wanted.
    pub(super) fn prepare() -> Option<Self> {
        Some(Self::of(&env::var_os(PATHS)?))
    }

    fn of(paths: &OsStr) -> Self {
        let paths = env::split_paths(paths).filter(|path| path.is_absolute());
        Self { shared: paths.filter_map(|path| PathFd::new(path).ok()).collect() }
    }

    /// Shuts this process in, with a directory of its own, and closes what was opened for that. Nothing becomes open to
    /// it that was not: that is for the walls of the template to say.
    ///
    /// # Errors
    /// When there is no such directory, or the kernel has no room.
    pub(super) fn raise(self, directory: &Path) -> io::Result<()> {
        let directory = PathFd::new(directory).map_err(io::Error::other)?;
        self.shut(&directory).map_err(io::Error::other)
    }

    fn shut(self, directory: &PathFd) -> Result<(), RulesetError> {
        let all = AccessFs::from_all(NEWEST);
        let mut ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)?
            .scope(Scope::from_all(NEWEST))?
            .create()?
            .add_rule(PathBeneath::new(directory, all))?;
        for path in &self.shared {
            ruleset = ruleset.add_rule(PathBeneath::new(path, all))?;
        }
        // Muster has seen to it that nobody here can gain rights, without which the kernel refuses.
        ruleset.no_new_privs(false).restrict_self()?;
        Ok(())
    }
}
