//! Which files a game may reach, and which TCP ports; landlock(7).

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

/// The newest kernel feature that is asked for; an older kernel gives what it has.
const NEWEST: ABI = ABI::V6;

/// What programs are made of, on the systems that there are: all may read it, and run it.
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
    // Without it OpenSSL, and so Node, does not even start; keys are elsewhere.
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
];

/// How the directories in /etc begin that language runtimes read at their start, and fonts: nothing there is secret.
const RUNTIMES: &[&str] = &["java", "mono", "dotnet", "python3", "perl", "fonts"];

/// The public certificates of authorities.
const CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates",
];

/// What names are looked up by, of hosts and services, where there is a network.
const NAMES: &[&str] = &[
    "/etc/nsswitch.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/protocols",
];

/// Devices without a memory.
const DEVICES: &[&str] = &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// A mode's paths, opened once.
pub(crate) struct Paths {
    allowed: Vec<(PathFd, BitFlags<AccessFs>)>,
    /// What a game may do in its working directory.
    own: BitFlags<AccessFs>,
    /// The ruleset that all of a mode's games share, where they may, and the files that it is for.
    shared: RefCell<Option<(Vec<Identity>, Rc<OwnedFd>)>>,
    /// The place above all working directories, where it may be open to each game.
    place: Option<PathBuf>,
    tcp: Tcp,
    /// The games' own /proc.
    proc: Option<OwnedFd>,
    /// Whether games are to see themselves in the host's /proc, for want of their own.
    sees_itself: bool,
    /// Whether the kernel keeps a game's signals inside the game (Landlock's ABI 6, Linux 6.12).
    pub(super) has_signal_scope: bool,
}

/// What a game may do over TCP, in whatever network it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tcp {
    /// Listen on its own port, if it binds it itself.
    OwnPort,
    /// Whatever the network lets it: the operator gave it the host's.
    Anything,
}

/// A file as the kernel tells it from another one that takes its name: device and number.
type Identity = (u64, u64);

impl Paths {
    /// Opens what the system and the mode allow. `None`: the kernel has no Landlock.
    ///
    /// With `place`, the place above all working directories, one ruleset serves all games: it is made quicker, and
    /// to be asked for only where something else keeps games out of each other's directories.
    pub(super) fn new(
        program: &Program,
        place: Option<PathBuf>,
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
        // Who only plays runs nothing. A filter of system calls cannot see what a program is called, so it is here
        // that `strict` programs are kept from running others.
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
                Err(error) => warn_once(format!(
                    "mode {}: games will not find a path of theirs: {error}",
                    program.mode
                )),
            }
        }
        // What covers it in each game's mount namespace is found beneath it all the same.
        if let Some(tmp) = has_tmp.then(|| PathFd::new(TMP).ok()).flatten() {
            allowed.push((tmp, write));
        }
        // Who only plays opens nothing.
        let needs_proc = program.confinement.seccomp != Profile::Strict;
        let proc = proc.filter(|_| needs_proc);
        let sees_itself = needs_proc && proc.is_none() && program.template.is_none();
        let place = place.filter(|_| !sees_itself);
        Some(Self {
            allowed,
            own: write,
            shared: RefCell::new(None),
            place,
            tcp,
            proc,
            sees_itself,
            has_signal_scope: scopes_signals(),
        })
    }

    /// Whether the launch step is to open to each game what the host's /proc tells about it.
    pub(crate) fn are_to_show_itself(&self) -> bool {
        self.sees_itself
    }

    /// The ruleset for a game, with its working directory, the files that it is run from or that its command names, and
    /// the port that it binds itself. `None`: an older kernel than the one that was asked at the start.
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
        let Some(place) = self.place.as_ref().filter(|_| port.is_none()) else {
            return Ok(self.make_ruleset(directory, &files, port)?.map(Rc::new));
        };
        // A program that was installed anew has its old name and is another file.
        let identities: Vec<Identity> = files.iter().map(|(file, _)| identity(file)).collect();
        if let Some((of, shared)) = &*self.shared.borrow()
            && *of == identities
        {
            return Ok(Some(Rc::clone(shared)));
        }
        let made = self.make_ruleset(place, &files, None)?.map(Rc::new);
        *self.shared.borrow_mut() = made.clone().map(|made| (identities, made));
        Ok(made)
    }

    /// The names of what is open to all games, besides their directories: what a template's forks leave open when they
    /// shut themselves in. Those with a colon cannot be told in the variable that it is for.
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
            // Who binds every address of the host finds the same port on each.
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

/// As `ruleset`, but an error where the kernel does not know to forbid all of it.
fn whole_ruleset() -> Result<landlock::RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()
}

/// The directories of language runtimes that there are.
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

/// Nothing is allowed yet, of anything that the kernel knows to forbid: files, TCP where it is not free, and signals and
/// abstract sockets of processes outside.
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

/// A file has fewer ways to be used than a directory.
fn access_to(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) }
}
