//! The daemon under test: the real one, started and stopped.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::Reply;
use tempfile::TempDir;

use crate::failure::{Failure, os};
use crate::player::Player;
use crate::ports::PortBlock;
use crate::proc;
use crate::roles::BRIEF_GAME;

/// What switches all layers of confinement off.
pub(crate) const CONFINEMENT_OFF: &str = "[confinement]\nenabled = false\n";

/// How long anything may take that is due at once. It only ends what would hang.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What the daemon says of a configuration that it does not understand; sysexits(3), `EX_CONFIG`.
const CONFIG_ERROR: i32 = 78;

/// How a daemon is set up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    ports: u16,
    /// Its games are no processes, where a mode says `stub = true`.
    has_stubs: bool,
    /// Events that a figure reads are in the log at `info`; otherwise nobody pays for it.
    logs_events: bool,
    /// Nobody reads the log.
    logs_to_file: bool,
    /// It runs under a keeper of its own, which starts another when it dies.
    is_kept: bool,
    limits: String,
    text: String,
}

impl Setup {
    /// A ring of so many ports.
    pub(crate) fn ports(count: u16) -> Self {
        Self { ports: count, ..Self::default() }
    }

    /// The build whose games need not be processes.
    pub(crate) fn with_stubs(mut self) -> Self {
        self.has_stubs = true;
        self
    }

    /// Lets the daemon log events, for figures that read them.
    pub(crate) fn logging_events(mut self) -> Self {
        self.logs_events = true;
        self
    }

    /// Lets the daemon log events as it does for an operator, into a file.
    pub(crate) fn logging_to_file(mut self) -> Self {
        (self.logs_events, self.logs_to_file) = (true, true);
        self
    }

    /// Lets the daemon be kept: where it crashes, another goes on.
    pub(crate) fn kept(mut self) -> Self {
        self.is_kept = true;
        self
    }

    /// Adds lines to the limits.
    pub(crate) fn limit(mut self, lines: &str) -> Self {
        self.limits.push_str(lines);
        self.limits.push('\n');
        self
    }

    /// Adds lines to the config, whole tables.
    pub(crate) fn with(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Adds a mode; `keys` are lines of it.
    pub(crate) fn mode(self, name: &str, players: u16, command: &[&str], keys: &str) -> Self {
        self.with(&format!(
            "[[mode]]\nname = {name:?}\nplayers = {players}\ncommand = {command:?}\n{keys}\n"
        ))
    }

    /// Adds a mode of games for one player that end as soon as they have started.
    pub(crate) fn brief_mode(self, name: &str, keys: &str) -> Result<Self, Failure> {
        self.brief_mode_for(name, 1, keys)
    }

    /// Adds a mode of games for so many players that end as soon as they have started.
    pub(crate) fn brief_mode_for(
        self,
        name: &str,
        players: u16,
        keys: &str,
    ) -> Result<Self, Failure> {
        let program = std::env::current_exe().map_err(os("find this program"))?;
        Ok(self.mode(name, players, &[&program.to_string_lossy(), BRIEF_GAME], keys))
    }

    /// Starts the daemon and waits until it listens.
    pub(crate) fn start(&self) -> Result<Daemon, Failure> {
        Daemon::start(self)
    }
}

/// A running daemon. Dropped, it is stopped, and its games with it.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// The daemon, or its keeper.
    child: Child,
    is_kept: bool,
    /// The daemon.
    pid: u32,
    address: SocketAddr,
    ports: PortBlock,
    log: Arc<Mutex<Vec<String>>>,
    admin: PathBuf,
    _directory: TempDir,
}

impl Daemon {
    fn start(setup: &Setup) -> Result<Self, Failure> {
        let ports = PortBlock::take(setup.ports)?;
        let directory = tempfile::tempdir_in(process::temporary_directory())
            .map_err(os("make a temporary directory"))?;
        let config = directory.path().join("muster.toml");
        let (first, last) = (ports.range().start(), ports.range().end());
        let admin = directory.path().join("admin.sock");
        let level = if setup.logs_events { "info" } else { "warn" };
        // Limits that would be in the way of a few clients who ask for very much.
        let text = format!(
            "[listen]\ntcp = \"127.0.0.1:0\"\nadmin = {admin:?}\nmetrics = \"off\"\n\
             [ports]\nrange = \"{first}-{last}\"\nquarantine = \"0s\"\n\
             [log]\nlevel = \"{level}\"\n[shutdown]\ndrain_timeout = \"1s\"\n\
             [limits]\nclients_per_address = 20000\nseats_per_address = 0\nidle_timeout = \"10m\"\nhandshake_timeout = \"1m\"\n\
             lines_per_second = 1000000\nlines_burst = 1000000\n{}{}",
            setup.limits, setup.text
        );
        std::fs::write(&config, text).map_err(os("write the daemon's configuration"))?;
        let stderr = match setup.logs_to_file {
            false => Stdio::piped(),
            true => File::create(directory.path().join("log")).map_err(os("make a log"))?.into(),
        };
        let mut child = Command::new(program(setup.has_stubs)?)
            .args(["serve", "--config"])
            .arg(&config)
            .args(setup.is_kept.then_some("--keep=30s"))
            .env_remove("NOTIFY_SOCKET")
            .env_remove("JOURNAL_STREAM")
            .env("TMPDIR", directory.path())
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(os("start muster, or muster-stub; is it built, beside this program?"))?;
        let log = Arc::default();
        // Where it goes to a file, there is nothing to follow.
        if let Some(stderr) = child.stderr.take() {
            follow(stderr, Arc::clone(&log));
        }
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let (pid, is_kept) = (child.id(), setup.is_kept);
        let mut daemon =
            Self { child, is_kept, pid, address, ports, log, admin, _directory: directory };
        (daemon.pid, daemon.address) = daemon.wait_until_listening()?;
        Ok(daemon)
    }

