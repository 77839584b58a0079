//! The point of no return: this process executes another program, and hands it everything.
//!
//! The program is executed from the descriptor that was opened for the preflight, so that the file that was tried out is
//! the one that is executed, whatever has that name by now. The descriptors that the snapshot names stay open, the kernel
//! closes all others. Signals stay blocked and pending meanwhile; execve(2), signal(7).

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use brain::Brain;
use rustix::fs::{MemfdFlags, memfd_create};

use super::descriptors::InheritedFds;
use super::snapshot::Snapshot;
use crate::{logging, store};

/// The environment variable that names the snapshot for the next program: the number of a descriptor.
const VARIABLE: &str = "MUSTER_UPGRADE_STATE";

/// A program that may take over.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    file: OwnedFd,
}

/// Why a program cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("cannot find the path of this program: {0}")]
    Own(io::Error),
    #[error("cannot open {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
}

impl Program {
    /// Opens a program; at `None` the one that this process was started as, by its name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn open(path: Option<PathBuf>) -> Result<Self, ProgramError> {
        let path = path.map_or_else(own_path, Ok).map_err(ProgramError::Own)?;
        match OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(&path) {
            Ok(file) => Ok(Self { path, file: file.into() }),
            Err(source) => Err(ProgramError::Open { path, source }),
        }
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Executes it with this process's own arguments, and hands it the snapshot. Returns only if that fails; then
    /// everything is as it was.
    pub(crate) fn execute(
        &self,
        snapshot: &Snapshot,
        brain: &Brain,
        kept: &InheritedFds,
    ) -> io::Error {
        let execute = || -> io::Result<Infallible> {
            let state = write_snapshot(snapshot, brain)?;
            let numbers = || kept.numbers().iter().copied().chain([state.as_raw_fd()]);
            let name = self.path.clone().into_os_string();
            let arguments = c_strings([name].into_iter().chain(std::env::args_os().skip(1)))?;
            // Threads end here, the log's too.
            let environment = c_strings(environment(state.as_raw_fd(), logging::finish()))?;
            let inherit = |it| numbers().try_for_each(|number| process::set_inherited(number, it));
            let error = match inherit(true) {
                Ok(()) => match nix::unistd::fexecve(&self.file, &arguments, &environment) {
                    Ok(never) => match never {},
                    Err(error) => error.into(),
                },
                Err(error) => error,
            };
            inherit(false)?;
            Err(error)
        };
        match execute() {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }
}

/// Writes a snapshot into a file without a name, to be read from its beginning.
///
/// # Errors
/// When there is no memory, or no descriptor.
pub(super) fn write_snapshot(snapshot: &Snapshot, brain: &Brain) -> io::Result<File> {
    let mut file = File::from(memfd_create("muster-state", MemfdFlags::CLOEXEC)?);
    snapshot.write(brain, &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// Whether another program has executed this one and left a snapshot.
pub(crate) fn is_handed_over() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// The snapshot that the program before this one has left. `None`: this is a new process.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn handed_over() -> io::Result<Option<Vec<u8>>> {
    let Some(number) = process::variable(VARIABLE) else { return Ok(None) };
    let number = number.to_str().and_then(|number| number.parse().ok());
    let number: RawFd = number.ok_or(io::ErrorKind::InvalidInput)?;
    let mut text = Vec::new();
    File::from(process::take_inherited(number)?).read_to_end(&mut text)?;
    Ok(Some(text))
}

fn environment(state: RawFd, lost_lines: u64) -> impl Iterator<Item = OsString> {
    let is_passed_on = |(name, _): &(OsString, OsString)| {
        let own = [VARIABLE, logging::LOST_VARIABLE];
        own.iter().chain(&store::VARIABLES).all(|other| name != other)
    };
    let join = |(name, value): (OsString, OsString)| {
        [&*name, OsStr::new("="), &*value].into_iter().collect()
    };
    let own = OsString::from(format!("{VARIABLE}={state}"));
    let lost = format!("{}={lost_lines}", logging::LOST_VARIABLE);
    let lost = (lost_lines > 0).then(|| OsString::from(lost));
    std::env::vars_os().filter(is_passed_on).map(join).chain([own]).chain(lost)
}

/// What this process was started as, looked up as a shell would: a link may lead to a newer program by now.
fn own_path() -> io::Result<PathBuf> {
    let name = std::env::args_os().next().unwrap_or_default();
    let path = Path::new(&name);
    if name.as_bytes().contains(&b'/') {
        return std::path::absolute(path);
    }
    let places = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&places).map(|place| place.join(path)).find(|it| it.is_file());
    let mut own =
        found.map_or_else(|| std::fs::read_link("/proc/self/exe"), Ok)?.into_os_string().into_vec();
    // proc(5), of a file that was replaced by another of the same name.
    if own.ends_with(DELETED) {
        own.truncate(own.len() - DELETED.len());
    }
    Ok(OsString::from_vec(own).into())
}

const DELETED: &[u8] = b" (deleted)";

fn c_strings(words: impl Iterator<Item = OsString>) -> io::Result<Vec<CString>> {
    words.map(|word| Ok(CString::new(word.into_vec())?)).collect()
}
