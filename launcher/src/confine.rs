//! The confinement of games: what each layer amounts to on this machine.
//!
//! A layer that the kernel, or Muster's privileges, do not provide is left out with one line in the log; the others
//! are applied. What can be prepared once is prepared once: namespaces for all games together, seccomp filters by
//! profile, paths by program. The [launch step](crate::launch_step) then confines a game with a few system calls.

mod calls;
mod cgroups;
mod namespaces;
mod paths;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use log::warn;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{getegid, geteuid};

use crate::directories::program_directory;
use crate::launch_step::{
    CHANGE_USER, COVER_TMP, DROP_CAPABILITIES, ENTER_CGROUP, ENTER_DIRECTORY, ENTER_NAMESPACE,
    LaunchStepError, OwnNamespace, RESTRICT_CALLS, RESTRICT_FILES, ResourceKind,
};
use crate::limits::LOW_PORT_MAX;
use crate::limits::{TEMPLATE_PROCESSES_MIN, TEMPLATE_SHARES};
use crate::program::{Limits, Profile, Program, User};
use crate::trial::{MAKE_DIRECTORY, remedy};
use crate::wire::Setup;
pub(crate) use calls::Filter;
use calls::{ExtraCalls, Filters, ProgramKind};
use cgroups::Tree;
pub(crate) use cgroups::{Group, game_group};
pub(crate) use namespaces::NAME as NAMESPACES_NAME;
use namespaces::Namespaces;
pub(crate) use namespaces::run as make_namespaces;
pub(crate) use paths::Paths;

/// The lowest user of games, unless the configuration names another: the first of a range that systemd's list of
/// users and groups leaves unused.
pub const DEFAULT_FIRST_USER: u32 = 0x7000_0000;

/// Where programs put temporary files.
const TMP: &str = "/tmp";

/// The users of ports precede those of templates, one for each program.
const PORTS: u32 = 1 << 16;

/// Users for templates.
const TEMPLATES: u32 = 1024;

/// All users of games, for ports and for templates.
pub const USERS: u32 = PORTS + TEMPLATES;

/// The first user in a namespace that has only 65,536, as containers have that root did not start. No system user
/// and no login user has such a number, and the games on ports up to 35,000 fit.
const LOW_FIRST_USER: u32 = 30_000;

/// The layers of confinement that this machine offers.
pub(crate) struct Confiner {
    /// Set if Muster may change users.
    users: Option<Users>,
    may_be_named: bool,
    ports: (u16, u16),
    namespaces: Namespaces,
    tree: Option<Tree>,
    files_hard: u64,
    may_cover_tmp: bool,
    has_landlock: bool,
    has_seccomp: bool,
    may_drop_capabilities: bool,
    /// Set if each game gets its own user namespace, because games share Muster's user.
    own_namespaces: Option<OwnNamespaces>,
}

/// The common parts of the user namespaces of single games; see [`OwnNamespace`].
struct OwnNamespaces {
    proc: OwnedFd,
    user: CString,
    group: CString,
}

/// The users that only games have.
#[derive(Debug, Clone, Copy)]
struct Users {
    /// The game on port P runs as this user plus P.
    first: u32,
    /// The template of program N runs as this user plus N.
    templates: u32,
}

impl Users {
    fn from(first: u32) -> Self {
        Self { first, templates: first + PORTS }
    }
}

/// The user and group of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Identity {
    /// A user that no other process has, with a group of the same number.
    pub(crate) fn own(user: u32) -> Self {
        Self { user, group: user }
    }
}

/// A program's layers, ready to be applied to any number of games.
pub(crate) struct Layers {
    namespaces: Vec<OwnedFd>,
    /// Whether each game, or template, has its own user.
    has_user: bool,
    named_user: Option<Identity>,
    pub(crate) no_new_privileges: bool,
    /// Whether each game has its own /tmp, which is its working directory under another name.
    pub(crate) has_tmp: bool,
    /// Whether a game that stays root drops root's capabilities.
    pub(crate) drops_capabilities: bool,
    pub(crate) paths: Option<Paths>,
    filters: Option<Filters>,
    has_cgroup: bool,
    pub(crate) limits: Vec<(ResourceKind, u64)>,
    /// The limits of a game in its own user namespace.
    own_limits: Vec<(ResourceKind, u64)>,
    pub(crate) files_max: u64,
    wanted: Limits,
}

