//! A daemon under test.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use client::Lobby;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::{Reply, Request};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Log, PortBlock, SOON, Scrape, Setup, binary, http, proc, wait_for, wait_until};

/// A running daemon. Dropping it stops it and all its games.
#[derive(Debug)]
pub struct Muster {
    child: Child,
    address: String,
    log: Log,
    first_pid: i32,
    first_launcher: i32,
    is_kept: bool,
    admin: PathBuf,
    ports: PortBlock,
    directory: TempDir,
}

/// Why there is no running daemon.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No block of ports is free.
    #[error("no block of {0} UDP ports is free")]
    NoPorts(u16),
    /// The program or a file is missing.
    #[error("cannot start {}: {source}", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// It exited.
    #[error("muster ended with {status}: {log}")]
    Ended {
        /// Its exit status.
        status: ExitStatus,
        /// Its log.
        log: String,
    },
    /// It does not listen in time.
    #[error("waited {SOON:?} without success for muster to listen: {log}")]
    TimedOut {
        /// Its log.
        log: String,
    },
}

impl Muster {
    pub(crate) fn start(setup: Setup) -> Self {
        let mut muster = Self::try_start(setup).unwrap_or_else(|error| panic!("{error}"));
        // The launcher is the first child, and children are listed in the order of their start.
        let is_launcher = |pid: &i32| is_launcher(*pid);
        muster.first_launcher =
            wait_for("the launcher", || proc::children(muster.pid()).into_iter().find(is_launcher));
        muster
    }

    pub(crate) fn try_start(mut setup: Setup) -> Result<Self, StartError> {
        let ports = PortBlock::try_take(setup.ports).ok_or(StartError::NoPorts(setup.ports))?;
        let program = setup.program.clone();
        let (directory, mut child) = spawn(&mut setup, &ports)
            .map_err(|source| StartError::NotStarted { program, source })?;
        let log = child.stderr.take().map(Log::follow).unwrap_or_default();
        let started_pid = i32::try_from(child.id()).unwrap();
        // Made before the wait, so that a daemon that does not listen is stopped with the test.
        let mut muster = Self {
            child,
            address: String::new(),
            log,
            first_pid: started_pid,
            first_launcher: 0,
            is_kept: setup.keep.is_some(),
            admin: setup.admin.take().unwrap_or_default(),
            ports,
            directory,
        };
        let is_in_log = !setup.logs_to_file && setup.log != "warn";
        (muster.first_pid, muster.address) = muster.wait_until_listening(is_in_log)?;
        Ok(muster)
    }

