//! How long the daemon's loop lets a client wait while hundreds of games start, seen from outside,
//!
//! and how long its turns were by its own account.
//!
//! One client says PING every 200 µs and notes how late each PONG is; meanwhile hundreds of players who are
//! connected already say READY at once, and every game has to be launched. The same is noted of an idle daemon,
//! and of an idle daemon while this program spawns as many children itself: what is late then is the machine.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::baseline::{ask, receive, spawn};
use crate::bench::Bench;
use crate::daemon::{Daemon, setup};
use crate::failure::{Failure, os};
use crate::games::latency::micros;
use crate::player::{Player, ready, udp};
use crate::stats::{Row, Samples, Target};

const QUEUE: &str = "cold";

const PING_PERIOD: Duration = Duration::from_micros(200);

/// How long an idle daemon is listened to.
const IDLE: Duration = Duration::from_secs(1);

/// Longest and usual delays of several rounds, in microseconds.
#[derive(Debug, Default)]
struct Delays {
    longest: Samples,
    all: Samples,
}

impl Delays {
    fn take(&mut self, delays: Vec<Duration>) {
        let longest = delays.iter().max().copied().unwrap_or_default();
        self.longest.push(micros(longest));
        delays.into_iter().for_each(|delay| self.all.push(micros(delay)));
    }
}

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    let count = bench.scale.stall_games;
    let echo = ["muster-game", "echo"];
    let daemon = Daemon::start(setup(count + 16).mode(QUEUE, &echo, "players = 1\nwarm = 0"))?;
    let (mut idle, mut spawning, mut starting) =
        (Delays::default(), Delays::default(), Delays::default());
    let (mut idle_turns, mut starting_turns) = (Samples::default(), Samples::default());
    for _ in 0..bench.scale.stall_rounds {
        daemon.watcher(QUEUE)?.wait_until_idle(0)?;
        daemon.take_longest_turn()?;
        idle.take(delays_while(daemon.address(), || {
            std::thread::sleep(IDLE);
            Ok(())
        })?);
        idle_turns.push(micros(daemon.take_longest_turn()?));
        spawning.take(delays_while(daemon.address(), || spawn_children(count))?);
        daemon.take_longest_turn()?;
        starting.take(start_games(&daemon, count)?);
        starting_turns.push(micros(daemon.take_longest_turn()?));
    }
    for (what, muster, spawning, idle) in [
        ("longest delay, µs", &starting.longest, &spawning.longest, &idle.longest),
        ("all delays, µs", &starting.all, &spawning.all, &idle.all),
    ] {
        for (against, baseline) in [("bare posix_spawn", spawning), ("idle", idle)] {
            let (what, target) = (format!("{count} starts: {what}"), Target::Shown);
            let (muster, baseline) = (muster.clone(), baseline.clone());
            bench.print(&Row { what, muster, against, baseline, target });
        }
    }
    bench.print(&Row {
        what: format!("{count} starts: longest turn, µs"),
        muster: starting_turns,
        against: "idle",
        baseline: idle_turns,
        target: Target::AtMost(1000.0),
    });
    Ok(())
}

/// Games for players who are connected before the clock runs; and ends them after it has stopped.
fn start_games(daemon: &Daemon, count: u16) -> Result<Vec<Duration>, Failure> {
    let players: Result<Vec<Player>, Failure> =
        (0..count).map(|_| Player::greeted(daemon.address())).collect();
    let (mut players, ready) = (players?, ready(QUEUE));
    let mut seats = Vec::new();
    let delays = delays_while(daemon.address(), || {
        players.iter_mut().try_for_each(|player| player.say(&ready))?;
        for player in &mut players {
            seats.push(player.assignment()?);
        }
        Ok(())
    })?;
    seats.iter().try_for_each(|seat| seat.visit())?;
    Ok(delays)
}

/// As many children as a daemon launches at a time, again and again.
fn spawn_children(count: u16) -> Result<(), Failure> {
    const AT_A_TIME: usize = 32;
    let probe = udp()?;
    let mut left = usize::from(count);
    while left > 0 {
        let batch = left.min(AT_A_TIME);
        let children: Result<Vec<_>, Failure> = (0..batch).map(|_| spawn()).collect();
        let mut children = children?;
        for (_, address) in &children {
            ask(&probe, *address)?;
            receive(&probe)?;
        }
        for (child, _) in &mut children {
            child.wait().map_err(os("reap a child"))?;
        }
        left -= batch;
    }
    Ok(())
}

/// The delays of all answers while something is done.
fn delays_while(
    address: SocketAddr,
    act: impl FnOnce() -> Result<(), Failure>,
) -> Result<Vec<Duration>, Failure> {
    let player = Player::greeted(address)?;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pinging = scope.spawn(|| ping_until(player, &is_done));
        let acted = act();
        is_done.store(true, Ordering::Relaxed);
        let ended = Failure::Ended("a panic of the benchmark".into());
        let delays = pinging.join().unwrap_or(Err(ended))?;
        acted.map(|()| delays)
    })
}

/// Says PING by the clock, however late the answers are, and notes when each came.
fn ping_until(player: Player, is_done: &AtomicBool) -> Result<Vec<Duration>, Failure> {
    let mut stream = player.into_stream();
    stream.set_nonblocking(true).map_err(os("prepare a connection"))?;
    let (mut asked, mut delays) = (Vec::new(), Vec::new());
    let mut bytes = [0; 4096];
    let mut due = Instant::now();
    while !is_done.load(Ordering::Relaxed) || delays.len() < asked.len() {
        let now = Instant::now();
        if now >= due && !is_done.load(Ordering::Relaxed) {
            stream.write_all(b"PING\n").map_err(os("say PING"))?;
            asked.push(now);
            due += PING_PERIOD;
        }
        match stream.read(&mut bytes) {
            Ok(0) => return Err(Failure::Ended("the connection of the pings".into())),
            Ok(length) => {
                let now = Instant::now();
                let lines = bytes[..length].iter().filter(|&&byte| byte == b'\n').count();
                let answered: Vec<Instant> =
                    asked.iter().skip(delays.len()).take(lines).copied().collect();
                delays.extend(answered.into_iter().map(|at| now - at));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let left = due.saturating_duration_since(Instant::now());
                let timeout = Timespec::try_from(left).unwrap_or_default();
                let _ = poll(&mut [PollFd::new(&stream, PollFlags::IN)], Some(&timeout));
            }
            Err(error) => return Err(os("hear PONG")(error)),
        }
    }
    Ok(delays)
}
