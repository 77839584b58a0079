//! The executable that a command's first word names, and the files that it needs to be loaded.

use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::limits::{HEAD_BYTES, INTERPRETERS_MAX, SHEBANG_BYTES_MAX};
use crate::program::{Profile, Program};

/// Checks whether a program can be run, as far as that is known in advance.
///
/// # Errors
/// The reason: it does not exist, is not executable, its interpreter does not exist, or it is a script that its
/// confinement cannot run.
pub fn check(program: &Program) -> io::Result<()> {
    let exe = std::env::current_exe().ok();
    let beside = exe.as_ref().and_then(|exe| exe.parent());
    let executable = Executable::open(find(&program.command[0], beside)?)?;
    executable.fits(program.confinement.seccomp)
}

/// Looks a program up beside our own binary first, then in `PATH`; a path is used as it is.
pub(crate) fn find(name: &str, beside: Option<&Path>) -> io::Result<PathBuf> {
    if name.contains('/') {
        return std::path::absolute(name);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = beside.map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
    let mut candidates = directories.map(|directory| directory.join(name));
    candidates.find(|candidate| is_executable(candidate)).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "no such program beside muster or in PATH")
    })
}

/// A program, resolved to what the kernel can load.
pub(crate) struct Executable {
    /// The executable: the program, or its interpreter.
    pub(crate) file: File,
    /// The files that must be readable: the program and its interpreters.
    pub(crate) files: Vec<PathBuf>,
    /// The words before the command's own arguments.
    pub(crate) words: Vec<CString>,
    pub(crate) is_dynamic: bool,
    /// Its dynamic loader.
    pub(crate) loader: Option<PathBuf>,
    /// Whether it is a 32-bit program, whose system calls have other numbers.
    pub(crate) is_32_bit: bool,
}

impl Executable {
    /// Opens a program. A script is resolved to its interpreter, as the kernel does: programs are run by
    /// descriptor, and that of a script would be closed before its interpreter could read it.
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let mut files = vec![path];
        let mut words: Vec<CString> = Vec::new();
        for _ in 0..INTERPRETERS_MAX {
            let Some(path) = files.last() else { break };
            let word = c_string(path.as_os_str().as_bytes())?;
            let of_interpreter = |error: io::Error| match files.len() {
                1 => error,
                _ => io::Error::new(
                    error.kind(),
                    format!("its interpreter {}: {error}", path.display()),
                ),
            };
            match Kind::of(path).map_err(of_interpreter)? {
                Kind::Script { interpreter, argument } => {
                    words.splice(0..0, argument.into_iter().chain([word]));
                    files.push(interpreter);
                }
                Kind::Program { is_dynamic, loader, is_32_bit } => {
                    let file =
                        OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path)?;
                    words.insert(0, word);
                    return Ok(Self { file, files, words, is_dynamic, loader, is_32_bit });
                }
            }
        }
        Err(io::Error::other("its interpreters are scripts without end"))
    }

    /// Checks whether a seccomp profile lets it run.
    pub(crate) fn fits(&self, seccomp: Profile) -> io::Result<()> {
        match seccomp {
            Profile::Strict if self.files.len() > 1 => Err(io::Error::other(
                "it is a script, which confinement.seccomp = \"strict\" cannot run; set it to \"default\"",
            )),
            // Its system calls have numbers that no filter knows.
            Profile::Strict | Profile::Default if self.is_32_bit => Err(io::Error::other(
                "it is a program of 32 bits, whose system calls confinement.seccomp cannot filter; use a build \
                 for 64 bits, or set it to \"off\"",
            )),
            Profile::Strict | Profile::Default | Profile::Off => Ok(()),
        }
    }

    /// All files that running it executes.
    pub(crate) fn run_files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().chain(&self.loader).map(PathBuf::as_path)
    }
}

/// The kind of an executable file.
enum Kind {
    Script { interpreter: PathBuf, argument: Option<CString> },
    Program { is_dynamic: bool, loader: Option<PathBuf>, is_32_bit: bool },
}

