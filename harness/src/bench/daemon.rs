//! The daemon under measurement: the real one, built beside this program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use protocol::Reply;
use testkit::{Muster, Setup};

use crate::failure::{Failure, LIMIT, os};
use crate::names::BRIEF_GAME;
use crate::player::Player;

/// Switches all layers of confinement off.
pub(crate) const CONFINEMENT_OFF: &str = "[confinement]\nenabled = false";

/// Limits that allow a few clients to send very many requests.
const LIMITS: &str = "clients_per_address = 20000\nseats_per_address = 0\nidle_timeout = \"10m\"\n\
                      handshake_timeout = \"1m\"\nlines_per_second = 1000000\nlines_burst = 1000000";

/// Settings of a daemon with this many ports. It logs no events.
pub(crate) fn setup(ports: u16) -> Setup {
    setup_of("muster", ports)
}

/// Settings of the build whose games need not be processes: in a mode with `stub = true`.
pub(crate) fn stub_setup(ports: u16) -> Setup {
    setup_of("muster-stub", ports)
}

fn setup_of(program: &str, ports: u16) -> Setup {
    Setup::of(this_program().with_file_name(program))
        .ports(ports)
        .log("warn")
        .limits(LIMITS)
        .config("[shutdown]\ndrain_timeout = \"1s\"")
}

/// Adds a mode of games that end as soon as they have started.
pub(crate) fn brief_mode(setup: Setup, name: &str, keys: &str) -> Setup {
    setup.mode(name, &[&this_program().to_string_lossy(), BRIEF_GAME], keys)
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_default()
}

/// A running daemon. Dropping it stops it and its games.
#[derive(Debug)]
pub(crate) struct Daemon {
    muster: Muster,
    address: SocketAddr,
}

impl Daemon {
    pub(crate) fn start(setup: Setup) -> Result<Self, Failure> {
        let muster = setup.try_start().map_err(Box::new)?;
        let address = muster.address().parse().map_err(|_| Failure::Unexpected {
            said: muster.address().to_owned(),
            awaited: "an address",
        })?;
        Ok(Self { muster, address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> i32 {
        self.muster.pid()
    }

    /// Upgrades it in place, for the nth time, and waits until it has finished.
    pub(crate) fn upgrade(&self, nth: usize) -> Result<(), Failure> {
        self.muster.signal(Signal::SIGUSR2);
        self.wait_for_lines("the upgrade", "upgraded from=", nth, LIMIT).map(drop)
    }

    /// Kills it. Its keeper starts another.
    pub(crate) fn kill(&self) {
        self.muster.signal(Signal::SIGKILL);
    }

    /// The longest turn of its event loop since the last call, from the end of one wait for events to the begin of the
    /// next one. By the clock, so that it includes the time of other processes on the same processor.
    pub(crate) fn take_longest_turn(&self) -> Result<Duration, Failure> {
        let ask = || -> std::io::Result<String> {
            let mut stream = UnixStream::connect(self.muster.admin())?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(b"{\"request\":\"status\",\"reset_turns\":true}\n")?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        };
        let said = ask().map_err(os("ask the daemon for its status"))?;
        let status: Option<serde_json::Value> = serde_json::from_str(&said).ok();
        let longest_us = status.and_then(|status| status["turns"]["longest_us"].as_u64());
        let awaited = "the length of its turns";
        longest_us.map(Duration::from_micros).ok_or(Failure::Unexpected { said, awaited })
    }

    /// Waits until `count` lines of the log hold a text, and gives them.
    pub(crate) fn wait_for_lines(
        &self,
        what: &'static str,
        text: &str,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<String>, Failure> {
        let found = self.muster.log().try_wait_for_count(count, &[text], limit);
        found.map_err(|_| Failure::TimedOut { what, limit })
    }

    /// A connection that requests the status of a queue.
    pub(crate) fn watcher(&self, queue: &'static str) -> Result<Watcher, Failure> {
        let ring = self.muster.ports().len();
        Ok(Watcher { player: Player::greeted(self.address)?, queue, ring })
    }
}

/// A connection that requests the status of a queue.
#[derive(Debug)]
pub(crate) struct Watcher {
    player: Player,
    queue: &'static str,
    /// The number of ports.
    ring: usize,
}

impl Watcher {
    /// Waits until no player waits and all ports but those of `games` games are free.
    pub(crate) fn wait_until_idle(&mut self, games: usize) -> Result<(), Failure> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if self.status()? == (0, self.ring - games) {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_micros(500));
        }
        Err(Failure::TimedOut { what: "all games to end", limit: LIMIT })
    }

    /// The number of waiting players, and of free ports.
    fn status(&mut self) -> Result<(usize, usize), Failure> {
        // The answer to PING marks the end of the list of queues.
        self.player.say("STATUS\nPING end\n")?;
        let mut status = (usize::MAX, 0);
        loop {
            match self.player.reply()? {
                Reply::Status { queue, waiting, ports_free, .. } if queue == self.queue => {
                    status = (waiting, ports_free);
                }
                Reply::Pong(_) => return Ok(status),
                _ => {}
            }
        }
    }
}
