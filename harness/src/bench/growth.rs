//! The cost of a match for the daemon as the number of other clients grows, which are queued or in matches that wait
//! for a game.
//!
//! The waiting clients are in a mode whose games fail; the measured ones are matched in a mode whose games are not
//! processes. The daemon is compared with one that has the smallest number of clients.

use crate::bench::Bench;
use crate::daemon::{Daemon, stub_setup};
use crate::failure::Failure;
use crate::games::rate::PORTS;
use crate::idle::queue_up;
use crate::machine::processor_seconds;
use crate::matched::{AT_A_TIME, QUEUE, STUBS};
use crate::player::ready;
use crate::stats::{Row, Samples, Target};
use crate::visitors::{Coming, visit};

const CROWD: &str = "crowd";

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    let Some((&fewest, more)) = bench.scale.growth_clients.split_first() else { return Ok(()) };
    let small = daemon()?;
    let _few = queue_up(small.address(), fewest, &ready(CROWD))?;
    for &count in more {
        let large = daemon()?;
        let _many = queue_up(large.address(), count, &ready(CROWD))?;
        let (mut muster, mut baseline) = (Samples::default(), Samples::default());
        for _ in 0..bench.scale.stretches {
            baseline.push(processor_per_player(&small, bench)?);
            muster.push(processor_per_player(&large, bench)?);
        }
        bench.print(&Row {
            what: format!("{count} clients: daemon's µs/player"),
            muster,
            against: "few clients",
            baseline,
            target: Target::RatioAtMost(1.1),
        });
    }
    bench.note(format_args!("few are {fewest}"));
    Ok(())
}

fn daemon() -> Result<Daemon, Failure> {
    let setup = stub_setup(PORTS).mode(QUEUE, &["muster-game", "echo"], STUBS).mode(
        CROWD,
        &["false"],
        "players = 2\nwarm = 0",
    );
    Daemon::start(setup)
}

#[expect(clippy::cast_precision_loss, reason = "far from 2^52 players")]
fn processor_per_player(daemon: &Daemon, bench: &Bench) -> Result<f64, Failure> {
    let used = || processor_seconds(daemon.pid()).unwrap_or(f64::NAN);
    let before = used();
    let coming = Coming::AtATime(AT_A_TIME);
    let visits = visit(daemon.address(), &ready(QUEUE), coming, bench.scale.stretch)?;
    Ok((used() - before) * 1e6 / visits.served as f64)
}