impl Confiner {
    /// Finds out what there is, and prepares what all games share. Raises the launcher's limit of descriptors.
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
            .then(|| Tree::find(setup.is_replacement))
            .flatten();
        let is_root = geteuid().is_root();
        let namespaces = Namespaces::create(namespaces, setup);
        let own_namespaces = namespaces.user.as_ref().and_then(|_| OwnNamespaces::new().ok());
        Self {
            users: is_root.then(|| Users::from(setup.first_user)),
            may_be_named: is_root,
            ports: setup.ports,
            namespaces,
            tree,
            files_hard,
            may_cover_tmp: true,
            has_landlock: true,
            has_seccomp: true,
            may_drop_capabilities: true,
            own_namespaces,
        }
    }

    /// Leaves out the layer that an attempt belongs to. Returns whether there is one.
    pub(crate) fn leave_out(&mut self, failed: LaunchStepError, program: &Program) -> bool {
        let LaunchStepError { attempt, errno } = failed;
        let layer = match attempt {
            MAKE_DIRECTORY | CHANGE_USER => match program.confinement.user {
                User::Own
                    if self.users.is_some() && errno == libc::EINVAL && self.use_low_users() =>
                {
                    return true;
                }
                User::Own if self.users.take().is_some() => "a user for each game",
                User::Named { .. } if std::mem::take(&mut self.may_be_named) => {
                    "the users that are named"
                }
                User::Muster | User::Own | User::Named { .. } => return false,
            },
            ENTER_NAMESPACE if self.namespaces.any() => {
                self.namespaces = Namespaces::default();
                "namespaces: games share the host's network and files"
            }
            ENTER_DIRECTORY if self.namespaces.mount.is_some() => {
                (self.namespaces.mount, self.namespaces.proc) = (None, None);
                "a mount namespace"
            }
            COVER_TMP if std::mem::take(&mut self.may_cover_tmp) => "a /tmp for each game",
            ENTER_CGROUP if self.tree.take().is_some() => "control groups",
            DROP_CAPABILITIES if std::mem::take(&mut self.may_drop_capabilities) => {
                "dropping root's capabilities, where games stay root"
            }
            RESTRICT_FILES if std::mem::take(&mut self.has_landlock) => {
                "Landlock, so games reach every file of their user"
            }
            RESTRICT_CALLS if std::mem::take(&mut self.has_seccomp) => "seccomp",
            _ => return false,
        };
        let error = std::io::Error::from_raw_os_error(errno);
        unavailable(
            layer,
            format!("cannot {attempt}: {error}; {}", remedy(attempt, errno, program)),
        );
        true
    }

    /// Uses fewer users, and lower ones unless the configuration named some, if it has not yet and the port
    /// ring's ports fit. Returns whether it did.
    fn use_low_users(&mut self) -> bool {
        let Some(users) = &mut self.users else { return false };
        let (first, last) = self.ports;
        let is_default = users.first >= DEFAULT_FIRST_USER;
        let fits = u32::from(first) > TEMPLATES && (!is_default || last <= LOW_PORT_MAX);
        let takes = fits && users.templates != users.first;
        if takes {
            let first = if is_default { LOW_FIRST_USER } else { users.first };
            // No game is on the ports below 1024, whose users these would be.
            *users = Users { first, templates: first };
        }
        takes
    }

    /// Prepares a program's layers.
    pub(crate) fn layers(&self, program: &Program, index: usize, root: &Path) -> Layers {
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
        // The others may be entered from inside the user namespace that they belong to.
        if !namespaces.is_empty()
            && let Some(user) = self.namespaces.user.as_ref().and_then(|user| user.try_clone().ok())
        {
            namespaces.insert(0, user);
        }
        let files_max = wanted.limits.files_max.min(self.files_hard.saturating_sub(1));
        let has_user = wanted.user == User::Own && self.users.is_some();
        let named_user = match wanted.user {
            User::Named { user, group } => Some(Identity { user, group }),
            User::Muster | User::Own => None,
        };
        let has_cgroup = wanted.cgroup && self.tree.is_some();
        let shares_user = !has_user || program.template.is_some();
        // A template's games have their directories in one of the program's own, created after the
        // template's ruleset. Otherwise all games share the root where each has its own user, which keeps
        // it out of the others' directories.
        let shared = match (program.template.is_some(), has_user) {
            (true, _) => Some(program_directory(root, index)),
            (false, true) => Some(root.to_owned()),
            (false, false) => None,
        };
        let has_mounts = wanted.mount && self.namespaces.mount.is_some();
        let has_tmp = has_mounts && self.has_tmp(program, root);
        let proc = self.namespaces.proc.as_ref().filter(|_| wanted.mount);
        let proc = proc.and_then(|proc| proc.try_clone().ok());
        let paths = (wanted.landlock && self.has_landlock)
            .then(|| Paths::new(program, shared, proc, has_tmp))
            .flatten();
        let extra = ExtraCalls {
            internet: program.reaches_network(),
            // Namespaces cover /run and /dev/shm, and /tmp is the game's own.
            unix: has_tmp && !shares_user,
            naming: !shares_user || (named_user.is_some() && has_mounts),
            own_threads: !shares_user,
            signals: !shares_user || paths.as_ref().is_some_and(|it| it.has_signal_scope),
        };
        let processes_max = match (wanted.limits.processes_max, program.template) {
            (Some(max), Some(_)) => {
                Some(max.saturating_mul(TEMPLATE_SHARES).max(TEMPLATE_PROCESSES_MIN))
            }
            (max, _) => max,
        };
        Layers {
            namespaces,
            has_user,
            named_user,
            has_tmp,
            no_new_privileges: wanted.no_new_privileges,
            drops_capabilities: wanted.no_new_privileges && self.may_drop_capabilities,
            paths,
            filters: match wanted.seccomp {
                _ if !self.has_seccomp => None,
                Profile::Off => None,
                profile => Some(Filters::new(profile, files_max, extra)),
            },
            has_cgroup,
            limits: resource_limits(&wanted.limits, processes_max.filter(|_| has_user)),
            own_limits: processes_max.into_iter().map(limit_of_processes).collect(),
            files_max,
            wanted: wanted.limits.clone(),
        }
    }

    /// Whether a program's games also see their working directory at /tmp. Not where files that they need are
    /// there, and not games that are forked in their template's mount namespace or open no files.
    fn has_tmp(&self, program: &Program, root: &Path) -> bool {
        let wanted = &program.confinement;
        self.may_cover_tmp
            && wanted.seccomp != Profile::Strict
            && program.template.is_none()
            && Path::new(TMP).is_dir()
            && program.paths().chain([root]).all(|path| !path.starts_with(TMP))
    }

    /// The named user that a program's games run as, if Muster may change users.
    pub(crate) fn named_user(&self, layers: &Layers) -> Option<Identity> {
        layers.named_user.filter(|_| self.may_be_named)
    }

    /// The user of the game on a port alone.
    pub(crate) fn user_of_port(&self, layers: &Layers, port: u16) -> Option<u32> {
        self.users.filter(|_| layers.has_user).map(|users| users.first + u32::from(port))
    }

    /// The user of a template and its games alone.
    pub(crate) fn user_of_template(&self, layers: &Layers, program: usize) -> Option<u32> {
        let index = u32::try_from(program).unwrap_or_default();
        self.users.filter(|_| layers.has_user).map(|users| users.templates + index)
    }

    /// The user namespace of a game that shares its user, in which its processes are counted.
    pub(crate) fn own_namespace<'a>(&'a self, layers: &'a Layers) -> Option<OwnNamespace<'a>> {
        let own = self.own_namespaces.as_ref().filter(|_| !layers.own_limits.is_empty())?;
        (!layers.namespaces.is_empty()).then(|| OwnNamespace {
            proc: own.proc.as_fd(),
            user: &own.user,
            group: &own.group,
            limits: &layers.own_limits,
        })
    }

    /// Releases the control groups: the daemon is gone, and another one may come.
    pub(crate) fn release(&self) {
        if let Some(tree) = &self.tree {
            tree.release();
        }
    }

    /// Creates a control group, if the program's games have one.
    pub(crate) fn make_group(&self, layers: &Layers, name: &str) -> Option<Group> {
        let tree = self.tree.as_ref().filter(|_| layers.has_cgroup)?;
        let made = tree.make(name, &layers.wanted);
        made.inspect_err(|error| warn!("cannot create the control group {name}: {error}")).ok()
    }
}

