//! The programs under test, and a game process to run them in.

#![allow(dead_code, unused_imports)] // each test file uses its part

use std::path::{Path, PathBuf};

pub(crate) use testkit::game::*;

/// The reference program with its arguments.
pub(crate) fn muster_game(arguments: &[&str]) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_muster-game").to_owned();
    std::iter::once(program).chain(arguments.iter().map(ToString::to_string)).collect()
}

/// The example in Python.
pub(crate) fn python_echo() -> Vec<String> {
    let example: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/echo.py");
    vec!["python3".to_owned(), example.display().to_string()]
}
