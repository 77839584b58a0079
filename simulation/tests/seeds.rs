//! Runs many worlds. `MUSTER_SIM_SEEDS` and `MUSTER_SIM_STEPS` say how many seeds and how many steps for each;
//! `MUSTER_SIM_SEED` runs one seed alone and prints what happens in it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use simulation::{Choices, Defect, Tally, Trace, Witness, World};

/// Choices made by a generator whose stream is the same on every machine and in every version.
struct SeededChoices(ChaCha8Rng);

impl SeededChoices {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }
}

impl Choices for SeededChoices {
    fn below(&mut self, bound: u32) -> u32 {
        self.0.next_u32() % bound
    }
}

/// Who found a flaw in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum FoundBy {
    Book,
    Sweep,
    /// An assertion in the brain.
    Panic,
}

struct Found {
    by: FoundBy,
    what: String,
    story: String,
}

/// One run of one world.
#[derive(Clone, Copy)]
struct Run {
    seed: u64,
    steps: usize,
    planted: Option<Defect>,
    only: Option<Witness>,
    trace_max: usize,
}

impl Run {
    fn new(seed: u64, steps: usize) -> Self {
        Self { seed, steps, planted: None, only: None, trace_max: 60 }
    }

    fn go(self) -> Result<(Tally, Trace), Found> {
        let mut choices = SeededChoices::new(self.seed);
        let mut world = World::new(&mut choices, self.planted, Trace::new(self.trace_max));
        if let Some(witness) = self.only {
            world = world.watched_only_by(witness);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| world.run(self.steps)));
        let (by, what) = match outcome {
            Ok(Ok(())) => return Ok((world.tally().clone(), world.trace().clone())),
            Ok(Err(flaw)) => match flaw.seen_by {
                Witness::Book => (FoundBy::Book, flaw.what),
                Witness::Sweep => (FoundBy::Sweep, flaw.what),
            },
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let word = panic.downcast_ref::<&str>().map(|word| (*word).to_owned());
                (FoundBy::Panic, text.or(word).unwrap_or_default())
            }
        };
        let story = format!("{:#?}\n{}", world.config(), world.trace());
        Err(Found { by, what, story })
    }

    /// Goes, and tells all there is to know if there is a flaw.
    fn go_or_explain(self) -> (Tally, Trace) {
        self.go().unwrap_or_else(|found| {
            panic!(
                "{}\n{:?} found in seed {}: {}\n\
                 MUSTER_SIM_SEED={} MUSTER_SIM_STEPS={} cargo test -p muster-simulation --test seeds \
                 one_seed -- --nocapture",
                found.story, found.by, self.seed, found.what, self.seed, self.steps
            )
        })
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn steps() -> usize {
    from_environment("MUSTER_SIM_STEPS").map_or(STEPS, |steps| steps as usize)
}

/// Runs all seeds on all processors and gives the sum of their tallies.
fn run_seeds(seeds: u64, run: impl Fn(u64) -> Tally + Sync) -> Tally {
    let next = AtomicU64::new(0);
    let work = || {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
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
    let tally = run_seeds(seeds, |seed| Run::new(seed, steps).go_or_explain().0);
    // A simulation that never gets anywhere finds nothing either.
    for what in LANDMARKS {
        assert!(seeds < SEEDS || tally.of(what) > 0, "no world reached: {what}");
    }
    for (what, count) in tally.counts() {
        eprintln!("{count:>9} {what}");
    }
}

/// What all worlds together must have seen.
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
    "games launched in a quiet moment",
    "queues of another size",
    "players whose party was too large by then",
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
    "matches told game-failing",
    "matches told game-starting",
    "matches told no-port",
    "parties queued",
    "pauses",
    "players asked to accept",
    "players assigned",
    "players away",
    "places given up",
    "players expired",
    "players left",
    "players queued",
    "players returned",
    "players sent off",
    "players timed out",
    "players told again",
    "players told to their game again",
    "players who declined",
    "players who did not answer",
    "players whose party was out",
    "ports found busy",
    "results",
    "rounds over",
    "seated games not launched",
    "surplus games stopped",
    "warm games reclaimed",
    "drains begun",
];

#[test]
fn one_seed() {
    let Some(seed) = from_environment("MUSTER_SIM_SEED") else { return };
    let run = Run { trace_max: usize::MAX, ..Run::new(seed, steps()) };
    let (tally, trace) = run.go_or_explain();
    eprintln!("{trace}{tally:#?}");
}

#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in 0..10 {
        let run = Run { trace_max: usize::MAX, ..Run::new(seed, 300) };
        let (first, second) = (run.go_or_explain(), run.go_or_explain());
        assert!(first == second, "seed {seed} gave two worlds");
        let (_, other) = Run { seed: seed + 1000, ..run }.go_or_explain();
        assert!(first.1 != other, "seeds {seed} and {} gave one world", seed + 1000);
    }
}

/// Who finds a planted defect, when one witness alone is asked.
fn finders(planted: Defect, only: Witness) -> BTreeSet<FoundBy> {
    let find = |seed| {
        let run = Run { planted: Some(planted), only: Some(only), ..Run::new(seed, 300) };
        run.go().err().map(|found| found.by)
    };
    (0..40).filter_map(find).collect()
}

#[test]
fn every_planted_defect_is_found_by_the_book_alone() {
    // The brain's own assertions may be faster in some worlds; they say so on stderr.
    for defect in ALL_DEFECTS {
        let by = finders(defect, Witness::Book);
        assert!(by.contains(&FoundBy::Book), "{defect:?} was found by {by:?}");
    }
}

#[test]
fn the_sweep_finds_what_is_wrong_inside() {
    // The other defects leave the inside whole: only from outside can it be seen that a process still lives
    // on the port, or who came first.
    for defect in [Defect::SurvivorForgotten, Defect::StartTimeoutForgotten] {
        let by = finders(defect, Witness::Sweep);
        assert!(by.contains(&FoundBy::Sweep), "{defect:?} was found by {by:?}");
    }
}

const ALL_DEFECTS: [Defect; 20] = [
    Defect::LineLeftOutOfOrder,
    Defect::PlaceLostOnTheWayBack,
    Defect::PortReturnedBeforeExit,
    Defect::StaleReadyAccepted,
    Defect::AssignedBeforeStarted,
    Defect::SurvivorForgotten,
    Defect::QuarantineSkipped,
    Defect::StartTimeoutForgotten,
    Defect::InterruptionCounted,
    Defect::InterruptedPortKept,
    Defect::SeatedStartedAgain,
    Defect::RefillBeforeDemand,
    Defect::RefillsUnbounded,
    Defect::RefillNotHeldBack,
    Defect::RefillHeldBackForEver,
    Defect::RefillForgotten,
    Defect::SurplusKept,
    Defect::DeadlinesNotWrittenDown,
    Defect::WindowOverstayed,
    Defect::OlderConnectionNotFenced,
];
