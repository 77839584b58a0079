//! The mutated copy of the crates: written, built and run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Catches;
use crate::list::{Mutant, mutate};

/// The crates of the copy, those without mutants included.
const CRATES: [&str; 6] = ["protocol", "machine", "matchmaker", "hosting", "brain", "simulation"];

/// The switch that says which mutant is active, on each thread.
const SWITCH: &str = "//! Says which mutant is active.

use std::cell::Cell;

thread_local! { static ACTIVE: Cell<usize> = const { Cell::new(usize::MAX) } }

/// Activates a mutant on this thread.
pub fn activate(number: usize) {
    ACTIVE.set(number);
}

/// Whether a mutant is active.
pub fn is(number: usize) -> bool {
    ACTIVE.get() == number
}
";

/// Writes the copy. Files that are the same already are left alone, so that they are not compiled again.
///
/// # Errors
/// A file that cannot be read or written, or an entry of the list that does not fit the code.
pub(crate) fn write(directory: &Path, mutants: &[Mutant]) -> Result<(), String> {
    let root = root();
    let mut errors = Vec::new();
    for mutant in mutants {
        let is_copied = CRATES.iter().any(|name| mutant.file.starts_with(&format!("{name}/")));
        if !is_copied || !root.join(&mutant.file).is_file() {
            errors.push(format!("{:?}: there is no file {} in the copy", mutant.name, mutant.file));
        }
    }
    for name in CRATES {
        for path in files(&root.join(name)) {
            let relative = path.strip_prefix(&root).map_err(|error| error.to_string())?;
            let name = relative.to_string_lossy();
            if name.contains("/tests/") || name.contains("/benches/") {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
            let here = mutants.iter().enumerate().filter(|(_, mutant)| mutant.file == name);
            let here: Vec<_> = here.collect();
            match name.ends_with("Cargo.toml") {
                true => write_if_new(&directory.join(relative), &manifest(&text))?,
                false => match mutate(&text, &here) {
                    Ok(text) => write_if_new(&directory.join(relative), &text)?,
                    Err(error) => errors.push(error),
                },
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    write_if_new(&directory.join("mutant/src/lib.rs"), SWITCH)?;
    write_if_new(&directory.join("mutant/Cargo.toml"), &package("mutant", ""))?;
    write_if_new(&directory.join("runner/src/main.rs"), include_str!("runner.rs"))?;
    let dependencies = "mutant = { path = \"../mutant\" }\nsimulation.workspace = true\n";
    write_if_new(&directory.join("runner/Cargo.toml"), &package("runner", dependencies))?;
    let lock = fs::read_to_string(root.join("Cargo.lock")).map_err(|error| error.to_string())?;
    if !directory.join("Cargo.lock").exists() {
        write_if_new(&directory.join("Cargo.lock"), &lock)?;
    }
    let workspace =
        fs::read_to_string(root.join("Cargo.toml")).map_err(|error| error.to_string())?;
    write_if_new(&directory.join("Cargo.toml"), &workspace_manifest(&workspace))
}

fn package(name: &str, dependencies: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [dependencies]\n{dependencies}"
    )
}

/// A crate's manifest with the switch among its dependencies, and without lints and what only tests need.
fn manifest(text: &str) -> String {
    let sections =
        text.split_inclusive('\n').fold(Vec::new(), |mut sections: Vec<String>, line| {
            match sections.last_mut() {
                Some(last) if !line.starts_with('[') => last.push_str(line),
                _ => sections.push(line.to_owned()),
            }
            sections
        });
    let is_kept = |section: &&String| {
        ["[lints]", "[dev-dependencies]", "[[test]]", "[[bench]]"]
            .iter()
            .all(|it| !section.starts_with(it))
    };
    let kept: String = sections.iter().filter(is_kept).map(String::as_str).collect();
    kept.replace("[dependencies]\n", "[dependencies]\nmutant = { path = \"../mutant\" }\n")
}

/// The workspace of the copy: the same versions of everything, fewer members, and no debug information. The brain's own
/// sweep over its invariants is off: it would object before the checker that a mutant is for.
fn workspace_manifest(text: &str) -> String {
    let section = |name: &str| {
        let begin = text.find(&format!("[{name}]\n")).unwrap_or_default();
        let end = text[begin + 1..].find("\n[").map_or(text.len(), |at| begin + 1 + at);
        &text[begin..end]
    };
    let mut members: Vec<&str> = CRATES.to_vec();
    members.extend(["mutant", "runner"]);
    format!(
        "[workspace]\nresolver = \"3\"\nmembers = {members:?}\n\n{}\n\n{}\n\n\
         [profile.dev]\ndebug = false\ndebug-assertions = false\noverflow-checks = true\n",
        section("workspace.package"),
        section("workspace.dependencies")
    )
}

/// Builds the copy and gives the path of its program.
///
/// # Errors
/// What the compiler says.
pub(crate) fn build(directory: &Path) -> Result<PathBuf, String> {
    let target = directory.join("target");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--offline", "--package", "runner"]);
    cargo.current_dir(directory).env("CARGO_TARGET_DIR", &target).env("CARGO_INCREMENTAL", "1");
    let output = cargo.output().map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!(
            "the mutated copy in {} does not compile:\n{errors}",
            directory.display()
        ));
    }
    Ok(target.join("debug/runner"))
}

/// Runs all mutants whose names contain `wanted`.
pub(crate) fn run(program: &Path, directory: &Path, mutants: &[Mutant], wanted: &str) -> Catches {
    let lines = mutants.iter().enumerate().filter(|(_, mutant)| mutant.name.contains(wanted));
    let lines: String = lines
        .map(|(number, mutant)| format!("{number}\t{}\t{}\n", mutant.name, mutant.checker.name()))
        .collect();
    let list = directory.join("list");
    fs::write(&list, lines).unwrap_or_else(|error| panic!("{}: {error}", list.display()));
    let output = Command::new(program).arg(&list).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let catch = |line: &str| {
        let (name, by) = line.split_once('\t').map_or((line, None), |(name, by)| (name, Some(by)));
        (name.to_owned(), by.map(str::to_owned))
    };
    printed.lines().map(catch).collect()
}

fn write_if_new(path: &Path, text: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|before| before == text) {
        return Ok(());
    }
    let result = path.parent().map_or(Ok(()), fs::create_dir_all);
    result
        .and_then(|()| fs::write(path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}
