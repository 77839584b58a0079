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

use crate::directories::of_mode;
use crate::launch_step::{
    CHANGE_USER, COVER_TMP, ENTER_CGROUP, ENTER_DIRECTORY, ENTER_NAMESPACE, GIVE_UP_RIGHTS,
    OwnNamespace, RESTRICT_CALLS, RESTRICT_FILES, ResourceKind, Stumble,
};
use crate::program::{Limits, Profile, Program, User};
use crate::trial::{MAKE_DIRECTORY, cure};
use crate::wire::Setup;
pub(crate) use calls::Filter;
use calls::{Besides, Calls, Use};
pub(crate) use cgroups::Group;
use cgroups::Tree;
pub(crate) use namespaces::NAME as NAMESPACES_NAME;
use namespaces::Namespaces;
pub(crate) use namespaces::run as make_namespaces;
pub(crate) use paths::Paths;

/// The lowest user of games, where the configuration does not say another: the first of a range that systemd's list of
/// users and groups leaves to nobody; the last one is far off.
pub const DEFAULT_FIRST_USER: u32 = 0x7000_0000;

/// Where programs of all kinds put what does not last.
const TMP: &str = "/tmp";

/// Users for templates, of whom there is one a mode, come after those for ports.
const PORTS: u32 = 1 << 16;

/// Templates, of whom there are fewer.
const TEMPLATES: u32 = 1024;

/// Users of games, for ports and for templates.
pub const USERS: u32 = PORTS + TEMPLATES;

/// The first user in a namespace that has only 65,536, as containers have that root did not start. No system's own users
/// and nobody who logs in is here, and the games on ports up to 35,000 fit in.
const FEW_FIRST: u32 = 30_000;
const FEW_PORTS: u32 = 35_000;

/// What confinement has to work with on this machine.
pub(crate) struct Confiner {
    /// Where Muster may become other users.
    users: Option<Users>,
    may_be_named: bool,
    ports: (u16, u16),
    namespaces: Namespaces,
    tree: Option<Tree>,
    files_hard: u64,
    may_have_tmp: bool,
    has_landlock: bool,
    has_seccomp: bool,
    gives_up_rights: bool,
    /// What a user namespace for each game takes, where games share the user of Muster.
    own_namespaces: Option<OwnNamespaces>,
}

/// What is the same of all user namespaces that are one game's; see [`OwnNamespace`].
struct OwnNamespaces {
    proc: OwnedFd,
    user: CString,
    group: CString,
}

/// The users that nobody else is, by what they are for.
#[derive(Debug, Clone, Copy)]
struct Users {
    /// The game on port P is this user plus P.
    first: u32,
    /// Where those for templates begin.
    templates: u32,
}

impl Users {
    fn from(first: u32) -> Self {
        Self { first, templates: first + PORTS }
    }
}

/// As whom a process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Identity {
    /// One whom nobody else is, with a group of the same number.
    pub(crate) fn own(user: u32) -> Self {
        Self { user, group: user }
    }
}

