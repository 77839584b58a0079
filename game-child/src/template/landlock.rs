//! Separates the forks of one template: they have one user, and share the template's Landlock domain. So each fork
//! enters its own domain before it plays, which contains its own directory and not those of its siblings; its
//! signals, and connections to abstract sockets, stay inside. landlock(7).

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

/// The variable in which Muster lists the paths that the template may use, in the format of `PATH`. If it is not
/// set, forks are not restricted.
const PATHS: &str = "MUSTER_LANDLOCK_PATHS";

/// The newest kernel feature that is used; an older kernel provides what it has.
const NEWEST: ABI = ABI::V6;

/// The ruleset of all forks: the paths that they may use as far as their template may, opened once.
pub(super) struct ForkRuleset {
    shared: Vec<PathFd>,
}

impl ForkRuleset {
    /// Opens the paths that Muster lists. `None`: forks are not restricted.
    pub(super) fn prepare() -> Option<Self> {
        Some(Self::of(&env::var_os(PATHS)?))
    }

    fn of(paths: &OsStr) -> Self {
        let paths = env::split_paths(paths).filter(|path| path.is_absolute());
        Self { shared: paths.filter_map(|path| PathFd::new(path).ok()).collect() }
    }

    /// Restricts this process to the shared paths and its own directory. It gains no access: the template's ruleset
    /// still applies.
    ///
    /// # Errors
    /// When the directory does not exist, or the kernel refuses.
    pub(super) fn restrict(self, directory: &Path) -> io::Result<()> {
        let directory = PathFd::new(directory).map_err(io::Error::other)?;
        self.enter(&directory).map_err(io::Error::other)
    }

    fn enter(self, directory: &PathFd) -> Result<(), RulesetError> {
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
        // Muster has set no_new_privs, without which the kernel refuses.
        ruleset.no_new_privs(false).restrict_self()?;
        Ok(())
    }
}