    /// The log need not tell where: at the level `warn` it says nothing of it.
    fn wait_until_listening(&mut self) -> Result<(u32, SocketAddr), Failure> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if let Some(found) = self.find_listening() {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait().map_err(os("look after the daemon"))? {
                std::thread::park_timeout(Duration::from_millis(20));
                let said = self.log_lines().join("; ");
                return Err(match status.code() {
                    Some(CONFIG_ERROR) => Failure::ConfigRefused(said),
                    _ => Failure::Ended(format!("{status}: {said}")),
                });
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        Err(Failure::TimedOut { what: "the daemon to listen", limit: LIMIT })
    }

    /// A keeper holds the socket, too, and is not who listens.
    fn find_listening(&self) -> Option<(u32, SocketAddr)> {
        let child = self.child.id();
        let daemons = if self.is_kept { proc::children(child) } else { vec![child] };
        daemons.into_iter().find_map(|pid| Some((pid, proc::listener_of(pid)?)))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Upgrades it in place, for the so-manieth time, and waits until it goes on.
    pub(crate) fn upgrade(&self, nth: usize) -> Result<(), Failure> {
        self.signal(Signal::SIGUSR2)?;
        self.wait_for_lines("the upgrade", "upgraded from=", nth, LIMIT).map(drop)
    }

    /// Kills it, so that its keeper starts another.
    pub(crate) fn kill(&self) -> Result<(), Failure> {
        self.signal(Signal::SIGKILL)
    }

    /// Waits until there is another than the one that was killed.
    pub(crate) fn wait_for_another(&mut self) -> Result<(), Failure> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            let found = self.find_listening().filter(|(pid, _)| *pid != self.pid);
            if let Some((pid, _)) = found {
                self.pid = pid;
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
        Err(Failure::TimedOut { what: "another daemon", limit: LIMIT })
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = Pid::from_raw(i32::try_from(self.pid).unwrap_or_default());
        kill(pid, signal).map_err(|errno| os("signal the daemon")(errno.into()))
    }

    /// The longest turn of its loop since this was asked last, from the kernel's word that there is something to do to
    /// the next wait: by the clock, so that it counts what others did on the processor meanwhile.
    pub(crate) fn take_longest_turn(&self) -> Result<Duration, Failure> {
        let mut stream = UnixStream::connect(&self.admin).map_err(os("ask the daemon"))?;
        stream.set_read_timeout(Some(LIMIT)).map_err(os("ask the daemon"))?;
        stream
            .write_all(b"{\"request\":\"status\",\"reset_turns\":true}\n")
            .map_err(os("ask the daemon"))?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).map_err(os("hear the daemon"))?;
        let status: Option<serde_json::Value> = serde_json::from_str(&line).ok();
        let longest_us = status.and_then(|status| status["turns"]["longest_us"].as_u64());
        let awaited = "how long its turns were";
        longest_us.map(Duration::from_micros).ok_or(Failure::Unexpected { said: line, awaited })
    }

    /// All lines of its log so far.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `count` lines of the log hold a text, and gives them.
    pub(crate) fn wait_for_lines(
        &self,
        what: &'static str,
        text: &str,
        count: usize,
        limit: Duration,
    ) -> Result<Vec<String>, Failure> {
        let began = Instant::now();
        while began.elapsed() < limit {
            let lines = self.log_lines().into_iter().filter(|line| line.contains(text));
            let lines: Vec<String> = lines.collect();
            if lines.len() >= count {
                return Ok(lines);
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Err(Failure::TimedOut { what, limit })
    }

    /// Who asks this daemon how it stands.
    pub(crate) fn watcher(&self, queue: &'static str) -> Result<Watcher, Failure> {
        let ring = self.ports.range().len();
        Ok(Watcher { player: Player::greeted(self.address)?, queue, ring })
    }
}

impl Drop for Daemon {
    /// The second signal ends the games at once.
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default());
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(pid, Signal::SIGTERM);
            let _ = kill(pid, Signal::SIGINT);
        }
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < LIMIT {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that asks how the daemon stands.
#[derive(Debug)]
pub(crate) struct Watcher {
    player: Player,
    queue: &'static str,
    ring: usize,
}

impl Watcher {
    /// Waits until nobody waits and there are `games` games in all, each with its port, and no more.
    pub(crate) fn wait_for_calm(&mut self, games: usize) -> Result<(), Failure> {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            if self.ask()? == (0, self.ring - games) {
                return Ok(());
            }
            std::thread::park_timeout(Duration::from_micros(500));
        }
        Err(Failure::TimedOut { what: "all games to end", limit: LIMIT })
    }

    /// Players who wait in the queue, and free ports.
    fn ask(&mut self) -> Result<(usize, usize), Failure> {
        // The line that ends the answer, however many queues there are.
        self.player.say("STATUS\nPING end\n")?;
        let mut stands = (usize::MAX, 0);
        loop {
            match self.player.reply()? {
                Reply::Status { queue, waiting, ports_free, .. } if queue == self.queue => {
                    stands = (waiting, ports_free);
                }
                Reply::Pong(_) => return Ok(stands),
                _ => {}
            }
        }
    }
}

/// The daemon is built beside this program.
fn program(has_stubs: bool) -> Result<PathBuf, Failure> {
    let this = std::env::current_exe().map_err(os("find this program"))?;
    Ok(this.with_file_name(if has_stubs { "muster-stub" } else { "muster" }))
}

fn follow(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
}
