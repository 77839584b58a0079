//! The paths of the programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// A program of the workspace, built from the sources as they are now.
///
/// # Panics
/// When it cannot be built.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let path = DIRECTORY.get_or_init(build).join(name);
    assert!(path.exists(), "{} was not built", path.display());
    path
}

/// The benchmark, with the stub daemon beside it that only the benchmark uses.
pub fn benchmark() -> PathBuf {
    let benchmark = binary("muster-bench");
    if !benchmark.with_file_name("muster-stub").exists() {
        // `make test` has built it; `cargo test` alone has not.
        let built = Command::new(workspace().join("scripts/build-stub")).status();
        assert!(built.as_ref().is_ok_and(|status| status.success()), "build-stub: {built:?}");
        build();
    }
    benchmark
}

/// The game that misbehaves.
pub fn hostile_game() -> PathBuf {
    binary("hostile-game")
}

/// A file of the `examples` folder.
pub fn example(name: &str) -> PathBuf {
    workspace().join("examples").join(name)
}

/// `cargo test` alone does not build the programs of other packages.
fn build() -> PathBuf {
    take_all_descriptors();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--workspace", "--bins"])
        .current_dir(workspace())
        .status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "cargo build: {status:?}");
    // A test runs from `<target>/debug/deps`, a program from `<target>/debug`.
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    let debug = if deps.ends_with("deps") { deps.parent().unwrap() } else { deps };
    debug.to_owned()
}

/// Raises the soft limit of descriptors, usually 1,024: tests have hundreds of clients.
fn take_all_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