/// A mode's walls, ready to be put up around any number of games.
pub(crate) struct Walls {
    namespaces: Vec<OwnedFd>,
    /// A user for each game, or template.
    has_user: bool,
    named_user: Option<Identity>,
    pub(crate) no_new_privileges: bool,
    /// Whether each game has a /tmp of its own, which is its working directory by another name.
    pub(crate) has_tmp: bool,
    /// Whether a game that stays root gives up root's rights.
    pub(crate) gives_up_rights: bool,
    pub(crate) paths: Option<Paths>,
    calls: Option<Calls>,
    has_cgroup: bool,
    pub(crate) limits: Vec<(ResourceKind, u64)>,
    /// Those that a game has in a user namespace of its own.
    own_limits: Vec<(ResourceKind, u64)>,
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
        let is_root = geteuid().is_root();
        let namespaces = Namespaces::make(namespaces, setup);
        let own_namespaces = namespaces.user.as_ref().and_then(|_| OwnNamespaces::new().ok());
        Self {
            users: is_root.then(|| Users::from(setup.first_user)),
            may_be_named: is_root,
            ports: setup.ports,
            namespaces,
            tree,
            files_hard,
            may_have_tmp: true,
            has_landlock: true,
            has_seccomp: true,
            gives_up_rights: true,
            own_namespaces,
        }
    }

    /// Does without the layer that an attempt was part of. Whether there is one.
    pub(crate) fn leave_out(&mut self, stumble: Stumble, program: &Program) -> bool {
        let Stumble { attempt, errno } = stumble;
        let layer = match attempt {
            MAKE_DIRECTORY | CHANGE_USER => match program.confinement.user {
                User::Own if self.users.is_some() && errno == libc::EINVAL && self.take_few() => {
                    return true;
                }
                User::Own if self.users.take().is_some() => "a user for each game",
                User::Named { .. } if std::mem::take(&mut self.may_be_named) => {
                    "the users that are named"
                }
                User::Muster | User::Own | User::Named { .. } => return false,
            },
            ENTER_NAMESPACE if self.namespaces.are_there() => {
                self.namespaces = Namespaces::default();
                "namespaces: games share the host's network and files"
            }
            ENTER_DIRECTORY if self.namespaces.mount.is_some() => {
                (self.namespaces.mount, self.namespaces.proc) = (None, None);
                "a mount namespace"
            }
            COVER_TMP if std::mem::take(&mut self.may_have_tmp) => "a /tmp for each game",
            ENTER_CGROUP if self.tree.take().is_some() => "control groups",
            GIVE_UP_RIGHTS if std::mem::take(&mut self.gives_up_rights) => {
                "giving up root's rights, where games stay root"
            }
            RESTRICT_FILES if std::mem::take(&mut self.has_landlock) => {
                "Landlock, so games reach every file of their user"
            }
            RESTRICT_CALLS if std::mem::take(&mut self.has_seccomp) => "seccomp",
            _ => return false,
        };
        let error = std::io::Error::from_raw_os_error(errno);
        unavailable(layer, format!("cannot {attempt}: {error}; {}", cure(attempt, errno, program)));
        true
    }

    /// Takes fewer users, and lower ones where the configuration named none, if it has not yet and the ring's ports fit.
    /// Whether it did.
    fn take_few(&mut self) -> bool {
        let Some(users) = &mut self.users else { return false };
        let (first, last) = self.ports;
        let is_default = users.first >= DEFAULT_FIRST_USER;
        let fits = u32::from(first) > TEMPLATES && (!is_default || u32::from(last) <= FEW_PORTS);
        let takes = fits && users.templates != users.first;
        if takes {
            let first = if is_default { FEW_FIRST } else { users.first };
            // Nobody is on the ports below 1024, whose users these would be.
            *users = Users { first, templates: first };
        }
        takes
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
        let has_user = wanted.user == User::Own && self.users.is_some();
        let named_user = match wanted.user {
            User::Named { user, group } => Some(Identity { user, group }),
            User::Muster | User::Own => None,
        };
        let has_cgroup = wanted.cgroup && self.tree.is_some();
        let shares_user = !has_user || program.template.is_some();
        // The directories of a template's games are made after its walls, in a place that is the mode's alone. Else
        // all share one where each game has a user of its own, as nobody else gets into its directory.
        let shared = match (program.template.is_some(), has_user) {
            (true, _) => Some(of_mode(place, mode)),
            (false, true) => Some(place.to_owned()),
            (false, false) => None,
        };
        let has_mounts = wanted.mount && self.namespaces.mount.is_some();
        let has_tmp = has_mounts && self.has_tmp(program, place);
        let proc = self.namespaces.proc.as_ref().filter(|_| wanted.mount);
        let proc = proc.and_then(|proc| proc.try_clone().ok());
        let paths = (wanted.landlock && self.has_landlock)
            .then(|| Paths::new(program, shared, proc, has_tmp))
            .flatten();
        let besides = Besides {
            internet: program.reaches_network(),
            // /run and /dev/shm are covered by namespaces, /tmp is the game's own.
            unix: has_tmp && !shares_user,
            naming: !shares_user || (named_user.is_some() && has_mounts),
            own_threads: !shares_user,
            signals: !shares_user || paths.as_ref().is_some_and(|it| it.has_signal_scope),
        };
        let processes_max = match (wanted.limits.processes_max, program.template) {
            (Some(max), Some(_)) => {
                Some(max.saturating_mul(TEMPLATE_SHARES).max(TEMPLATE_PROCESSES))
            }
            (max, _) => max,
        };
        Walls {
            namespaces,
            has_user,
            named_user,
            has_tmp,
            no_new_privileges: wanted.no_new_privileges,
            gives_up_rights: wanted.no_new_privileges && self.gives_up_rights,
            paths,
            calls: match wanted.seccomp {
                _ if !self.has_seccomp => None,
                Profile::Off => None,
                profile => Some(Calls::new(profile, files_max, besides)),
            },
            has_cgroup,
            limits: resource_limits(&wanted.limits, processes_max.filter(|_| has_user)),
            own_limits: processes_max.into_iter().map(limit_of_processes).collect(),
            files_max,
            wanted: wanted.limits.clone(),
        }
    }

    /// Whether a mode's games each find their working directory at /tmp, too. Not where what they need is there, and not
    /// those that are forked in their template's mount namespace or open nothing.
    fn has_tmp(&self, program: &Program, place: &Path) -> bool {
        let wanted = &program.confinement;
        self.may_have_tmp
            && wanted.seccomp != Profile::Strict
            && program.template.is_none()
            && Path::new(TMP).is_dir()
            && program.paths().chain([place]).all(|path| !path.starts_with(TMP))
    }

    /// The user of the system as whom a mode's games run, if Muster may become others.
    pub(crate) fn named_user(&self, walls: &Walls) -> Option<Identity> {
        walls.named_user.filter(|_| self.may_be_named)
    }

    /// The user who is the game on a port alone.
    pub(crate) fn user_of_port(&self, walls: &Walls, port: u16) -> Option<u32> {
        self.users.filter(|_| walls.has_user).map(|users| users.first + u32::from(port))
    }

    /// The user who is a mode's template alone, and all games that it forks.
    pub(crate) fn user_of_template(&self, walls: &Walls, mode: usize) -> Option<u32> {
        let mode = u32::try_from(mode).unwrap_or_default();
        self.users.filter(|_| walls.has_user).map(|users| users.templates + mode)
    }

    /// The user namespace for a game alone, where it has no user of its own, and counts what it has by that.
    pub(crate) fn own_namespace<'a>(&'a self, walls: &'a Walls) -> Option<OwnNamespace<'a>> {
        let own = self.own_namespaces.as_ref().filter(|_| !walls.own_limits.is_empty())?;
        (!walls.namespaces.is_empty()).then(|| OwnNamespace {
            proc: own.proc.as_fd(),
            user: &own.user,
            group: &own.group,
            limits: &walls.own_limits,
        })
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

impl Walls {
    pub(crate) fn namespaces(&self) -> Vec<BorrowedFd<'_>> {
        self.namespaces.iter().map(OwnedFd::as_fd).collect()
    }

    /// The filter of system calls.
    pub(crate) fn filter(&self, is_dynamic: bool, is_template: bool) -> Option<&Filter> {
        let used = Use { is_dynamic, is_template };
        self.calls.as_ref().and_then(|calls| calls.filter(used))
    }
}

