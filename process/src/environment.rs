//! Environment variables as people set them: `NAME=` in a compose file or a unit means "not set".

use std::ffi::OsString;
use std::path::PathBuf;

/// The value of a variable. `None` where it is not set, or empty.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The first directory that a variable names: systemd separates several by colons, systemd.exec(5). `None` where it
/// names none.
pub fn first_directory(name: &str) -> Option<PathBuf> {
    let value = variable(name)?;
    std::env::split_paths(&value).find(|path| !path.as_os_str().is_empty())
}

/// The directory for temporary files: that of `TMPDIR`, else `/tmp`.
pub fn temporary_directory() -> PathBuf {
    variable("TMPDIR").map_or_else(|| "/tmp".into(), PathBuf::from)
}
