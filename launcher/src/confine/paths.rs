//! Which files a game may reach; landlock(7).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, Scope,
};

use super::unavailable;
use crate::program::Program;

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
}

impl Paths {
    /// Opens what the system and the mode allow. `None`: the kernel has no Landlock.
    pub(super) fn new(program: &Program) -> Option<Self> {
        if let Err(error) = ruleset() {
            unavailable("Landlock, so games reach every file of their user", error);
            return None;
        }
        let read = AccessFs::from_read(NEWEST);
        let write = AccessFs::from_all(NEWEST);
        let device = AccessFs::ReadFile | AccessFs::WriteFile;
        let system = SYSTEM.iter().map(|path| (Path::new(*path), read));
        let devices = DEVICES.iter().map(|path| (Path::new(*path), device));
        let mut allowed: Vec<_> = system
            .chain(devices)
            // Not every system has all of them.
            .filter_map(|(path, access)| Some((PathFd::new(path).ok()?, access)))
            .collect();
        // A file that the command names is listed by that: the script of an interpreter, for one.
        let named =
            program.named_files().map(|path| (path, AccessFs::ReadFile | AccessFs::Execute));
        let named = named.filter_map(|(path, access)| Some((PathFd::new(path).ok()?, access)));
        allowed.extend(named);
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
        Some(Self { allowed })
    }

    /// A ruleset for one game, with what is its alone: its working directory, and the files that it is run from.
    pub(crate) fn ruleset(
        &self,
        directory: &Path,
        programs: &[&PathBuf],
    ) -> Result<Option<OwnedFd>, RulesetError> {
        let mut ruleset = ruleset()?;
        for (path, access) in &self.allowed {
            ruleset = ruleset.add_rule(PathBeneath::new(path, *access))?;
        }
        if let Ok(directory) = PathFd::new(directory) {
            ruleset = ruleset.add_rule(PathBeneath::new(directory, AccessFs::from_all(NEWEST)))?;
        }
        for program in programs {
            if let Ok(program) = PathFd::new(program) {
                let access = AccessFs::ReadFile | AccessFs::Execute;
                ruleset = ruleset.add_rule(PathBeneath::new(program, access))?;
            }
        }
        Ok(ruleset.into())
    }
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
