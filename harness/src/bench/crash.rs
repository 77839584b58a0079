//! The daemon is killed under its keeper, with waiting clients: how long it takes until all have their positions back.
//!
//! From the kill until each client has seen its connection end, has connected again and has received its position. The
//! baseline is the time of the same clients for their first connections.

use std::time::Instant;

use crate::bench::Bench;
use crate::crowd::{self, Crowd, Returned};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::stats::{Row, Samples, Target};

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    let (count, crashes) = (bench.scale.upgrade_clients, bench.scale.crashes);
    let (mut muster, mut baseline) = (Samples::default(), Samples::default());
    let mut all = Returned::default();
    for _ in 0..crashes {
        // A new keeper each time: it delays the restart of a daemon that dies repeatedly.
        let daemon = Daemon::start(crowd::setup().keep("30s"))?;
        let begin = Instant::now();
        let mut crowd = Crowd::connect(daemon.address(), count)?;
        baseline.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        daemon.kill();
        crowd.wait_for_ends()?;
        let returned = crowd.reconnect()?;
        muster.push(begin.elapsed().as_secs_f64() * 1e3);
        // A client that reconnects before those ahead of it has a preliminary position; now all have reconnected.
        let placed = crowd.reconnect()?;
        all.lost += returned.lost + placed.lost;
        all.misplaced += placed.misplaced;
    }
    bench.print(&Row {
        what: format!("{count} clients: all back, ms"),
        muster,
        against: "first connections",
        baseline,
        target: Target::Shown,
    });
    let Returned { lost, misplaced } = all;
    bench.note(format_args!(
        "{crashes} crashes of a daemon with {count} clients: {lost} lost, {misplaced} out of order"
    ));
    Ok(())
}
