//! The program of the mutated copy: runs worlds on every mutant until a checker objects, and prints one line for each:
//! its name, the seed and the checker that found it, and the flaw, separated by tabs. The line of a mutant that no seed
//! reveals is its name alone.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use simulation::{Checker, Run};

fn main() {
    // Assertions of the brain that fail are an answer like any other.
    std::panic::set_hook(Box::new(|_| {}));
    let list = std::env::args().nth(1).expect("the file with the mutants");
    let list = fs::read_to_string(list).expect("the file with the mutants");
    let mutants: Vec<Vec<&str>> = list.lines().map(|line| line.split('\t').collect()).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(fields) = mutants.get(index) else { return };
                    let line = catch(fields);
                    results.lock().expect("no worker panics").push(line);
                }
            });
        }
    });
    for line in results.into_inner().expect("no worker panics") {
        println!("{line}");
    }
}

/// Runs one mutant; its fields are its number, its name and the checker that has to catch it.
fn catch(fields: &[&str]) -> String {
    let (number, name, checker) = (fields[0], fields[1], fields[2]);
    let checker = match checker {
        "invariants" => Checker::Invariants,
        _ => Checker::Model,
    };
    mutant::activate(number.parse().expect("a number"));
    for seed in 0..SEEDS {
        let run = Run { only: Some(checker), ..Run::new(seed, STEPS) };
        if let Err(failure) = run.go()
            && failure.flaw.found_by == checker
        {
            let what = failure.flaw.what.replace(['\t', '\n'], " ");
            let what: String = what.chars().take(WHAT_MAX).collect();
            return format!("{name}\t{seed}\t{checker:?}\t{what}");
        }
    }
    name.to_owned()
}

const SEEDS: u64 = 60;
const STEPS: usize = 300;
/// Characters of a flaw that are printed.
const WHAT_MAX: usize = 200;
