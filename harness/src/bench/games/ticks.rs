//! How late the ticks of many arenas are, at 60 and 30 Hz, beside as many bare processes that wake up for a
//! timerfd and send two datagrams, in the same run.
//!
//! The games are all there before the first hello, so that no launch disturbs a tick. Then the players come in,
//! spread evenly over a second, and say a move every half second, which is what keeps arena telling them every
//! tick. The bare processes are met by the same players. What is compared is, over all games, the median of the
//! games' own medians, and of their own 99th percentiles; those of arena are up to an eighth too high. How busy the
//! processors are is said of the whole machine, players and strangers included, where the kernel only samples and
//! may miss short work; and of the games alone.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use testkit::proc;

use crate::baseline::{game_socket, role};
use crate::bench::Bench;
use crate::daemon::{Daemon, setup};
use crate::failure::{Failure, os};
use crate::machine::{Processors, pid_of, processor_seconds};
use crate::names::{PEERS, TICKS};
use crate::player::{Player, Seat, ready, udp};
use crate::stats::{Row, Samples, Target};

/// Over how long the players come in: ticks then fall on all moments alike.
const ARRIVAL: Duration = Duration::from_secs(1);

/// How often each player says a move and reads what came: at least once a second, or arena tells it less.
const MOVE_PERIOD: Duration = Duration::from_millis(500);

/// Players that move together.
const GROUPS: u32 = 100;

/// How long the end of a game may take on an overloaded machine.
const ENDING: Duration = Duration::from_secs(15);

/// The results of all rounds of one kind.
#[derive(Debug, Default)]
struct TickResults {
    p50_us: Samples,
    p99_us: Samples,
    max_us: f64,
    ticks: u64,
    missed: u64,
    busy_percent: Samples,
    /// In percent of one processor.
    games_percent: Samples,
}

impl TickResults {
    /// Takes the results of a round.
    fn take(&mut self, results: &[String]) {
        for result in results.iter().filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
            let late = |key: &str| result["lateness_us"][key].as_f64().unwrap_or(f64::NAN);
            self.p50_us.push(late("p50"));
            self.p99_us.push(late("p99"));
            self.max_us = self.max_us.max(late("max"));
            self.ticks += result["ticks"].as_u64().unwrap_or_default();
            self.missed += result["ticks_missed"].as_u64().unwrap_or_default();
        }
    }
}

/// Measures, and prints.
pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    for &hz in &bench.scale.tick_rates {
        for &count in &bench.scale.tick_games {
            let (mut arena, mut bare) = (TickResults::default(), TickResults::default());
            for _ in 0..bench.scale.tick_rounds {
                run_bare(count, hz, bench.scale.tick_length, &mut bare)?;
                run_arena(count, hz, bench.scale.tick_length, &mut arena)?;
            }
            print(bench, &format!("{count} at {hz} Hz"), arena, bare);
        }
    }
    Ok(())
}

fn print(bench: &Bench, which: &str, arena: TickResults, bare: TickResults) {
    for (what, muster, baseline) in [
        ("lateness p50, µs", arena.p50_us, bare.p50_us),
        ("lateness p99, µs", arena.p99_us, bare.p99_us),
        ("machine busy, %", arena.busy_percent, bare.busy_percent),
        ("games, % of one core", arena.games_percent, bare.games_percent),
    ] {
        let what = format!("{which}: {what}");
        bench.print(&Row {
            what,
            muster,
            against: "bare timerfd",
            baseline,
            target: Target::Shown,
        });
    }
    bench.note(format_args!(
        "{which}: arena handled {} ticks, missed {}, latest {:.1} ms; bare {}, {}, {:.1} ms",
        arena.ticks,
        arena.missed,
        arena.max_us / 1e3,
        bare.ticks,
        bare.missed,
        bare.max_us / 1e3
    ));
}

fn run_arena(
    count: u16,
    hz: u32,
    length: Duration,
    totals: &mut TickResults,
) -> Result<(), Failure> {
    let duration = format!("{}ms", length.as_millis());
    let hz = hz.to_string();
    let command = ["muster-game", "arena", "--hz", &hz, "--duration", &duration];
    let keys = "players = 2\nwarm = 0\nhello_timeout = \"2m\"\nready_timeout = \"1m\"\nstart_timeout = \"1m\"";
    let setup = setup(count + 24).log("info").mode("arena", &command, keys);
    let daemon = Daemon::start(setup)?;
    let ready = ready("arena");
    let mut players = Vec::new();
    for _ in 0..usize::from(count) * PEERS {
        let mut player = Player::connect(daemon.address())?;
        player.say(&ready)?;
        players.push(player);
    }
    let seats: Result<Vec<Seat>, Failure> = players.iter_mut().map(Player::assignment).collect();
    drop(players);
    let mut seats = seats?;
    // The players of a game come in together.
    seats.sort_by_key(|seat| seat.game);
    let mut crowd = Crowd::gather(seats)?;
    crowd.play(length, &proc::children(daemon.pid()), totals);
    let text = "match result";
    let lines = daemon.wait_for_lines("the games' results", text, count.into(), ENDING);
    crowd.leave();
    let results = lines?.into_iter().filter_map(|line| Some(line.split_once(" result=")?.1.into()));
    totals.take(&results.collect::<Vec<String>>());
    Ok(())
}

