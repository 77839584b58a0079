//! The walls around a game: what each layer of its confinement comes to on this machine.
//!
//! A layer that the kernel, or the rights that Muster was given, do not provide is left out with one line in the
//! log; the others hold. What can be prepared once is: namespaces for all games together, lists of system
//! calls by profile, paths by mode. A game is then confined by a handful of system calls in the
//! [launch step](crate::launch_step).

mod calls;
mod cgroups;
mod namespaces;
mod paths;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use log::warn;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;
use seccompiler::BpfProgram;

use crate::directories::of_mode;
use crate::launch_step::ResourceKind;
use crate::program::{Contract, Limits, Profile, Program};
use crate::wire::Setup;
use calls::{Calls, Use};
pub(crate) use cgroups::Group;
use cgroups::Tree;
pub(crate) use namespaces::NAME as NAMESPACES_NAME;
use namespaces::Namespaces;
pub(crate) use namespaces::run as make_namespaces;
pub(crate) use paths::Paths;

/// Users for templates, of whom there is one a mode, come after those for ports.
const PORTS: u32 = 1 << 16;

/// The user as whom games' processes are killed comes after those for templates, of whom there are fewer.
const KILLER: u32 = PORTS + 1024;

/// What confinement has to work with on this machine.
pub(crate) struct Confiner {
    first_user: Option<u32>,
    namespaces: Namespaces,
    tree: Option<Tree>,
    files_hard: u64,
}

/// A mode's walls, ready to be put up around any number of games.
pub(crate) struct Walls {
    namespaces: Vec<OwnedFd>,
    has_user: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) paths: Option<Paths>,
    calls: Option<Calls>,
    has_cgroup: bool,
    pub(crate) limits: Vec<(ResourceKind, u64)>,
    pub(crate) files_max: u64,
    wanted: Limits,
}

impl Confiner {
    /// Finds out what there is, and makes what is made once. The launcher takes as many descriptors as it may.
    pub(crate) fn new(setup: &Setup) -> Self {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
        let raised = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
        let files_hard = if raised.is_ok() { hard } else { soft };
        let wants = |layer: fn(&Program) -> bool| setup.programs.iter().any(layer);
        let namespaces = namespaces::Wanted {
            network: wants(wants_network),
            ipc: wants(|program| program.confinement.ipc),
            mount: wants(|program| program.confinement.mount),
        };
        let tree = wants(|program| program.confinement.cgroup)
            .then(|| Tree::find(setup.is_another))
            .flatten();
        Self {
            first_user: geteuid().is_root().then_some(setup.first_user),
            namespaces: Namespaces::make(namespaces, setup),
            tree,
            files_hard,
        }
    }

    /// Prepares the walls of a mode.
    pub(crate) fn walls(&self, program: &Program, mode: usize, place: &Path) -> Walls {
        let wanted = &program.confinement;
        let mut namespaces = Vec::new();
        let entered = [
            (wants_network(program), &self.namespaces.network),
            (wanted.ipc, &self.namespaces.ipc),
            (wanted.mount, &self.namespaces.mount),
        ];
        for (is_wanted, namespace) in entered {
            let copy = namespace.as_ref().filter(|_| is_wanted).map(OwnedFd::try_clone);
            namespaces.extend(copy.and_then(Result::ok));
        }
        // The rights to enter the others are had inside the user namespace that they belong to.
        if !namespaces.is_empty()
            && let Some(user) = self.namespaces.user.as_ref().and_then(|user| user.try_clone().ok())
        {
            namespaces.insert(0, user);
        }
        let files_max = wanted.limits.files_max.min(self.files_hard.saturating_sub(1));
        let has_user = wanted.user && self.first_user.is_some();
        let has_cgroup = wanted.cgroup && self.tree.is_some();
        let shares_user = !has_user || program.template.is_some();
        // The directories of a template's games are made after its walls, in a place that is the mode's alone. Else
        // all share one where each game has a user of its own, as nobody else gets into its directory.
        let shared = match (program.template.is_some(), has_user) {
            (true, _) => Some(of_mode(place, mode)),
            (false, true) => Some(place.to_owned()),
            (false, false) => None,
        };
        Walls {
            namespaces,
            has_user,
            no_new_privileges: wanted.no_new_privileges,
            paths: wanted.landlock.then(|| Paths::new(program, shared)).flatten(),
            calls: match wanted.seccomp {
                Profile::Off => None,
                profile => Some(Calls::new(profile, files_max, program.contract, shares_user)),
            },
            has_cgroup,
            limits: resource_limits(&wanted.limits, !shares_user),
            files_max,
            wanted: wanted.limits.clone(),
        }
    }

