//! Every mutant of the brain is caught.
//!
//! `mutants.toml` lists them. A copy of the crates with all mutants in it, each behind a switch, is built once in the
//! target directory; then each mutant alone is active while worlds are run on it, until a checker objects. The copy is
//! kept, so that the next run builds what has changed. `MUSTER_MUTANTS=name` runs the mutants whose names contain that.

#![allow(clippy::panic, reason = "helpers of a test")]

mod copy;
mod list;

use std::collections::BTreeMap;
use std::path::PathBuf;

/// By name of the mutant: how it was caught, if it was.
type Catches = BTreeMap<String, Option<String>>;

#[test]
fn every_mutant_is_caught() {
    let mutants = list::read();
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("mutants");
    let copied = copy::write(&directory, &mutants);
    let program = copied.and_then(|()| copy::build(&directory));
    let program = program.unwrap_or_else(|error| panic!("{error}"));
    let wanted = std::env::var("MUSTER_MUTANTS").unwrap_or_default();
    let catches: Catches = copy::run(&program, &directory, &mutants, &wanted);
    let mut survivors = Vec::new();
    for mutant in mutants.iter().filter(|mutant| mutant.name.contains(&wanted)) {
        match catches.get(&mutant.name) {
            Some(Some(by)) => eprintln!("{}: {by}", mutant.name),
            Some(None) | None => survivors.push(format!("{}: {}", mutant.name, mutant.promise)),
        }
    }
    assert!(survivors.is_empty(), "no checker catches:\n{}", survivors.join("\n"));
}
