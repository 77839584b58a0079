//! Environment variables as people set them: `NAME=` in a compose file or a unit counts as unset.

use std::ffi::OsString;
use std::path::PathBuf;

/// The value of a variable; `None` if it is unset or empty.
pub fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The first directory in a variable, in which systemd separates several by colons; systemd.exec(5). `None` if
/// there is none.
pub fn first_directory(name: &str) -> Option<PathBuf> {
    let value = variable(name)?;
    std::env::split_paths(&value).find(|path| !path.as_os_str().is_empty())
}

/// The directory for temporary files: `TMPDIR`, else `/tmp`.
pub fn temporary_directory() -> PathBuf {
    variable("TMPDIR").map_or_else(|| "/tmp".into(), PathBuf::from)
}