    /// The user as whom the game on a port runs.
    pub(crate) fn user_of_port(&self, walls: &Walls, port: u16) -> Option<u32> {
        self.first_user.filter(|_| walls.has_user).map(|first| first + u32::from(port))
    }

    /// The user as whom a mode's template runs, and all games that it forks.
    pub(crate) fn user_of_template(&self, walls: &Walls, mode: usize) -> Option<u32> {
        let offset = PORTS + u32::try_from(mode).unwrap_or_default();
        self.first_user.filter(|_| walls.has_user).map(|first| first + offset)
    }

    /// The user as whom all processes of another are killed.
    pub(crate) fn killer(&self) -> Option<u32> {
        self.first_user.map(|first| first + KILLER)
    }

    /// The daemon is gone; another one may come.
    pub(crate) fn release(&self) {
        if let Some(tree) = &self.tree {
            tree.release();
        }
    }

    /// Makes a control group, if the mode's games have one.
    pub(crate) fn make_group(&self, walls: &Walls, name: &str) -> Option<Group> {
        let tree = self.tree.as_ref().filter(|_| walls.has_cgroup)?;
        let made = tree.make(name, &walls.wanted);
        made.inspect_err(|error| warn!("cannot make the control group {name}: {error}")).ok()
    }
}

impl Walls {
    pub(crate) fn namespaces(&self) -> Vec<BorrowedFd<'_>> {
        self.namespaces.iter().map(OwnedFd::as_fd).collect()
    }

    /// The filter of system calls.
    pub(crate) fn filter(&self, is_dynamic: bool, is_template: bool) -> Option<&BpfProgram> {
        let used = Use { is_dynamic, is_template };
        self.calls.as_ref().and_then(|calls| calls.filter(used))
    }

    /// Whether scripts can be run: not where nothing may be opened.
    pub(crate) fn is_strict(&self) -> bool {
        self.calls.as_ref().is_some_and(Calls::is_strict)
    }
}

/// A program that binds its own port needs the network where players are.
fn wants_network(program: &Program) -> bool {
    program.confinement.network && program.contract != (Contract::Plain { binds: true })
}

/// The kernel's resource limits. Processes are counted by user: a game that shares one would be refused for what
/// others have.
fn resource_limits(limits: &Limits, has_own_user: bool) -> Vec<(ResourceKind, u64)> {
    let processes_max = limits.processes_max.filter(|_| has_own_user);
    let all = [
        (libc::RLIMIT_DATA, limits.memory_max),
        (libc::RLIMIT_CPU, limits.cpu_time_max),
        (libc::RLIMIT_FSIZE, limits.file_size_max),
        (libc::RLIMIT_NPROC, processes_max),
        (libc::RLIMIT_CORE, Some(0)),
    ];
    all.into_iter().filter_map(|(resource, max)| Some((resource, max?))).collect()
}

/// Says that a layer is not to be had.
fn unavailable(layer: &str, why: impl std::fmt::Display) {
    warn!("confinement without {layer}: {why}");
}

/// Whether a path is beneath another, or the same.
fn is_beneath(path: &Path, above: &Path) -> bool {
    path.starts_with(above)
}
