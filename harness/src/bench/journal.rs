//! The price of outliving a crash: [matched](crate::matched) players without games, of a daemon that writes down what
//! happens and of one that does not. Both run under their keepers.

use crate::bench::Bench;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::matched::{Throughput, stub_setup};
use crate::stats::{Row, Target};

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    let (safe, plain) = (daemon(true)?, daemon(false)?);
    let (mut muster, mut baseline) = (Throughput::default(), Throughput::default());
    for _ in 0..bench.scale.stretches {
        baseline.take(plain.address(), plain.pid(), bench)?;
        muster.take(safe.address(), safe.pid(), bench)?;
    }
    for (what, muster, baseline) in [
        ("crash-safe, players/s", muster.per_second, baseline.per_second),
        (
            "crash-safe: daemon's µs/player",
            muster.processor_per_player,
            baseline.processor_per_player,
        ),
    ] {
        let (what, against) = (what.into(), "not crash-safe");
        bench.print(&Row { what, muster, against, baseline, target: Target::Shown });
    }
    Ok(())
}

fn daemon(is_crash_safe: bool) -> Result<Daemon, Failure> {
    let state = format!("[state]\ncrash_safe = {is_crash_safe}");
    Daemon::start(stub_setup().keep("30s").config(&state))
}
