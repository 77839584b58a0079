//! The files that a game may use, and its TCP ports; landlock(7).

use std::cell::RefCell;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

use super::{TMP, unavailable, warn_once};
use crate::program::{Profile, Program};

/// The newest kernel feature that is used; an older kernel provides what it has.
const NEWEST: ABI = ABI::V6;

/// System files that all games may read and run.
const SYSTEM: &[&str] = &[
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr",
    "/nix/store",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    // OpenSSL, and so Node, does not start without it; keys are elsewhere.
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
];

/// Prefixes of the directories in /etc that language runtimes read at their start, and of fonts: nothing there is
/// secret.
const RUNTIMES: &[&str] = &["java", "mono", "dotnet", "python3", "perl", "fonts"];

/// The public certificates of authorities.
const CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates",
];

/// Files for looking up the names of hosts and services, for games with a network.
const NAMES: &[&str] = &[
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/protocols",
];

/// Harmless devices.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// A program's paths, opened once.
pub(crate) struct Paths {
    allowed: Vec<(PathFd, BitFlags<AccessFs>)>,
    /// The rights of a game in its working directory.
    own: BitFlags<AccessFs>,
    /// The ruleset that all of a program's games share, if they may, and the files that it allows.
    shared: RefCell<Option<(Vec<Identity>, Rc<OwnedFd>)>>,
    /// The directory above all working directories, if every game may use it.
    root: Option<PathBuf>,
    tcp: Tcp,
    /// The games' own /proc.
    proc: Option<OwnedFd>,
    /// Whether games must see themselves in the host's /proc, because they have none of their own.
    needs_host_proc: bool,
    /// Whether the kernel keeps a game's signals inside the game (Landlock's ABI 6, Linux 6.12).
    pub(super) has_signal_scope: bool,
}

/// The rights of a game over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tcp {
    /// Listen on its own port, if it binds that itself.
    OwnPort,
    /// Whatever the network permits: the operator gave it the host's.
    Anything,
}

/// The identity of a file, even when another one takes its name: device and inode.
type Identity = (u64, u64);

impl Paths {
    /// Opens what the system and the mode allow. `None`: the kernel has no Landlock.
    ///
    /// With `root`, the directory above all working directories, one ruleset serves all games: that is faster,
    /// and only allowed where something else keeps games out of each other's directories.
    pub(super) fn new(
        program: &Program,
        root: Option<PathBuf>,
        proc: Option<OwnedFd>,
        has_tmp: bool,
    ) -> Option<Self> {
        let tcp = if program.confinement.network { Tcp::OwnPort } else { Tcp::Anything };
        if let Err(error) = ruleset(tcp) {
            unavailable("Landlock, so games reach every file of their user", error);
            return None;
        }
        if let Err(error) = whole_ruleset() {
            unavailable("all of Landlock: this kernel has an older one", error);
        }
        // A strict game runs nothing. A seccomp filter cannot read a program's name, so Landlock keeps
        // `strict` programs from running others.
        let run = match program.confinement.seccomp {
            Profile::Strict => BitFlags::empty(),
            Profile::Default | Profile::Off => BitFlags::from(AccessFs::Execute),
        };
        let read = (AccessFs::from_read(NEWEST) & !BitFlags::from(AccessFs::Execute)) | run;
        let write = (AccessFs::from_all(NEWEST) & !BitFlags::from(AccessFs::Execute)) | run;
        let device = AccessFs::ReadFile | AccessFs::WriteFile;
        let names = if program.reaches_network() { NAMES } else { &[] };
        let system = [SYSTEM, CERTIFICATES, names].concat();
        let system = system.iter().map(|path| (PathBuf::from(path), read));
        let system = system.chain(runtimes().map(|path| (path, read)));
        let devices = DEVICES.iter().map(|path| (PathBuf::from(path), device));
        let mut allowed: Vec<_> = system
            .chain(devices)
            // Not every system has all of them.
            .filter_map(|(path, access)| Some((PathFd::new(&path).ok()?, access_to(&path, access))))
            .collect();
        let listed = &program.confinement;
        let listed = listed
            .read
            .iter()
            .map(|path| (path, read))
            .chain(listed.write.iter().map(|path| (path, write)));
        for (path, access) in listed {
            match PathFd::new(path) {
                Ok(opened) => allowed.push((opened, access_to(path, access))),
                Err(error) => {
                    warn_once(format!(
                        "mode {}: games will not find a path: {error}",
                        program.mode
                    ));
                }
            }
        }
        // The /tmp that covers it in each game's mount namespace is beneath it all the same.
        if let Some(tmp) = has_tmp.then(|| PathFd::new(TMP).ok()).flatten() {
            allowed.push((tmp, write));
        }
        // A strict game opens nothing.
        let needs_proc = program.confinement.seccomp != Profile::Strict;
        let proc = proc.filter(|_| needs_proc);
        let needs_host_proc = needs_proc && proc.is_none() && program.template.is_none();
        let root = root.filter(|_| !needs_host_proc);
        Some(Self {
            allowed,
            own: write,
            shared: RefCell::new(None),
            root,
            tcp,
            proc,
            needs_host_proc,
            has_signal_scope: scopes_signals(),
        })
    }

