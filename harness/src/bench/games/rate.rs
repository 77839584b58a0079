//! Games started and reaped in a second, one after the other without a pause, on all processors.
//!
//! A game is one for one player that ends as soon as it has started. Many connections say READY at a time, each
//! of them a new one, so that the daemon always has the next match at hand. A stretch of it counts until the last
//! game is reaped and its port is back; stretches of Muster and of the baselines alternate.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::baseline::{ForkServer, ask, receive, spawn_and_receive};
use crate::bench::Bench;
use crate::daemon::{Daemon, brief_mode, setup};
use crate::failure::Failure;
use crate::games::latency::TEMPLATE;
use crate::player::{Player, ready, udp};
use crate::stats::{Row, Samples, Target};

/// Players who come at the same time: half as many again as the daemon launches games at a time.
const PLAYERS: usize = 48;

/// Children that are asked of the fork server at a time.
const FORKS: usize = 16;

/// Loops of `posix_spawn` and wait at a time, one to a thread; with more the two processors do not get faster.
const SPAWNERS: usize = 4;

/// Ports for games that are being launched, run, or are being reaped.
pub(crate) const PORTS: u16 = 256;

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    let start = |queue, keys: &str| {
        Daemon::start(brief_mode(setup(PORTS), queue, &format!("players = 1\n{keys}")))
    };
    let (daemon, template) = (start("cold", "warm = 0")?, start("template", TEMPLATE)?);
    let stretch = bench.scale.stretch;
    let (mut cold, mut forked_games) = (Samples::default(), Samples::default());
    let (mut spawned, mut forked) = (Samples::default(), Samples::default());
    for _ in 0..bench.scale.stretches {
        forked.push(forks(stretch)?);
        forked_games.push(games(&template, "template", stretch)?);
        spawned.push(spawns(stretch)?);
        cold.push(games(&daemon, "cold", stretch)?);
    }
    let row = |what: &str, muster, against, baseline| Row {
        what: format!("{what}, games/s"),
        muster,
        against,
        baseline,
        target: Target::RatioAtLeast(0.7),
    };
    bench.print(&row("template", forked_games, "fork server", forked));
    bench.print(&row("cold", cold, "posix_spawn", spawned));
    Ok(())
}

/// Games of Muster in a second.
pub(crate) fn games(
    daemon: &Daemon,
    queue: &'static str,
    stretch: Duration,
) -> Result<f64, Failure> {
    let mut watcher = daemon.watcher(queue)?;
    watcher.wait_until_idle(0)?;
    let (count, began, ready) = (AtomicUsize::new(0), Instant::now(), ready(queue));
    let play = || -> Result<(), Failure> {
        while began.elapsed() < stretch {
            let mut player = Player::connect(daemon.address())?;
            player.say(&ready)?;
            player.assignment()?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    all_at_once(PLAYERS, play)?;
    watcher.wait_until_idle(0)?;
    Ok(per_second(count.load(Ordering::Relaxed), began))
}

/// Children of `posix_spawn` in a second.
fn spawns(stretch: Duration) -> Result<f64, Failure> {
    let (count, began) = (AtomicUsize::new(0), Instant::now());
    let spawn = || -> Result<(), Failure> {
        let probe = udp()?;
        while began.elapsed() < stretch {
            spawn_and_receive(&probe)?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    all_at_once(SPAWNERS, spawn)?;
    Ok(per_second(count.load(Ordering::Relaxed), began))
}

/// Children of a fork server in a second.
fn forks(stretch: Duration) -> Result<f64, Failure> {
    let (server, probe) = (ForkServer::start()?, udp()?);
    let start = || server.fork().and_then(|address| ask(&probe, address));
    let began = Instant::now();
    for _ in 0..FORKS {
        start()?;
    }
    let mut count = FORKS;
    while began.elapsed() < stretch {
        receive(&probe)?;
        start()?;
        count += 1;
    }
    for _ in 0..FORKS {
        receive(&probe)?;
    }
    // Gone when all its children are reaped.
    drop(server);
    Ok(per_second(count, began))
}

fn all_at_once(count: usize, work: impl Fn() -> Result<(), Failure> + Sync) -> Result<(), Failure> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|_| scope.spawn(&work)).collect();
        let ended = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(Failure::Ended("a panic of the benchmark".into())))
        });
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

#[expect(clippy::cast_precision_loss, reason = "far from 2^52 games")]
fn per_second(count: usize, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}
