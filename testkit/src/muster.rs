//! A daemon for one test.

use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use client::Lobby;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::{Reply, Request};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Log, PortBlock, SOON, Scrape, binary, hostile_game, http, proc, wait_for, wait_until};

/// How a daemon is set up. The config's `[listen]` and `[ports]` are the setup's.
#[derive(Debug)]
pub struct Setup {
    ports: u16,
    quarantine: &'static str,
    admin: Option<PathBuf>,
    listen: String,
    others_ports: Option<RangeInclusive<u16>>,
    config: String,
    log: &'static str,
    metrics: bool,
    open_files: Option<u64>,
    user: Option<u32>,
    program: PathBuf,
    environment: Vec<(String, String)>,
    given: Option<(OwnedFd, String)>,
    kept: Option<&'static str>,
    steps: Option<(&'static str, &'static str)>,
}

impl Default for Setup {
    /// A ring of eight ports without quarantine, and no mode: add at least one.
    fn default() -> Self {
        Self {
            ports: 8,
            quarantine: "0s",
            admin: None,
            listen: String::new(),
            others_ports: None,
            config: String::new(),
            log: "debug",
            metrics: false,
            open_files: None,
            user: None,
            program: binary("muster"),
            environment: Vec::new(),
            given: None,
            kept: None,
            steps: None,
        }
    }
}

impl Setup {
    /// Sets the size of the port ring.
    #[must_use]
    pub fn ports(mut self, count: u16) -> Self {
        self.ports = count;
        self
    }

    /// Takes the ports of another daemon, to be bound on another address.
    #[must_use]
    pub fn ports_of(mut self, other: &Muster) -> Self {
        self.others_ports = Some(other.ports());
        self
    }

    /// Sets how long a port rests.
    #[must_use]
    pub fn quarantine(mut self, duration: &'static str) -> Self {
        self.quarantine = duration;
        self
    }

    /// Has the admin socket at another place than in the daemon's directory.
    #[must_use]
    pub fn admin(mut self, path: &Path) -> Self {
        self.admin = Some(path.to_owned());
        self
    }

    /// Adds lines to `[listen]`.
    #[must_use]
    pub fn listen(mut self, toml: &str) -> Self {
        self.listen.push_str(toml);
        self.listen.push('\n');
        self
    }

    /// Adds lines to the config, tables of their own: `[limits]`, `[shutdown]`.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Adds a mode that runs a program; `keys` are further lines, such as `warm = 1`.
    #[must_use]
    pub fn mode(self, name: &str, command: &[&str], keys: &str) -> Self {
        let command: Vec<String> = command.iter().map(|word| format!("{word:?}")).collect();
        let command = command.join(", ");
        self.config(&format!("[[mode]]\nname = \"{name}\"\ncommand = [{command}]\n{keys}"))
    }

    /// Adds a mode `duel` that plays the reference tic-tac-toe.
    #[must_use]
    pub fn duel(self, keys: &str) -> Self {
        self.mode("duel", &["muster-game", "tictactoe"], keys)
    }

    /// Adds a mode whose game misbehaves in the way that `behaviour` names. It is not confined, as what it does is
    /// to be borne also where confinement is not to be had.
    #[must_use]
    pub fn hostile(self, name: &str, behaviour: &[&str], keys: &str) -> Self {
        let keys = format!("{keys}\n[mode.confinement]\nenabled = false");
        self.confined_hostile(name, behaviour, &keys)
    }

    /// Adds a mode whose game misbehaves in the way that `behaviour` names, as confined as `keys` say.
    #[must_use]
    pub fn confined_hostile(self, name: &str, behaviour: &[&str], keys: &str) -> Self {
        let game = hostile_game();
        let mut command = vec![game.to_str().unwrap()];
        command.extend(behaviour);
        self.mode(name, &command, keys)
    }

    /// Adds a mode whose games do what the test tells them; see `puppet-game`.
    #[must_use]
    pub fn puppet(self, name: &str, behaviour: &[&str], keys: &str) -> Self {
        let game = binary("puppet-game");
        let mut command = vec![game.to_str().unwrap()];
        command.extend(behaviour);
        self.mode(name, &command, keys)
    }

    /// Sets how much is logged: `info` at least, as what a test waits for is there.
    #[must_use]
    pub fn log(mut self, level: &'static str) -> Self {
        self.log = level;
        self
    }

