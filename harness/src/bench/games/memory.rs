//! The memory of a running echo game with its player, compared with a bare child that waits for a datagram; shared
//! pages count in equal parts (`Pss` of `/proc/PID/smaps_rollup`).
//!
//! Memory of the kernel for a process is not included; the known part of it, its page tables (`VmPTE` of
//! `/proc/PID/status`), has a separate row.

use std::net::{SocketAddr, UdpSocket};
use std::process::Child;
use std::time::Instant;

use testkit::proc;

use crate::baseline::{ForkServer, ask, spawn};
use crate::bench::Bench;
use crate::daemon::{Daemon, setup};
use crate::failure::{Failure, LIMIT, os};
use crate::games::latency::TEMPLATE;
use crate::machine::pid_of;
use crate::player::{Player, Seat, ready, udp};
use crate::stats::{Row, Samples, Target};

/// KiB that a cold game may have beyond a bare child.
const COLD_MORE: f64 = 200.0;

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    let start = |queue, keys: &str| {
        let setup = setup(bench.scale.living + 8).log("info");
        let keys = format!("players = 1\n{keys}");
        Daemon::start(setup.mode(queue, &["muster-game", "echo"], &keys))
    };
    let cold = start("cold", "warm = 0")?;
    let template = start("template", TEMPLATE)?;
    let living = usize::from(bench.scale.living);
    let probe = udp()?;
    let spawned = Spawned::start(living, &probe)?;
    let forked = Forked::start(living, &probe)?;
    let games = Games::start(&template, "template", living)?;
    let target = Target::RatioAtMost(1.3);
    print(bench, "template", &games.pids, ("forked child", &forked.pids()?), target);
    games.end()?;
    forked.end()?;
    let games = Games::start(&cold, "cold", living)?;
    let pids: Vec<i32> = spawned.children.iter().map(pid_of).collect();
    let target = Target::MoreAtMost(COLD_MORE);
    print(bench, "cold", &games.pids, ("spawned child", &pids), target);
    games.end()?;
    spawned.end()
}

fn print(
    bench: &Bench,
    what: &str,
    games: &[i32],
    (against, children): (&'static str, &[i32]),
    target: Target,
) {
    let samples = |pids: &[i32], of: fn(i32) -> Option<u32>| -> Samples {
        pids.iter().filter_map(|&pid| of(pid).map(f64::from)).collect()
    };
    for (name, of, target) in [
        ("PSS", proc::proportional_kib as fn(i32) -> Option<u32>, target),
        ("page tables", proc::page_tables_kib, Target::Shown),
    ] {
        bench.print(&Row {
            what: format!("{what}: {name}, KiB"),
            muster: samples(games, of),
            against,
            baseline: samples(children, of),
            target,
        });
    }
}

/// Games with one player each.
struct Games {
    pids: Vec<i32>,
    players: Vec<(Seat, UdpSocket)>,
}

impl Games {
    fn start(daemon: &Daemon, queue: &'static str, count: usize) -> Result<Self, Failure> {
        let mut players = Vec::new();
        for _ in 0..count {
            let mut player = Player::connect(daemon.address())?;
            player.say(&ready(queue))?;
            let (seat, socket) = (player.assignment()?, udp()?);
            seat.enter(&socket)?;
            players.push((seat, socket));
        }
        let lines = daemon.wait_for_lines("the games' pids", "match assigned", count, LIMIT)?;
        let pid = |line: &String| line.split_once(" pid=")?.1.split(' ').next()?.parse().ok();
        Ok(Self { pids: lines.iter().filter_map(pid).collect(), players })
    }

    fn end(self) -> Result<(), Failure> {
        self.players.iter().try_for_each(|(seat, socket)| seat.leave(socket))
    }
}

/// Children of `posix_spawn` that wait for a datagram.
struct Spawned<'a> {
    children: Vec<Child>,
    addresses: Vec<SocketAddr>,
    probe: &'a UdpSocket,
}

impl<'a> Spawned<'a> {
    fn start(count: usize, probe: &'a UdpSocket) -> Result<Self, Failure> {
        let pairs: Result<Vec<_>, Failure> = (0..count).map(|_| spawn()).collect();
        let (children, addresses) = pairs?.into_iter().unzip();
        Ok(Self { children, addresses, probe })
    }

    fn end(mut self) -> Result<(), Failure> {
        self.addresses.iter().try_for_each(|&address| ask(self.probe, address))?;
        let mut children = self.children.iter_mut();
        children.try_for_each(|child| child.wait().map(drop)).map_err(os("reap a child"))
    }
}

/// Children of a fork server that wait for a datagram.
struct Forked<'a> {
    server: ForkServer,
    addresses: Vec<SocketAddr>,
    probe: &'a UdpSocket,
}

impl<'a> Forked<'a> {
    fn start(count: usize, probe: &'a UdpSocket) -> Result<Self, Failure> {
        let server = ForkServer::start()?;
        let addresses: Result<Vec<_>, Failure> = (0..count).map(|_| server.fork()).collect();
        Ok(Self { server, addresses: addresses?, probe })
    }

    fn pids(&self) -> Result<Vec<i32>, Failure> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            // The first one is the process that forks.
            let pids = proc::children(self.server.pid()).into_iter().skip(1).collect::<Vec<_>>();
            if pids.len() == self.addresses.len() {
                return Ok(pids);
            }
            std::thread::yield_now();
        }
        Err(Failure::TimedOut { what: "the fork server's children", limit: LIMIT })
    }

    fn end(self) -> Result<(), Failure> {
        self.addresses.iter().try_for_each(|&address| ask(self.probe, address))
    }
}