impl Kind {
    fn of(path: &Path) -> io::Result<Self> {
        if !is_executable(path) {
            let metadata = fs::metadata(path)?;
            let what = if metadata.is_file() { "not executable" } else { "not a file" };
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        let mut head = vec![0; HEAD_BYTES];
        match File::open(path) {
            Ok(mut file) => {
                let length = file.read(&mut head)?;
                head.truncate(length);
            }
            // An executable need not be readable.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => head.clear(),
            Err(error) => return Err(error),
        }
        let Some(line) = head.strip_prefix(b"#!") else {
            let linkage = Linkage::of(&head);
            let is_dynamic = linkage != Linkage::Static;
            let loader = if let Linkage::By(loader) = linkage { Some(loader) } else { None };
            // elf(5): ELFCLASS32.
            let is_32_bit = head.starts_with(b"\x7fELF\x01");
            return Ok(Self::Program { is_dynamic, loader, is_32_bit });
        };
        let line = &line[..line.len().min(SHEBANG_BYTES_MAX)];
        let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii();
        let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let (interpreter, argument) = line.split_at(end);
        let argument = argument.trim_ascii();
        let argument = (!argument.is_empty()).then(|| c_string(argument)).transpose()?;
        Ok(Self::Script { interpreter: OsStr::from_bytes(interpreter).into(), argument })
    }
}

/// How a program is linked.
#[derive(Debug, PartialEq, Eq)]
enum Linkage {
    Static,
    /// By a dynamic loader, at its start.
    By(PathBuf),
    /// It has no known format, or cannot be read.
    Unknown,
}

impl Linkage {
    /// Reads an ELF file's program headers: a dynamic one has one of type `PT_INTERP`; elf(5).
    fn of(head: &[u8]) -> Self {
        const PT_INTERP: usize = 3;
        let number = |at: usize, length: usize| {
            let bytes = head.get(at..at.checked_add(length)?)?;
            Some(bytes.iter().rev().fold(0_usize, |number, &byte| number << 8 | usize::from(byte)))
        };
        // 64 bits, little-endian.
        if !head.starts_with(b"\x7fELF\x02\x01") {
            return Self::Unknown;
        }
        let read = || {
            let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
            for index in 0..count {
                let header = table.checked_add(size * index)?;
                if number(header, 4)? == PT_INTERP {
                    let (at, length) =
                        (number(header.checked_add(8)?, 8)?, number(header + 32, 8)?);
                    let name = head.get(at..at.checked_add(length)?)?;
                    let name = name.strip_suffix(b"\0").unwrap_or(name);
                    return Some(Self::By(OsStr::from_bytes(name).into()));
                }
            }
            Some(Self::Static)
        };
        read().unwrap_or(Self::Unknown)
    }
}

pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

pub(crate) fn c_string(bytes: &[u8]) -> io::Result<CString> {
    Ok(CString::new(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_resolved_to_its_interpreter() {
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("game");
        fs::write(&script, "#! /bin/sh  -e\nexit\n").unwrap();
        assert!(Executable::open(script.clone()).is_err(), "not executable yet");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let executable = Executable::open(script.clone()).unwrap();
        let words: Vec<_> = executable.words.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words, ["/bin/sh", "-e", script.to_str().unwrap()]);
        assert!(executable.is_dynamic);
        assert!(executable.fits(Profile::Default).is_ok());
        let old = directory.path().join("old");
        fs::write(&old, b"\x7fELF\x01\x01\x01").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
        let old = Executable::open(old).unwrap();
        assert!(old.fits(Profile::Default).is_err());
        assert!(old.fits(Profile::Off).is_ok());
        fs::write(&script, format!("#!{}\n", script.display())).unwrap();
        assert!(Executable::open(script).is_err(), "its own interpreter");
    }

    #[test]
    fn the_linkage_of_a_program_is_read_from_its_header() {
        assert_eq!(Linkage::of(b""), Linkage::Unknown);
        assert_eq!(Linkage::of(b"\x7fELF\x02\x01"), Linkage::Unknown);
        let mut head = vec![0; 200];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (head[32], head[54], head[56]) = (64, 56, 2);
        assert_eq!(Linkage::of(&head), Linkage::Static);
        head[64 + 56] = 3;
        (head[64 + 56 + 8], head[64 + 56 + 32]) = (190, 4);
        head[190..194].copy_from_slice(b"/ld\0");
        assert_eq!(Linkage::of(&head), Linkage::By("/ld".into()));
        let shell = Executable::open("/bin/sh".into()).unwrap();
        assert!(shell.loader.is_some_and(|loader| loader.is_file()));
    }
}
