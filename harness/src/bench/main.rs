//! `muster-bench`: how far Muster is from the limit of the machine, side by side with the least that the kernel makes
//! possible.
//!
//! **Method.** The daemon under test is the real `muster` from beside this program, started on ports of its own and
//! spoken to by real TCP clients and UDP sockets. What it is compared with are bare processes of this same program,
//! linked statically like the reference games ([`roles`], [`baseline`]), measured in the same run and in turns,
//! A B A B, so that a machine that slows down or is shared slows both. Nothing here is a test: no figure fails
//! anything, and the exit code says only whether it could be measured.
//!
//! **How to read the table.** A row has Muster on the left and its baseline on the right: the median (p50), the
//! 99th percentile and the number of samples of each. `ratio` is the median of Muster divided by the median of the
//! baseline; where the target is a difference, as in `+200`, it is the difference of the medians. `target` is what
//! Muster wants to reach, and `met` whether it did in this run. Absolute values are worth little on another
//! machine, or beside other work: the load averages at both ends tell of that. Compare ratios.
//!
//! **The figures**, a file each: of players [`matched`], [`idle`], [`waits`] and [`growth`]; of the [`brain`]; of
//! continuity [`upgrade`], [`crash`] and [`journal`]; of [`games`] as processes the others.
//!
//! The benchmark ends by itself, and [`keeper`] cleans up after it however it ends.

mod args;
mod bare;
mod bare_games;
mod bare_server;
mod baseline;
mod bench;
mod brain;
mod crash;
mod crowd;
mod daemon;
mod failure;
mod games;
mod growth;
mod idle;
mod journal;
mod keeper;
mod machine;
mod matched;
mod names;
mod player;
mod report;
mod roles;
mod stats;
mod traffic;
mod upgrade;
mod visitors;
mod waits;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::args::Args;
use crate::bench::Bench;
use crate::failure::Failure;
use crate::names::MEASURE;

/// Measures and prints one figure.
pub(crate) type Figure = fn(&Bench) -> Result<(), Failure>;

/// A figure's name on the command line, its title, and what measures it.
pub(crate) const FIGURES: [(&str, &str, Figure); 14] = [
    ("matched", "Players matched in a second", matched::run),
    ("idle", "Memory of clients that wait in a queue", idle::run),
    ("waits", "From the last READY to ASSIGN, at rest and under load", waits::run),
    ("growth", "The cost of a match as clients and queues grow", growth::run),
    ("brain", "The brain alone, as tickets wait", brain::run),
    ("upgrade", "The pause in answers while the daemon is upgraded", upgrade::run),
    ("crash", "From a crash until all clients have their positions back", crash::run),
    ("journal", "The cost of crash safety", journal::run),
    ("start", "From the last READY to the game's first answer over UDP", games::latency::run),
    ("rate", "Games started and reaped in a second", games::rate::run),
    ("memory", "Memory of a running echo game", games::memory::run),
    ("ticks", "Ticks of arena", games::ticks::run),
    ("confinement", "The cost of confinement", games::confinement::run),
    ("stall", "How long PONG takes while games start", games::stall::run),
];

/// The longest run. The limit only ends what would hang.
const LENGTH_MAX: Duration = Duration::from_secs(30 * 60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let role = arguments.split_first().and_then(|(name, rest)| roles::run(name, rest));
    if let Some(code) = role {
        return code;
    }
    if arguments.first().is_some_and(|first| first == MEASURE) {
        return measure(&Args::parse_from(std::env::args().skip(1)));
    }
    // Errors of usage, and --help, come from the process that a person started.
    Args::parse();
    keeper::run().unwrap_or_else(|failure| {
        let _ = writeln!(std::io::stderr(), "muster-bench: {failure}");
        ExitCode::FAILURE
    })
}

fn measure(args: &Args) -> ExitCode {
    keeper::release_signals();
    take_all_descriptors();
    end_after(LENGTH_MAX);
    let bench = Bench::new(args.scale());
    let mut code = ExitCode::SUCCESS;
    bench.line(format_args!("load averages at the start: {}", machine::load_averages()));
    for (name, title, figure) in FIGURES {
        if !args.wants(name) {
            continue;
        }
        bench.title(title);
        if let Err(failure) = figure(&bench) {
            bench.note(format_args!("not measured to the end: {failure}"));
            code = ExitCode::FAILURE;
        }
    }
    bench.line(format_args!("\nload averages at the end: {}", machine::load_averages()));
    if let Err(failure) = args.write(&bench.into_report()) {
        let _ = writeln!(std::io::stderr(), "muster-bench: {failure}");
        code = ExitCode::FAILURE;
    }
    code
}

/// A thousand games have two thousand players, and a user's shell allows 1,024 descriptors as a rule.
fn take_all_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn end_after(length: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(length);
        let _ = writeln!(std::io::stderr(), "muster-bench: not done after {length:?}");
        std::process::exit(1);
    });
}
