//! Players matched in a second: they connect, send READY, receive ASSIGN, and disconnect. Without games first,
//! then with a process for every two of them, that ends as soon as it has started.
//!
//! Against each stands a [bare server](crate::bare) that the same visitors come to, in turns. The processor time is
//! that of the daemon's process, its log (into a file, at the level `info`) included, and of the bare server's, by the
//! kernel's account (`/proc/PID/schedstat`).

use std::net::SocketAddr;

use testkit::Setup;

use crate::bare::{BareServer, Games};
use crate::bench::Bench;
use crate::daemon::{self, Daemon, brief_mode};
use crate::failure::Failure;
use crate::games::rate::PORTS;
use crate::machine::processor_seconds;
use crate::player::ready;
use crate::stats::{Row, Samples, Target};
use crate::visitors::{Coming, visit};

pub(crate) const QUEUE: &str = "matched";

/// Concurrent visitors: enough for a next match at any time.
pub(crate) const AT_A_TIME: usize = 96;

/// Warm games that are not processes.
pub(crate) const STUBS: &str = "players = 2\nwarm = 64\nstub = true";

/// The throughput of one side, a value for each stretch.
#[derive(Debug, Default)]
pub(crate) struct Throughput {
    pub(crate) per_second: Samples,
    /// In microseconds.
    pub(crate) processor_per_player: Samples,
}

impl Throughput {
    #[expect(clippy::cast_precision_loss, reason = "far from 2^52 players")]
    pub(crate) fn take(
        &mut self,
        server: SocketAddr,
        pid: i32,
        bench: &Bench,
    ) -> Result<(), Failure> {
        let before = processor_seconds(pid).unwrap_or(f64::NAN);
        let coming = Coming::AtATime(AT_A_TIME);
        let visits = visit(server, &ready(QUEUE), coming, bench.scale.stretch)?;
        let used = processor_seconds(pid).unwrap_or(f64::NAN) - before;
        self.per_second.push(visits.per_second());
        self.processor_per_player.push(used * 1e6 / visits.served as f64);
        Ok(())
    }
}

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    compare(bench, "no games", &Daemon::start(stub_setup())?, ("bare epoll", Games::None))?;
    let program = Daemon::start(brief("template = true"))?;
    compare(bench, "template", &program, ("bare fork server", Games::Forked))?;
    let program = Daemon::start(brief(""))?;
    compare(bench, "cold", &program, ("bare posix_spawn", Games::Spawned))
}

/// A daemon whose games are no processes.
pub(crate) fn stub_setup() -> Setup {
    let setup = daemon::stub_setup(PORTS).mode(QUEUE, &["muster-game", "echo"], STUBS);
    logged(setup)
}

/// A daemon whose games end as soon as they have started.
fn brief(keys: &str) -> Setup {
    let keys = format!("players = 2\nwarm = 0\n{keys}");
    logged(brief_mode(daemon::setup(PORTS), QUEUE, &keys))
}

/// With a log, as operators have it.
fn logged(setup: Setup) -> Setup {
    setup.log("info").log_to_file()
}

fn compare(
    bench: &Bench,
    what: &str,
    daemon: &Daemon,
    (against, games): (&'static str, Games),
) -> Result<(), Failure> {
    let bare = BareServer::start(games)?;
    let (mut muster, mut baseline) = (Throughput::default(), Throughput::default());
    for _ in 0..bench.scale.stretches {
        baseline.take(bare.address(), bare.pid(), bench)?;
        muster.take(daemon.address(), daemon.pid(), bench)?;
    }
    let with_games = games != Games::None;
    bench.print(&Row {
        what: format!("{what}, players/s"),
        muster: muster.per_second,
        against,
        baseline: baseline.per_second,
        target: Target::RatioAtLeast(0.85),
    });
    bench.print(&Row {
        what: format!("{what}: daemon's µs/player"),
        muster: muster.processor_per_player,
        against,
        baseline: baseline.processor_per_player,
        target: if with_games { Target::Shown } else { Target::RatioAtMost(1.5) },
    });
    Ok(())
}