/// Whether its games are in a network of their own, with nobody in it.
fn wants_network(program: &Program) -> bool {
    !program.reaches_network()
}

/// Processes of a template and all its games, which count as one user's, in those of one game, and at least.
const TEMPLATE_SHARES: u64 = 64;
const TEMPLATE_PROCESSES: u64 = 4096;

/// The kernel's resource limits. Processes are counted by user: a game that shares one would be refused for what
/// others have. More than Muster itself may use nobody can be given.
fn resource_limits(limits: &Limits, processes_max: Option<u64>) -> Vec<(ResourceKind, u64)> {
    let all = [
        (Resource::RLIMIT_DATA, limits.memory_max),
        (Resource::RLIMIT_CPU, limits.cpu_time_max),
        (Resource::RLIMIT_FSIZE, limits.file_size_max),
        (Resource::RLIMIT_NPROC, processes_max),
        (Resource::RLIMIT_CORE, Some(0)),
        // No game takes precedence over others by itself.
        (Resource::RLIMIT_NICE, Some(0)),
        (Resource::RLIMIT_RTPRIO, Some(0)),
    ];
    let at_most = |resource, max: u64| getrlimit(resource).map_or(max, |(_, hard)| max.min(hard));
    let limit = |(resource, max): (Resource, Option<u64>)| {
        Some((resource as ResourceKind, at_most(resource, max?)))
    };
    all.into_iter().filter_map(limit).collect()
}

/// The limit to the processes of a user, of which nobody can be given more than Muster may have.
fn limit_of_processes(max: u64) -> (ResourceKind, u64) {
    let hard = getrlimit(Resource::RLIMIT_NPROC).map_or(max, |(_, hard)| hard);
    (libc::RLIMIT_NPROC, max.min(hard))
}

/// Says that a layer is not to be had; once, however many modes want it.
fn unavailable(layer: &str, why: impl std::fmt::Display) {
    warn_once(format!("confinement without {layer}: {why}"));
}

/// Says something once in the launcher's life.
fn warn_once(text: String) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.contains(&text) {
        warn!("{text}");
        said.insert(text);
    }
}

/// Whether a path is beneath another, or the same.
fn is_beneath(path: &Path, above: &Path) -> bool {
    path.starts_with(above)
}