impl OwnNamespaces {
    fn new() -> io::Result<Self> {
        let line = |id: u32| CString::new(format!("{id} {id} 1"));
        Ok(Self {
            proc: File::open("/proc")?.into(),
            user: line(geteuid().as_raw())?,
            group: line(getegid().as_raw())?,
        })
    }
}

impl Layers {
    pub(crate) fn namespaces(&self) -> Vec<BorrowedFd<'_>> {
        self.namespaces.iter().map(OwnedFd::as_fd).collect()
    }

    /// The seccomp filter.
    pub(crate) fn filter(&self, is_dynamic: bool, is_template: bool) -> Option<&Filter> {
        let kind = ProgramKind { is_dynamic, is_template };
        self.filters.as_ref().and_then(|filters| filters.filter(kind))
    }
}

/// Whether its games have an empty network namespace.
fn wants_network(program: &Program) -> bool {
    !program.reaches_network()
}

/// The kernel's resource limits. Processes are counted by user: a game that shares one would be refused because of
/// the others'. No limit can exceed Muster's own.
fn resource_limits(limits: &Limits, processes_max: Option<u64>) -> Vec<(ResourceKind, u64)> {
    let all = [
        (Resource::RLIMIT_DATA, limits.memory_max),
        (Resource::RLIMIT_CPU, limits.cpu_time_max),
        (Resource::RLIMIT_FSIZE, limits.file_size_max),
        (Resource::RLIMIT_NPROC, processes_max),
        (Resource::RLIMIT_CORE, Some(0)),
        // No game gets priority over others.
        (Resource::RLIMIT_NICE, Some(0)),
        (Resource::RLIMIT_RTPRIO, Some(0)),
    ];
    let at_most = |resource, max: u64| getrlimit(resource).map_or(max, |(_, hard)| max.min(hard));
    let limit = |(resource, max): (Resource, Option<u64>)| {
        Some((resource as ResourceKind, at_most(resource, max?)))
    };
    all.into_iter().filter_map(limit).collect()
}

/// The limit of a user's processes, which cannot exceed Muster's own.
fn limit_of_processes(max: u64) -> (ResourceKind, u64) {
    let hard = getrlimit(Resource::RLIMIT_NPROC).map_or(max, |(_, hard)| hard);
    (libc::RLIMIT_NPROC, max.min(hard))
}

/// Logs that a layer is unavailable; once, however many programs want it.
fn unavailable(layer: &str, why: impl std::fmt::Display) {
    warn_once(format!("confinement without {layer}: {why}"));
}

/// Logs a warning once in the launcher's life.
fn warn_once(text: String) {
    static LOGGED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if !logged.contains(&text) {
        warn!("{text}");
        logged.insert(text);
    }
}

/// Whether a path is beneath another, or the same.
fn is_beneath(path: &Path, above: &Path) -> bool {
    path.starts_with(above)
}
