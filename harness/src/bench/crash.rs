//! The daemon is killed under its keeper, with clients who wait: how long it takes until all are back in their places.
//!
//! From the kill on, until each has seen its connection end, has made another and was told its place. Beside it stands
//! what the same clients took to come for the first time.

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
        // A keeper gives the next daemon of one that dies again and again a pause.
        let daemon = Daemon::start(crowd::setup().keep("30s"))?;
        let begin = Instant::now();
        let mut crowd = Crowd::come(daemon.address(), count)?;
        baseline.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        daemon.kill();
        crowd.wait_for_ends()?;
        let returned = crowd.come_back()?;
        muster.push(begin.elapsed().as_secs_f64() * 1e3);
        // Who is back before those before it has a place for the time being; now they have all come.
        let placed = crowd.come_back()?;
        all.lost += returned.lost + placed.lost;
        all.misplaced += placed.misplaced;
    }
    bench.print(&Row {
        what: format!("{count} clients: all back, ms"),
        muster,
        against: "coming at first",
        baseline,
        target: Target::Shown,
    });
    let Returned { lost, misplaced } = all;
    bench.note(format_args!(
        "{crashes} crashes of a daemon with {count} clients: {lost} lost, {misplaced} out of order"
    ));
    Ok(())
}