    /// Whether the launch step must open to each game its own directory in the host's /proc.
    pub(crate) fn needs_host_proc(&self) -> bool {
        self.needs_host_proc
    }

    /// The ruleset of a game, with its working directory, the files that it is run from or that its command
    /// names, and the port that it binds itself. `None`: the kernel has no Landlock.
    pub(crate) fn ruleset<'a>(
        &self,
        directory: &Path,
        run: impl Iterator<Item = &'a Path>,
        named: impl Iterator<Item = &'a Path>,
        port: Option<u16>,
    ) -> Result<Option<Rc<OwnedFd>>, RulesetError> {
        let run = run.map(|file| (file, AccessFs::ReadFile | AccessFs::Execute));
        let read = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
        let named = named.map(|path| (path, access_to(path, self.own & read)));
        let files: Vec<(PathFd, BitFlags<AccessFs>)> = run
            .chain(named)
            .filter_map(|(file, access)| Some((PathFd::new(file).ok()?, access)))
            .collect();
        let port = port.filter(|_| self.tcp == Tcp::OwnPort);
        let Some(root) = self.root.as_ref().filter(|_| port.is_none()) else {
            return Ok(self.make_ruleset(directory, &files, port)?.map(Rc::new));
        };
        // A program that was reinstalled has the same name and is another file.
        let identities: Vec<Identity> = files.iter().map(|(file, _)| identity(file)).collect();
        if let Some((of, shared)) = &*self.shared.borrow()
            && *of == identities
        {
            return Ok(Some(Rc::clone(shared)));
        }
        let made = self.make_ruleset(root, &files, None)?.map(Rc::new);
        *self.shared.borrow_mut() = made.clone().map(|made| (identities, made));
        Ok(made)
    }

    /// The names of the paths that all games may use, besides their directories: what a template's forks leave
    /// open when they restrict themselves. Names with a colon cannot be passed in the variable for it.
    pub(crate) fn names(&self) -> impl Iterator<Item = PathBuf> {
        let opened = self.allowed.iter().map(|(path, _)| path.as_fd().as_raw_fd());
        let names =
            opened.filter_map(|number| std::fs::read_link(format!("/proc/self/fd/{number}")).ok());
        names.chain(self.proc.as_ref().map(|_| PathBuf::from("/proc")))
    }

    fn make_ruleset(
        &self,
        directory: &Path,
        files: &[(PathFd, BitFlags<AccessFs>)],
        port: Option<u16>,
    ) -> Result<Option<OwnedFd>, RulesetError> {
        let mut ruleset = ruleset(self.tcp)?;
        if let Some(port) = port {
            // A game that binds all addresses of the host uses the same port on each.
            ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
        }
        for (path, access) in &self.allowed {
            ruleset = ruleset.add_rule(PathBeneath::new(path, *access))?;
        }
        if let Some(proc) = &self.proc {
            let access = AccessFs::ReadFile | AccessFs::ReadDir;
            ruleset = ruleset.add_rule(PathBeneath::new(proc, access))?;
        }
        if let Ok(directory) = PathFd::new(directory) {
            ruleset = ruleset.add_rule(PathBeneath::new(directory, self.own))?;
        }
        for (file, access) in files {
            ruleset = ruleset.add_rule(PathBeneath::new(file, *access))?;
        }
        Ok(ruleset.into())
    }
}

/// As `ruleset`, but fails if the kernel cannot restrict all of it.
fn whole_ruleset() -> Result<landlock::RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()
}

/// The existing directories of language runtimes.
fn runtimes() -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir("/etc").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        RUNTIMES.iter().any(|runtime| name.starts_with(runtime)) && path.is_dir()
    })
}

fn scopes_signals() -> bool {
    let strictly = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    strictly.scope(Scope::Signal).is_ok()
}

fn identity(file: &PathFd) -> Identity {
    rustix::fs::fstat(file).map_or((0, 0), |stat| (stat.st_dev, stat.st_ino))
}

/// A ruleset without permissions, for everything that the kernel can restrict: files, TCP unless it is free, and
/// signals and abstract sockets of outside processes.
fn ruleset(tcp: Tcp) -> Result<landlock::RulesetCreated, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?;
    match tcp {
        Tcp::OwnPort => ruleset.handle_access(AccessNet::from_all(NEWEST))?.create(),
        Tcp::Anything => ruleset.create(),
    }
}

/// A file has fewer access rights than a directory.
fn access_to(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) }
}
