//! Which files a game may reach; landlock(7).

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

use super::unavailable;
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
}

/// A file as the kernel tells it from another one that takes its name: device and number.
type Identity = (u64, u64);

impl Paths {
    /// Opens what the system and the mode allow. `None`: the kernel has no Landlock.
    ///
    /// With `place`, the place above all working directories, one ruleset serves all games: it is made quicker, and
    /// to be asked for only where something else keeps games out of each other's directories.
    pub(super) fn new(program: &Program, place: Option<PathBuf>) -> Option<Self> {
        if let Err(error) = ruleset() {
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
        let system = SYSTEM.iter().map(|path| (Path::new(*path), read));
        let devices = DEVICES.iter().map(|path| (Path::new(*path), device));
        let mut allowed: Vec<_> = system
            .chain(devices)
            // Not every system has all of them.
            .filter_map(|(path, access)| Some((PathFd::new(path).ok()?, access)))
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
                Err(error) => log::warn!(
                    "mode {}: games will not find a path of theirs: {error}",
                    program.mode
                ),
            }
        }
        Some(Self { allowed, own: write, shared: RefCell::new(None), place })
    }

    /// The ruleset for a game, with its working directory and the files that it is run from or that its command names.
    /// `None`: an older kernel than the one that was asked at the start.
    pub(crate) fn ruleset<'a>(
        &self,
        directory: &Path,
        run: impl Iterator<Item = &'a Path>,
        named: impl Iterator<Item = &'a Path>,
    ) -> Result<Option<Rc<OwnedFd>>, RulesetError> {
        let run = run.map(|file| (file, AccessFs::ReadFile | AccessFs::Execute));
        let named = named.map(|file| (file, self.own & (AccessFs::ReadFile | AccessFs::Execute)));
        let files: Vec<(PathFd, BitFlags<AccessFs>)> = run
            .chain(named)
            .filter_map(|(file, access)| Some((PathFd::new(file).ok()?, access)))
            .collect();
        let Some(place) = &self.place else {
            return Ok(self.make_ruleset(directory, &files)?.map(Rc::new));
        };
        // A program that was installed anew has its old name and is another file.
        let identities: Vec<Identity> = files.iter().map(|(file, _)| identity(file)).collect();
        if let Some((of, shared)) = &*self.shared.borrow()
            && *of == identities
        {
            return Ok(Some(Rc::clone(shared)));
        }
        let made = self.make_ruleset(place, &files)?.map(Rc::new);
        *self.shared.borrow_mut() = made.clone().map(|made| (identities, made));
        Ok(made)
    }

    fn make_ruleset(
        &self,
        directory: &Path,
        files: &[(PathFd, BitFlags<AccessFs>)],
    ) -> Result<Option<OwnedFd>, RulesetError> {
        let mut ruleset = ruleset()?;
        for (path, access) in &self.allowed {
            ruleset = ruleset.add_rule(PathBeneath::new(path, *access))?;
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

fn identity(file: &PathFd) -> Identity {
    rustix::fs::fstat(file).map_or((0, 0), |stat| (stat.st_dev, stat.st_ino))
}

/// Nothing is allowed yet, of anything that the kernel knows to forbid: files, TCP, and signals and abstract
/// sockets of processes outside.
fn ruleset() -> Result<landlock::RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()
}

/// A file has fewer ways to be used than a directory.
fn access_to(path: &Path, access: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    if path.is_dir() { access } else { access & AccessFs::from_file(NEWEST) }
}
