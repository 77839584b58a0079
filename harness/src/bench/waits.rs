//! The time from the last READY of a match to its ASSIGN, with warm games from a template: at rest, and at half of the
//! maximum rate.
//!
//! Players arrive on a schedule, two at a time, and each wait counts from when its READY was due: a server that is
//! stopped delays all players who arrive meanwhile. The bare server forks a game for every two, with the same load. The
//! maximum is that of [`matched`](crate::matched), whose visitors arrive as soon as others leave.

use std::net::SocketAddr;

use hdrhistogram::Histogram;

use crate::bare::{BareServer, Games};
use crate::bench::Bench;
use crate::daemon::{Daemon, brief_mode, setup};
use crate::failure::Failure;
use crate::games::rate::PORTS;
use crate::matched::{AT_A_TIME, QUEUE};
use crate::player::ready;
use crate::stats::{Row, Samples, Target};
use crate::visitors::{Coming, visit};

/// The number of players per second that does not load the machine.
const AT_REST: f64 = 50.0;

const KEYS: &str = "players = 2\nwarm_min = 16\nwarm_max = 64\ntemplate = true";

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    let daemon = Daemon::start(brief_mode(setup(PORTS), QUEUE, KEYS))?;
    let bare = BareServer::start(Games::Forked)?;
    let most = Coming::AtATime(AT_A_TIME);
    let most = visit(daemon.address(), &ready(QUEUE), most, bench.scale.stretch)?.per_second();
    for (what, rate, p50, p99) in [
        ("at rest", AT_REST, Target::AtMost(150.0), Target::RatioAtMost(6.0)),
        ("at half load", most / 2.0, Target::Shown, Target::AtMost(1000.0)),
    ] {
        let (mut muster, mut baseline) = (Waits::default(), Waits::default());
        for _ in 0..bench.scale.stretches {
            baseline.take(bare.address(), rate, bench)?;
            muster.take(daemon.address(), rate, bench)?;
        }
        for (percentile, target) in [(50.0, p50), (99.0, p99), (99.9, Target::Shown)] {
            bench.print(&Row {
                what: format!("{what}: p{percentile}, µs"),
                muster: muster.percentile(percentile),
                against: "bare fork server",
                baseline: baseline.percentile(percentile),
                target,
            });
        }
        bench.note(format_args!(
            "{what}, {rate:.0} players/s: longest {:.1} ms; bare {:.1} ms",
            muster.longest_ms(),
            baseline.longest_ms()
        ));
    }
    Ok(())
}

/// A histogram for each stretch.
#[derive(Debug, Default)]
struct Waits(Vec<Histogram<u64>>);

impl Waits {
    fn take(&mut self, server: SocketAddr, rate: f64, bench: &Bench) -> Result<(), Failure> {
        let coming = Coming::Scheduled(rate);
        self.0.push(visit(server, &ready(QUEUE), coming, bench.scale.stretch)?.waits_us);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "far from 2^52 microseconds")]
    fn percentile(&self, percentile: f64) -> Samples {
        self.0.iter().map(|waits| waits.value_at_percentile(percentile) as f64).collect()
    }

    #[expect(clippy::cast_precision_loss, reason = "far from 2^52 microseconds")]
    fn longest_ms(&self) -> f64 {
        self.0.iter().map(|waits| waits.max()).max().unwrap_or_default() as f64 / 1e3
    }
}