    /// Serves HTTP; see [`Muster::http`].
    #[must_use]
    pub fn metrics(mut self) -> Self {
        self.metrics = true;
        self
    }

    /// Gives the daemon so few descriptors.
    #[must_use]
    pub fn open_files(mut self, count: u64) -> Self {
        self.open_files = Some(count);
        self
    }

    /// Runs the daemon as another user; the test has to be root for that.
    #[must_use]
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// Runs a copy of the daemon in a directory of the test's own, which is then what is beside it.
    #[must_use]
    pub fn beside(mut self, directory: &Path) -> Self {
        self.program = directory.join("muster");
        // A process of its own copies: the file would be open for writing here, and in whatever another test
        // starts at this moment, and such a file cannot be run.
        let status = Command::new("cp").arg(binary("muster")).arg(&self.program).status().unwrap();
        assert!(status.success(), "cp: {status}");
        self
    }

    /// Sets a variable of the daemon's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives the daemon a descriptor at its start as systemd does, under a name, or with no names for an empty one.
    #[must_use]
    pub fn given(mut self, descriptor: OwnedFd, name: &str) -> Self {
        self.given = Some((descriptor, name.to_owned()));
        self
    }

    /// Runs the daemon under its own keeper, which bears with so much silence.
    #[must_use]
    pub fn kept(mut self, silence: &'static str) -> Self {
        self.kept = Some(silence);
        self
    }

    /// Has a shell do something to itself first, which then becomes the daemon by `exec "$0" "$@"`.
    #[must_use]
    pub fn after(mut self, shell: &'static str, steps: &'static str) -> Self {
        self.steps = Some((shell, steps));
        self
    }

    /// Starts the daemon and waits until it listens.
    pub fn start(self) -> Muster {
        Muster::start(self)
    }

