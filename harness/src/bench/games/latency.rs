//! From the last READY of a match to the game's first answer over UDP.
//!
//! Two players; the first waits in the queue. The clock runs from before the last one writes READY until it has
//! read the game's WELCOME: ASSIGN and HELLO are on the way. The next sample is taken when all is quiet again.

use std::time::{Duration, Instant};

use crate::baseline::{ForkServer, WaitingProcess, spawn_and_receive};
use crate::bench::Bench;
use crate::daemon::{Daemon, Watcher, setup};
use crate::failure::Failure;
use crate::player::{Player, ready, udp};
use crate::stats::{Row, Samples, Target};

/// How many games are kept warm. More than one, so that one is there while its successor is launched.
const WARM: usize = 2;
const WARM_PORTS: u16 = 2;

/// The pause before each sample, in which the machine becomes quiet.
const QUIET: Duration = Duration::from_millis(2);

/// A queue whose latencies are measured.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    daemon: &'a Daemon,
    queue: &'static str,
    /// The label of the row.
    label: &'static str,
    watcher: Watcher,
    /// Warm games.
    games: usize,
    /// In microseconds.
    pub(crate) samples: Samples,
    /// Of that, until ASSIGN was read.
    until_assign: Samples,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(
        daemon: &'a Daemon,
        queue: &'static str,
        games: usize,
    ) -> Result<Self, Failure> {
        let watcher = daemon.watcher(queue)?;
        let (samples, until_assign) = (Samples::default(), Samples::default());
        Ok(Self { daemon, queue, label: queue, watcher, games, samples, until_assign })
    }

    fn labelled(self, label: &'static str) -> Self {
        Self { label, ..self }
    }

    /// Takes one sample.
    pub(crate) fn measure(&mut self) -> Result<(), Failure> {
        self.watcher.wait_until_idle(self.games)?;
        let mut first = Player::greeted(self.daemon.address())?;
        first.join(self.queue)?;
        let mut last = Player::greeted(self.daemon.address())?;
        let (first_socket, last_socket, ready) = (udp()?, udp()?, ready(self.queue));
        quiet();
        let began = Instant::now();
        last.say(&ready)?;
        let seat = last.assignment()?;
        let until_assign = began.elapsed();
        seat.enter(&last_socket)?;
        self.samples.push(micros(began.elapsed()));
        self.until_assign.push(micros(until_assign));
        let other = first.assignment()?;
        other.enter(&first_socket)?;
        other.leave(&first_socket)?;
        seat.leave(&last_socket)
    }

    fn row(&self, against: &'static str, baseline: &Samples, most: f64) -> Row {
        Row {
            what: format!("{}, µs", self.label),
            muster: self.samples.clone(),
            against,
            baseline: baseline.clone(),
            target: Target::RatioAtMost(most),
        }
    }
}

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    let echo = ["muster-game", "echo"];
    let warm = format!("players = 2\nwarm = {WARM}");
    let both = setup(16).mode("warm", &echo, &warm).mode("cold", &echo, "players = 2\nwarm = 0");
    let daemon = Daemon::start(both)?;
    let keys = format!("players = 2\n{TEMPLATE}");
    let template = Daemon::start(setup(16).mode("template", &echo, &keys))?;
    let full = Daemon::start(setup(WARM_PORTS).mode("warm", &echo, &warm))?;
    let mut warm = Subject::new(&daemon, "warm", WARM)?;
    let mut cold = Subject::new(&daemon, "cold", WARM)?;
    // Every port has its warm game, so that none can be launched in the place of the one that is played.
    let mut unfilled = Subject::new(&full, "warm", WARM)?.labelled("warm, without a refill");
    let mut forked_game = Subject::new(&template, "template", 0)?;
    let (mut waiting_process, server, probe) =
        (WaitingProcess::start()?, ForkServer::start()?, udp()?);
    let (mut requested, mut forked, mut spawned) =
        (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..bench.scale.latencies {
        quiet();
        requested.push(micros(waiting_process.request_and_receive(&probe)?));
        warm.measure()?;
        unfilled.measure()?;
        quiet();
        forked.push(micros(server.fork_and_receive(&probe)?));
        forked_game.measure()?;
        quiet();
        spawned.push(micros(spawn_and_receive(&probe)?));
        cold.measure()?;
    }
    bench.print(&warm.row("waiting process", &requested, 2.0));
    bench.print(&unfilled.row("waiting process", &requested, 2.0));
    bench.print(&forked_game.row("fork server", &forked, 1.5));
    bench.print(&cold.row("posix_spawn", &spawned, 1.5));
    for game in [&warm, &unfilled, &forked_game, &cold] {
        let (p50, p99) = (game.until_assign.median(), game.until_assign.percentile(99));
        bench.note(format_args!(
            "{}: until ASSIGN was read p50 {p50:.1} p99 {p99:.1} µs",
            game.label
        ));
    }
    Ok(())
}

/// The key that makes a mode's games copies of one process.
pub(crate) const TEMPLATE: &str = "warm = 0\ntemplate = true";

/// Lets what the last sample set off come to its end.
pub(crate) fn quiet() {
    std::thread::sleep(QUIET);
}

pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
