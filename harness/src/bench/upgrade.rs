//! Upgrades in place, with waiting clients and others that join and leave: the pause in answers, and whether all
//! clients keep their connections and positions.
//!
//! A pause counts from the signal on, by the clock of a client who asks all the time. It is the longest time without an
//! answer: the daemon tests the new program before the exec, and keeps answering meanwhile. The baseline is a [bare
//! server](crate::bare_server) that executes itself, with as many clients.

use std::net::SocketAddr;
use std::time::Instant;

use crate::bare::{BareServer, Games};
use crate::bench::Bench;
use crate::crowd::{self, Crowd};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::stats::{Row, Samples, Target};
use crate::traffic::{TRAFFIC, Traffic};

/// Clients whose question is on its way when the signal comes.
const ASKING: usize = 100;

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    let (count, upgrades) = (bench.scale.upgrade_clients, bench.scale.upgrades);
    let setup = crowd::setup().mode(TRAFFIC, &["false"], "players = 128\nwarm = 0").log("info");
    let daemon = Daemon::start(setup)?;
    let mut bare = BareServer::start(Games::Never)?;
    let (mut muster, mut baseline) =
        (Side::new(daemon.address(), count)?, Side::new(bare.address(), count)?);
    for round in 1..=upgrades {
        baseline.upgrade(round, || bare.upgrade())?;
        muster.upgrade(round, || daemon.upgrade(round))?;
    }
    let returned = muster.crowd.reconnect()?;
    let longest = [&muster, &baseline].map(|side| side.pauses.percentile(100));
    bench.print(&Row {
        what: format!("{count} clients: pause, ms"),
        muster: muster.pauses,
        against: "bare exec",
        baseline: baseline.pauses,
        target: Target::RatioAtMost(2.0),
    });
    bench.note(format_args!(
        "{upgrades} upgrades: longest pause {:.1} ms, bare {:.1} ms; of {count} clients {} lost, \
         {} out of order; bare {} lost",
        longest[0],
        longest[1],
        muster.lost + returned.lost,
        returned.misplaced,
        baseline.lost,
    ));
    Ok(())
}

/// One of the two servers, and who is there.
struct Side {
    server: SocketAddr,
    crowd: Crowd,
    /// In milliseconds.
    pauses: Samples,
    /// Questions that were not answered.
    lost: usize,
}

impl Side {
    fn new(server: SocketAddr, count: usize) -> Result<Self, Failure> {
        let crowd = Crowd::connect(server, count)?;
        Ok(Self { server, crowd, pauses: Samples::default(), lost: 0 })
    }

    fn upgrade(
        &mut self,
        round: usize,
        upgrade: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (text, everybody) = (format!("round{round}"), self.crowd.len());
        let traffic = Traffic::start(self.server)?;
        let asking = ASKING.min(everybody);
        self.crowd.send_pings(0..asking, &text)?;
        let begin = Instant::now();
        upgrade()?;
        let pause = traffic.end(begin)?;
        self.crowd.send_pings(asking..everybody, &text)?;
        self.lost += self.crowd.receive_pongs(&text)?;
        self.pauses.push(pause.as_secs_f64() * 1e3);
        Ok(())
    }
}