    /// Starts a daemon that is to end at once. Its exit code, and what it said.
    pub fn start_in_vain(self) -> (Option<i32>, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("muster.toml");
        let text = format!("[listen]\ntcp = \"127.0.0.1:0\"\nmetrics = \"off\"\n{}", self.config);
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(&self.program);
        command.args(["serve", "--config"]).arg(&file);
        command.arg("--admin").arg(directory.path().join("admin.sock"));
        command.env("TMPDIR", directory.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// A running daemon. Dropped, it is stopped, and nothing of it is left.
#[derive(Debug)]
pub struct Muster {
    child: Child,
    address: String,
    log: Log,
    first_launcher: i32,
    is_kept: bool,
    admin: PathBuf,
    ports: PortBlock,
    directory: TempDir,
}

impl Muster {
    fn start(setup: Setup) -> Self {
        let ports = PortBlock::take(setup.ports);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("muster.toml");
        let range = setup.others_ports.clone().unwrap_or_else(|| ports.range());
        let (first, last) = (range.start(), range.end());
        let mut config = std::fs::File::create(&file).unwrap();
        let quarantine = setup.quarantine;
        let text = &setup.config;
        // The setup's own lines may say where.
        let metrics = match (setup.metrics, setup.listen.contains("metrics")) {
            (true, _) => "metrics = \"127.0.0.1:0\"\n",
            (false, true) => "",
            (false, false) => "metrics = \"off\"\n",
        };
        let listen = &setup.listen;
        write!(
            config,
            "[listen]\ntcp = \"127.0.0.1:0\"\n{metrics}{listen}[ports]\nrange = \"{first}-{last}\"\n\
             quarantine = \"{quarantine}\"\n{text}"
        )
        .unwrap();
        let mut command = command_of(&setup);
        command.args(["serve", "--log", setup.log, "--config"]).arg(&file);
        let admin = setup.admin.unwrap_or_else(|| directory.path().join("admin.sock"));
        command.arg("--admin").arg(&admin);
        // Games get a clean environment; the daemon too, so that a developer's variables change no test.
        command.env_remove("JOURNAL_STREAM").env_remove("RUNTIME_DIRECTORY");
        command.env_remove("NOTIFY_SOCKET").env("TMPDIR", directory.path());
        // Only root looks into its processes otherwise.
        if !nix::unistd::geteuid().is_root() {
            command.env("MUSTER_TRACEABLE", "1");
        }
        command.envs(setup.environment);
        command.args(setup.kept.map(|silence| format!("--keep={silence}")));
        if let Some(user) = setup.user {
            open_to_all(directory.path());
            command.uid(user).gid(user);
        }
        let given = setup.given.map(|(descriptor, _)| descriptor.into());
        command.stdin(given.unwrap_or_else(Stdio::null)).stderr(Stdio::piped());
        let mut child = command.spawn().expect("muster starts");
        // It holds what was given.
        drop(command);
        let log = Log::follow(child.stderr.take().unwrap());
        // Made before the wait, so that a daemon that does not listen is stopped with the test.
        let mut muster = Self {
            child,
            address: String::new(),
            log,
            first_launcher: 0,
            is_kept: setup.kept.is_some(),
            admin,
            ports,
            directory,
        };
        let listening = muster.log.wait_for(&["listening tcp="]);
        Log::field(&listening, "tcp").clone_into(&mut muster.address);
        // Children are told of in the order of their birth, and it is the first.
        muster.first_launcher =
            wait_for("the launcher", || proc::children(muster.pid()).into_iter().find(is_launcher));
        muster
    }

    /// Its children but for the launcher: the games' processes, and what else is its child.
    pub fn games(&self) -> Vec<i32> {
        let launcher = self.launcher_now();
        proc::children(self.pid()).into_iter().filter(|pid| Some(*pid) != launcher).collect()
    }

    /// The process that makes its games. It bears that name only once it was executed, a moment after its birth.
    pub fn launcher(&self) -> i32 {
        wait_for("the launcher", || self.launcher_now())
    }

    /// The process that makes its games, if it has one now. The name alone does not tell: who is being made by the
    /// launcher bears it, too, for a moment.
    pub fn launcher_now(&self) -> Option<i32> {
        let later = self.log.lines_with(&["another launcher started pid="]).pop();
        let pid =
            later.map_or(self.first_launcher, |line| Log::field(&line, "pid").parse().unwrap());
        is_launcher(&pid).then_some(pid)
    }

    /// Where it listens for players, `ADDRESS:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it serves HTTP, `ADDRESS:PORT`; the setup asked for it.
    pub fn http(&self) -> String {
        Log::field(&self.log.wait_for(&["serving HTTP metrics="]), "metrics").to_owned()
    }

    /// Its figures, scraped.
    pub fn scrape(&self) -> Scrape {
        Scrape::of(&http::get_as(&self.http(), "/metrics", Scrape::ACCEPT).body)
    }

    /// Its log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Its process id; of one that is kept, that of the last one that listened.
    pub fn pid(&self) -> i32 {
        match self.is_kept {
            true => Log::field(self.log.lines_with(&["listening tcp="]).last().unwrap(), "pid")
                .parse()
                .unwrap(),
            false => self.first_pid(),
        }
    }

    /// The process that the test started: the daemon, or its keeper.
    pub fn first_pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Its ports.
    pub fn ports(&self) -> std::ops::RangeInclusive<u16> {
        self.ports.range()
    }

    /// Tells the puppet on a port what to do.
    pub fn order(&self, port: u16, order: &str) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.send_to(order.as_bytes(), (Ipv4Addr::LOCALHOST, port)).unwrap();
    }

    /// Does something while the daemon stands still: all of it is news to the daemon at once.
    pub fn while_frozen<T>(&self, act: impl FnOnce() -> T) -> T {
        self.signal(Signal::SIGSTOP);
        wait_until("the daemon's standstill", || proc::state(self.pid()) == Some('T'));
        let done = act();
        self.signal(Signal::SIGCONT);
        done
    }

    /// A new connection, greeted.
    pub fn connect(&self) -> Lobby {
        Lobby::connect(&self.address, SOON).unwrap()
    }

    /// A new connection, queued.
    pub fn join(&self, queue: &str, name: &str) -> Lobby {
        let mut lobby = self.connect();
        lobby.join(Some(queue), Some(name), SOON).unwrap();
        lobby
    }

    /// What STATUS tells of a queue: waiting, games, free ports.
    pub fn status(&self, queue: &str) -> (usize, usize, usize) {
        let mut lobby = self.connect();
        lobby.send(&Request::Status).unwrap();
        loop {
            if let Reply::Status { queue: told, waiting, games, ports_free } =
                lobby.next_reply(SOON).unwrap()
                && told == queue
            {
                return (waiting, games, ports_free);
            }
        }
    }

    /// Waits until all ports but those of `games` living games are free, and no zombie is left.
    pub fn wait_until_calm(&self, queue: &str, games: usize) {
        let ring = self.ports.range().len();
        wait_until("every port back and nobody waiting", || {
            self.status(queue) == (0, games, ring - games)
        });
        let is_zombie = |pid: i32| proc::state(pid) == Some('Z');
        wait_until("no zombie", || !proc::children(self.pid()).into_iter().any(is_zombie));
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Kills a daemon that is kept, and waits for the next one.
    pub fn crash(&self) {
        let first = self.pid();
        let crashes = self.log.lines_with(&["back after a crash"]).len();
        self.signal(Signal::SIGKILL);
        self.log.wait_for_count(crashes + 1, &["back after a crash"]);
        wait_for("another daemon", || Some(self.pid()).filter(|pid| *pid != first));
    }

    /// Ends all, and sees that no process is left that has this Muster's name in its environment, nor a directory of
    /// a game.
    pub fn end_and_leave_nothing(mut self) {
        let launcher = proc::environment(self.launcher());
        let name = launcher.into_iter().find(|it| it.starts_with("MUSTER_INSTANCE=")).unwrap();
        for stop in [Signal::SIGTERM, Signal::SIGINT] {
            kill(Pid::from_raw(self.first_pid()), stop).unwrap();
        }
        self.wait_for_exit();
        let left: Vec<i32> =
            proc::all().filter(|pid| proc::environment(*pid).contains(&name)).collect();
        assert_eq!(left, [0; 0]);
        let files = std::fs::read_dir(self.directory()).unwrap().flatten();
        let files: Vec<_> = files.map(|entry| entry.file_name()).collect();
        assert_eq!(files, ["muster.toml"]);
    }

    /// Has the daemon go on as another program, or as what it was started as; what the operator is told of it. `Err`:
    /// it is refused.
    pub fn upgrade(&self, program: Option<&Path>) -> Result<String, String> {
        let mut command = Command::new(binary("muster"));
        command.arg("upgrade").args(program).arg("--admin").arg(self.admin());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        match output.status.success() {
            true => Ok(text(output.stdout)),
            false => Err(text(output.stderr)),
        }
    }

    /// Runs an operator's command; what it says. `Err`: it is refused.
    pub fn operate(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(binary("muster"));
        command.args(arguments).arg("--admin").arg(self.admin());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        match output.status.success() {
            true => Ok(text(output.stdout)),
            false => Err(text(output.stderr)),
        }
    }

    /// Writes other modes, and what else comes after `[ports]`, into the configuration. Nobody reads it before it is told
    /// to.
    pub fn configure(&self, toml: &str) {
        let file = self.directory().join("muster.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        let fixed: String =
            before.split_inclusive('\n').take_while(|line| !line.starts_with("[[")).collect();
        let fixed = fixed.split("[limits]").next().unwrap_or_default();
        std::fs::write(&file, format!("{fixed}{toml}")).unwrap();
    }

    /// The games that live, as `muster games --json` tells of them.
    pub fn living(&self) -> Vec<Value> {
        let told = self.operate(&["games", "--json"]).unwrap_or_default();
        let told: Value = serde_json::from_str(&told).unwrap_or_default();
        told["living"].as_array().cloned().unwrap_or_default()
    }

    /// A directory of the test's own, which is removed with the daemon.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn admin(&self) -> &Path {
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
        // The second one ends the games at once. A daemon that was killed would leave them behind, so a test that
        // has failed waits for this, too.
        let first = Pid::from_raw(self.first_pid());
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
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon's program, by way of a shell where something is to be done first: the shell does it to itself and then
/// becomes the daemon, which has the same pid, with no unsafe code.
fn command_of(setup: &Setup) -> Command {
    if let Some((shell, steps)) = setup.steps {
        let mut shell = Command::new(shell);
        shell.arg("-c").arg(steps).arg(&setup.program);
        return shell;
    }
    let mut steps = String::new();
    if let Some(count) = setup.open_files {
        steps.push_str(&format!("ulimit -n {count}; "));
    }
    if let Some((_, name)) = &setup.given {
        steps.push_str("exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; ");
        if !name.is_empty() {
            steps.push_str(&format!("export LISTEN_FDNAMES={name}; "));
        }
    }
    if steps.is_empty() {
        return Command::new(&setup.program);
    }
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("{steps}exec \"$0\" \"$@\"")).arg(&setup.program);
    shell
}

fn is_launcher(pid: &i32) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words == b"muster-launcher\0"
}

fn open_to_all(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777)).unwrap();
}