fn run_bare(
    count: u16,
    hz: u32,
    length: Duration,
    totals: &mut TickResults,
) -> Result<(), Failure> {
    let (results, its_results) = std::io::pipe().map_err(os("make a pipe"))?;
    let (mut children, mut seats) = (Children::default(), Vec::new());
    let millis = length.as_millis().to_string();
    for _ in 0..count {
        let (socket, address) = game_socket()?;
        let output = its_results.try_clone().map_err(os("duplicate a pipe"))?;
        let output = Stdio::from(OwnedFd::from(output));
        children.0.push(role(&[TICKS, &hz.to_string(), &millis], socket, output)?);
        seats.extend((0..PEERS).map(|_| Seat { game: address, hello: "HELLO".to_owned() }));
    }
    // The end of the pipe is then that of the last child.
    drop(its_results);
    let mut crowd = Crowd::gather(seats)?;
    let pids: Vec<i32> = children.0.iter().map(pid_of).collect();
    crowd.play(length, &pids, totals);
    let lines = BufReader::new(results).lines().map_while(Result::ok);
    totals.take(&lines.take(count.into()).collect::<Vec<String>>());
    Ok(())
}

/// Bare processes; dropped, they are gone.
#[derive(Default)]
struct Children(Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// All players, in one thread.
struct Crowd {
    players: Vec<InGame>,
    /// Players of a group are next to each other; the next group to move.
    next: usize,
}

struct InGame {
    socket: UdpSocket,
    game: SocketAddr,
    hello: String,
    /// Moves said so far.
    said: u32,
    /// The newest snapshot that came.
    newest: u32,
}

impl Crowd {
    fn gather(seats: Vec<Seat>) -> Result<Self, Failure> {
        let player = |seat: Seat| -> Result<InGame, Failure> {
            let socket = udp()?;
            socket.set_nonblocking(true).map_err(os("prepare a UDP socket"))?;
            let Seat { game, hello } = seat;
            Ok(InGame { socket, game, hello, said: 0, newest: 0 })
        };
        let players: Result<Vec<InGame>, Failure> = seats.into_iter().map(player).collect();
        Ok(Self { players: players?, next: 0 })
    }

    /// Lets everybody in, and plays until the last game ends; notes how busy the machine is while all play.
    fn play(&mut self, length: Duration, pids: &[i32], totals: &mut TickResults) {
        let began = Instant::now();
        let games = self.players.len() / PEERS;
        for (game, players) in self.players.chunks(PEERS).enumerate() {
            sleep_until(began + ARRIVAL * number(game) / number(games));
            for player in players {
                player.send(player.hello.as_bytes());
            }
        }
        // Once all players have sent a move, all receive every tick.
        self.move_until(Instant::now() + MOVE_PERIOD);
        let (machine, steady) = (Processors::now(), Instant::now());
        let before: Vec<Option<f64>> = pids.iter().map(|&pid| processor_seconds(pid)).collect();
        // Before the first game ends: the time of an ended process is unknown.
        self.move_until((began + length).checked_sub(MOVE_PERIOD).unwrap_or(began));
        let taken = |(&pid, before)| Some(processor_seconds(pid)? - before?);
        let games: f64 = pids.iter().zip(before).filter_map(taken).sum();
        totals.games_percent.push(100.0 * games / steady.elapsed().as_secs_f64());
        totals.busy_percent.push(Processors::now().percent_since(machine));
        // The last games end as much later as their players came.
        self.move_until(began + length + ARRIVAL);
    }

    fn move_until(&mut self, end: Instant) {
        let mut at = Instant::now();
        // By the clock: on a machine that cannot keep up fewer moves are said, for no longer.
        while Instant::now() < end {
            self.move_group();
            at += MOVE_PERIOD / GROUPS;
            sleep_until(at);
        }
    }

    fn move_group(&mut self) {
        let size = self.players.len().div_ceil(GROUPS as usize);
        let first = (self.next * size).min(self.players.len());
        let last = (first + size).min(self.players.len());
        self.players[first..last].iter_mut().for_each(InGame::play);
        self.next = (self.next + 1) % GROUPS as usize;
    }

    fn leave(&self) {
        self.players.iter().for_each(|player| player.send(b"BYE"));
    }
}

impl InGame {
    /// Reads all that came, and says a move: to and fro.
    fn play(&mut self) {
        let mut bytes = [0; 1500];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            let words = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
            let number = words.strip_prefix("SNAP ").and_then(|rest| rest.split(' ').next());
            self.newest = number.and_then(|word| word.parse().ok()).unwrap_or(self.newest);
        }
        self.said += 1;
        let direction = if self.said.is_multiple_of(2) { 4 } else { 6 };
        self.send(format!("INPUT {} {} {direction}", self.said, self.newest).as_bytes());
    }

    /// A datagram that cannot be sent is lost, as on a network; an ended game is no error.
    fn send(&self, datagram: &[u8]) {
        let _ = self.socket.send_to(datagram, self.game);
    }
}

fn sleep_until(at: Instant) {
    std::thread::sleep(at.saturating_duration_since(Instant::now()));
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}
