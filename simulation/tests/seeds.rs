//! Runs many worlds. `MUSTER_SIM_SEEDS` and `MUSTER_SIM_STEPS` set the number of seeds and of operations for each;
//! `MUSTER_SIM_SEED` runs one seed alone and prints its trace; `MUSTER_SIM_SECONDS` runs new seeds for a time.

#![allow(clippy::panic, clippy::print_stdout, reason = "helpers of a test")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use simulation::{Run, Tally, Trace};

/// Runs a world and explains the flaw, if there is one.
fn go_or_explain(run: Run) -> (Tally, Trace) {
    run.go().unwrap_or_else(|failure| {
        panic!(
            "{}\nseed {}: {}\n\
             MUSTER_SIM_SEED={} MUSTER_SIM_STEPS={} cargo test -p muster-simulation --test seeds \
             one_seed -- --nocapture",
            failure.story, run.seed, failure.flaw, run.seed, run.steps
        )
    })
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn steps() -> usize {
    from_environment("MUSTER_SIM_STEPS").map_or(STEPS, |steps| steps as usize)
}

/// Runs seeds on all processors for as long as wanted, and returns the sum of their tallies.
fn run_seeds(
    first: u64,
    is_wanted: impl Fn(u64) -> bool + Sync,
    run: impl Fn(u64) -> Tally + Sync,
) -> Tally {
    let next = AtomicU64::new(first);
    let work = || {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !is_wanted(seed) {
                return sum;
            }
            sum.add(&run(seed));
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let mut sum = Tally::default();
        for handle in handles {
            match handle.join() {
                Ok(tally) => sum.add(&tally),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        sum
    })
}

/// Enough to reach every landmark many times, in some ten seconds of a debug build on two slow cores.
const SEEDS: u64 = 200;
const STEPS: usize = 400;

#[test]
fn no_seed_finds_a_flaw() {
    let seeds = from_environment("MUSTER_SIM_SEEDS").unwrap_or(SEEDS);
    let steps = steps();
    let tally = run_seeds(0, |seed| seed < seeds, |seed| go_or_explain(Run::new(seed, steps)).0);
    // A simulation that never gets anywhere finds nothing either.
    for what in LANDMARKS {
        assert!(seeds < SEEDS || tally.of(what) > 0, "no world reached: {what}");
    }
    for (what, count) in tally.counts() {
        eprintln!("{count:>9} {what}");
    }
}

/// Things that happen in at least one of the worlds.
const LANDMARKS: [&str; 57] = [
    "crashes",
    "daemons replaced",
    "games broken early",
    "games ended early",
    "games ended that players came into",
    "games killed",
    "games killed because a player went",
    "games launched",
    "games launched for a busy time",
    "games launched in a quiet period",
    "queues of another size",
    "players whose party became too large",
    "games launched though matches come",
    "games launched with their players",
    "games not launched",
    "games not ready",
    "games not started",
    "games stopped",
    "games terminated",
    "games warm",
    "launches interrupted",
    "matches accepted by all",
    "matches assigned",
    "matches backfilled",
    "matches by skill",
    "matches dissolved",
    "matches dissolved before their game existed",
    "matches ended",
    "matches formed",
    "matches taken back",
    "matches whose games fail",
    "matches whose game starts",
    "matches that wait for a port",
    "matches queued",
    "pauses",
    "players asked to accept",
    "players assigned",
    "players away",
    "positions given up",
    "players expired",
    "players left",
    "players queued",
    "players returned",
    "players sent off",
    "players timed out",
    "players assigned again",
    "players who rejoined",
    "players who declined",
    "players who did not answer",
    "players evicted with their party",
    "ports found busy",
    "results",
    "rounds over",
    "seated games not launched",
    "surplus games stopped",
    "warm games reclaimed",
    "drains begun",
];

/// `make simulate`: seeds that no run has had before, until the time is over.
#[test]
fn new_seeds_find_no_flaw() {
    let Some(seconds) = from_environment("MUSTER_SIM_SECONDS") else { return };
    let end = Instant::now() + Duration::from_secs(seconds);
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let first = since_epoch.map_or(SEEDS, |it| it.as_secs()) * 1_000_000;
    let ran = AtomicU64::new(0);
    run_seeds(
        first,
        |_| Instant::now() < end,
        |seed| {
            ran.fetch_add(1, Ordering::Relaxed);
            go_or_explain(Run::new(seed, steps())).0
        },
    );
    let ran = ran.load(Ordering::Relaxed);
    println!("{ran} seeds from {first} on, {} operations, no flaw", ran * steps() as u64);
}

#[test]
fn one_seed() {
    let Some(seed) = from_environment("MUSTER_SIM_SEED") else { return };
    let run = Run { trace_max: usize::MAX, ..Run::new(seed, steps()) };
    let (tally, trace) = go_or_explain(run);
    eprintln!("{trace}{tally:#?}");
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in 0..10 {
        let run = Run { trace_max: usize::MAX, ..Run::new(seed, 300) };
        let (first, second) = (go_or_explain(run), go_or_explain(run));
        assert!(first == second, "seed {seed} gave two worlds");
        let (_, other) = go_or_explain(Run { seed: seed + 1000, ..run });
        assert!(first.1 != other, "seeds {seed} and {} gave one world", seed + 1000);
    }
}