    /// Its pid and address: from the log, or where they are not in the log, from the kernel.
    fn wait_until_listening(&mut self, is_in_log: bool) -> Result<(i32, String), StartError> {
        let deadline = Instant::now() + SOON;
        loop {
            // Before the search: what it logs before its end is complete then.
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() {
                self.log.wait_for_end();
            }
            let found = if is_in_log { self.logged_address() } else { self.listening_address() };
            if let Some(found) = found {
                return Ok(found);
            }
            if let Some(status) = ended {
                return Err(StartError::Ended { status, log: self.log.text() });
            }
            if Instant::now() > deadline {
                return Err(StartError::TimedOut { log: self.log.text() });
            }
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn logged_address(&self) -> Option<(i32, String)> {
        let line = self.log.lines_with(&["listening tcp="]).pop()?;
        Some((Log::field(&line, "pid").parse().unwrap(), Log::field(&line, "tcp").to_owned()))
    }

    fn listening_address(&self) -> Option<(i32, String)> {
        let started = self.started_pid();
        // A keeper has the socket, too, but does not accept.
        let daemons = if self.is_kept { proc::children(started) } else { vec![started] };
        daemons.into_iter().find_map(|pid| Some((pid, proc::listener_of(pid)?.to_string())))
    }

    /// The daemon's children except the launcher: games and other processes.
    pub fn games(&self) -> Vec<i32> {
        let launcher = self.launcher_now();
        proc::children(self.pid()).into_iter().filter(|pid| Some(*pid) != launcher).collect()
    }

    /// The launcher's pid. A launcher has its name only after its exec, a moment after its start.
    pub fn launcher(&self) -> i32 {
        wait_for("the launcher", || self.launcher_now())
    }

    /// The launcher's pid, if there is a launcher now. The name is not enough: a game that the launcher starts has the
    /// same name for a moment.
    pub fn launcher_now(&self) -> Option<i32> {
        let later = self.log.lines_with(&["another launcher started pid="]).pop();
        let pid =
            later.map_or(self.first_launcher, |line| Log::field(&line, "pid").parse().unwrap());
        is_launcher(pid).then_some(pid)
    }

    /// The address for players, `ADDRESS:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address for HTTP, `ADDRESS:PORT`, with [`Setup::metrics`].
    pub fn http(&self) -> String {
        Log::field(&self.log.wait_for(&["serving HTTP metrics="]), "metrics").to_owned()
    }

    /// Scrapes its metrics.
    pub fn scrape(&self) -> Scrape {
        Scrape::of(&http::get_as(&self.http(), "/metrics", Scrape::ACCEPT).body)
    }

    /// Its log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The daemon's pid; under a keeper, that of the last daemon that logged its address.
    pub fn pid(&self) -> i32 {
        let last = if self.is_kept { self.logged_address() } else { None };
        last.map_or(self.first_pid, |(pid, _)| pid)
    }

    /// The pid of the process that the test started: the daemon, or its keeper.
    pub fn started_pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Its ports.
    pub fn ports(&self) -> std::ops::RangeInclusive<u16> {
        self.ports.range()
    }

    /// Sends an order to the puppet game on a port.
    pub fn order(&self, port: u16, order: &str) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.send_to(order.as_bytes(), (Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    /// Acts while the daemon is stopped, so that it finds all events at once.
    pub fn while_stopped<T>(&self, act: impl FnOnce() -> T) -> T {
        self.signal(Signal::SIGSTOP);
        wait_until("the daemon to stop", || proc::state(self.pid()) == Some('T'));
        let result = act();
        self.signal(Signal::SIGCONT);
        result
    }

    /// A new connection that has received the greeting.
    pub fn connect(&self) -> Lobby {
        Lobby::connect(&self.address, SOON).unwrap()
    }

    /// A new connection with a place in a queue.
    pub fn join(&self, queue: &str, name: &str) -> Lobby {
        let mut lobby = self.connect();
        lobby.join(Some(queue), Some(name), SOON).unwrap();
        lobby
    }

    /// The STATUS of a queue: waiting players, games, free ports.
    pub fn status(&self, queue: &str) -> (usize, usize, usize) {
        let mut lobby = self.connect();
        lobby.send(&Request::Status).unwrap();
        loop {
            if let Reply::Status { queue: name, waiting, games, ports_free } =
                lobby.next_reply(SOON).unwrap()
                && name == queue
            {
                return (waiting, games, ports_free);
            }
        }
    }

    /// Waits until no player waits, all ports but those of `games` games are free, and no zombie is left.
    pub fn wait_until_idle(&self, queue: &str, games: usize) {
        let ring = self.ports.range().len();
        wait_until("all ports to be free and no player to wait", || {
            self.status(queue) == (0, games, ring - games)
        });
        let is_zombie = |pid: i32| proc::state(pid) == Some('Z');
        wait_until("no zombie", || !proc::children(self.pid()).into_iter().any(is_zombie));
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Kills a daemon that runs under a keeper, and waits for the next one.
    pub fn crash(&self) {
        let first = self.pid();
        let crashes = self.log.lines_with(&["back after a crash"]).len();
        self.signal(Signal::SIGKILL);
        self.log.wait_for_count(crashes + 1, &["back after a crash"]);
        wait_for("another daemon", || Some(self.pid()).filter(|pid| *pid != first));
    }

    /// Stops the daemon, and asserts that neither a process with its instance name nor a game's directory is left.
    pub fn stop_and_assert_nothing_left(mut self) {
        let launcher = proc::environment(self.launcher());
        let name = launcher.into_iter().find(|it| it.starts_with("MUSTER_INSTANCE=")).unwrap();
        for stop in [Signal::SIGTERM, Signal::SIGINT] {
            kill(Pid::from_raw(self.started_pid()), stop).unwrap();
        }
        self.wait_for_exit();
        let left: Vec<i32> =
            proc::all().filter(|pid| proc::environment(*pid).contains(&name)).collect();
        assert_eq!(left, [0; 0]);
        let files = std::fs::read_dir(self.directory()).unwrap().flatten();
        let files: Vec<_> = files.map(|entry| entry.file_name()).collect();
        assert_eq!(files, ["muster.toml"]);
    }

    /// Upgrades the daemon to another program, or to the one that it was started as, and gives the output of `muster
    /// upgrade`. `Err`: the upgrade is refused.
    pub fn upgrade(&self, program: Option<&Path>) -> Result<String, String> {
        let program = program.map(|program| program.to_str().unwrap());
        self.operate(&[&["upgrade"], program.as_slice()].concat())
    }

    /// Runs an operator's command, and gives its output. `Err`: it is refused, with its error.
    pub fn operate(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(binary("muster"));
        command.args(arguments).arg("--admin").arg(&self.admin);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        match output.status.success() {
            true => Ok(text(output.stdout)),
            false => Err(text(output.stderr)),
        }
    }

    /// Replaces the modes and the tables after `[ports]` in the configuration file. The daemon reads it at a reload.
    pub fn configure(&self, toml: &str) {
        let file = self.directory().join("muster.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        let fixed: String =
            before.split_inclusive('\n').take_while(|line| !line.starts_with("[[")).collect();
        let fixed = fixed.split("[limits]").next().unwrap_or_default();
        std::fs::write(&file, format!("{fixed}{toml}")).unwrap();
    }

    /// The living games, from `muster games --json`.
    pub fn living_games(&self) -> Vec<Value> {
        let output = self.operate(&["games", "--json"]).unwrap_or_default();
        let output: Value = serde_json::from_str(&output).unwrap_or_default();
        output["living"].as_array().cloned().unwrap_or_default()
    }

    /// The daemon's directory, which is removed with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of its admin socket.
    pub fn admin(&self) -> &Path {
        &self.admin
    }

    /// Waits until the daemon has exited.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        wait_for("the daemon's exit", || self.child.try_wait().unwrap())
    }
}

impl Drop for Muster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log.shown());
        }
        let is_running = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_none());
        if !is_running(&mut self.child) {
            return;
        }
        // The second signal ends the games at once. Killing the daemon would leave games behind, so a test that has
        // failed waits for the exit, too.
        let first = Pid::from_raw(self.started_pid());
        for stop in [Signal::SIGTERM, Signal::SIGINT] {
            kill(first, stop).unwrap();
        }
        if !std::thread::panicking() {
            self.wait_for_exit();
            return;
        }
        let deadline = Instant::now() + SOON;
        while is_running(&mut self.child) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        // The keeper's daemon is held by a pidfd first: it would outlive the keeper.
        let daemon = process::Pidfd::open(self.pid()).ok().filter(|_| self.is_kept);
        let _ = self.child.kill();
        let _ = self.child.wait();
        daemon.into_iter().for_each(|daemon| _ = daemon.signal(Signal::SIGKILL as i32));
    }
}

/// Writes the configuration and starts the process.
fn spawn(setup: &mut Setup, ports: &PortBlock) -> std::io::Result<(TempDir, Child)> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("muster.toml");
    let range = setup.other_ports.clone().unwrap_or_else(|| ports.range());
    std::fs::write(&file, setup.config_text(*range.start(), *range.end()))?;
    if setup.user.is_some() {
        crate::set_mode(directory.path(), 0o777);
    }
    let admin = setup.admin.get_or_insert_with(|| directory.path().join("admin.sock")).clone();
    let mut command = setup.command(directory.path());
    command.args(["serve", "--log", setup.log, "--config"]).arg(&file);
    command.arg("--admin").arg(&admin).args(setup.keep.map(|silence| format!("--keep={silence}")));
    command.stderr(match setup.logs_to_file {
        true => File::create(directory.path().join("log"))?.into(),
        false => Stdio::piped(),
    });
    let child = command.spawn()?;
    // It has its copy of what it inherited.
    drop(command);
    Ok((directory, child))
}

fn is_launcher(pid: i32) -> bool {
    proc::command_line(pid) == ["muster-launcher"]
}
