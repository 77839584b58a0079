//! Settings of a daemon under test.

use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Muster, StartError, binary, hostile_game};

/// Settings of a daemon. The tables `[listen]` and `[ports]` of its configuration, and `[limits]` where
/// [`limits`](Self::limits) is used, are written here.
#[derive(Debug)]
pub struct Setup {
    pub(crate) program: PathBuf,
    pub(crate) ports: u16,
    pub(crate) other_ports: Option<RangeInclusive<u16>>,
    pub(crate) admin: Option<PathBuf>,
    pub(crate) log: &'static str,
    pub(crate) logs_to_file: bool,
    pub(crate) keep: Option<&'static str>,
    pub(crate) user: Option<u32>,
    quarantine: &'static str,
    listen: String,
    has_metrics: bool,
    limits: String,
    tables: String,
    open_files: Option<u64>,
    environment: Vec<(String, String)>,
    inherited: Option<(OwnedFd, String)>,
    shell: Option<(&'static str, &'static str)>,
}

impl Default for Setup {
    /// The daemon of this workspace: eight ports without quarantine, and no mode; add at least one.
    fn default() -> Self {
        Self::of(binary("muster"))
    }
}

impl Setup {
    /// A daemon of this program: eight ports without quarantine, and no mode; add at least one.
    pub fn of(program: PathBuf) -> Self {
        Self {
            program,
            ports: 8,
            other_ports: None,
            admin: None,
            log: "debug",
            logs_to_file: false,
            keep: None,
            user: None,
            quarantine: "0s",
            listen: String::new(),
            has_metrics: false,
            limits: String::new(),
            tables: String::new(),
            open_files: None,
            environment: Vec::new(),
            inherited: None,
            shell: None,
        }
    }

    /// Sets the size of the port ring.
    #[must_use]
    pub fn ports(mut self, count: u16) -> Self {
        self.ports = count;
        self
    }

    /// Uses the ports of another daemon, which is bound to another address.
    #[must_use]
    pub fn ports_of(mut self, other: &Muster) -> Self {
        self.other_ports = Some(other.ports());
        self
    }

    /// Sets the quarantine of ports.
    #[must_use]
    pub fn quarantine(mut self, duration: &'static str) -> Self {
        self.quarantine = duration;
        self
    }

    /// Sets the path of the admin socket, which is in the daemon's directory otherwise.
    #[must_use]
    pub fn admin(mut self, path: &Path) -> Self {
        self.admin = Some(path.to_owned());
        self
    }

    /// Adds lines to `[listen]`.
    #[must_use]
    pub fn listen(mut self, toml: &str) -> Self {
        push_lines(&mut self.listen, toml);
        self
    }

    /// Adds lines to `[limits]`.
    #[must_use]
    pub fn limits(mut self, toml: &str) -> Self {
        push_lines(&mut self.limits, toml);
        self
    }

    /// Adds whole tables to the configuration, such as `[shutdown]`.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        push_lines(&mut self.tables, toml);
        self
    }

    /// Adds a mode that runs a program; `keys` are further lines, such as `warm = 1`.
    #[must_use]
    pub fn mode(self, name: &str, command: &[&str], keys: &str) -> Self {
        self.config(&format!("[[mode]]\nname = \"{name}\"\ncommand = {command:?}\n{keys}"))
    }

    /// Adds a mode `duel` that plays the reference tic-tac-toe.
    #[must_use]
    pub fn duel(self, keys: &str) -> Self {
        self.mode("duel", &["muster-game", "tictactoe"], keys)
    }

    /// Adds a mode whose game misbehaves in the way that `behaviour` names. It is not confined: Muster has to survive
    /// it also where confinement is not available.
    #[must_use]
    pub fn hostile(self, name: &str, behaviour: &[&str], keys: &str) -> Self {
        let keys = format!("{keys}\n[mode.confinement]\nenabled = false");
        self.confined_hostile(name, behaviour, &keys)
    }

    /// Adds a mode whose game misbehaves in the way that `behaviour` names, confined as `keys` set.
    #[must_use]
    pub fn confined_hostile(self, name: &str, behaviour: &[&str], keys: &str) -> Self {
        let game = hostile_game();
        let command = [&[game.to_str().unwrap()], behaviour].concat();
        self.mode(name, &command, keys)
    }

    /// Adds a mode whose games obey the test's orders; see [`Muster::order`] and `puppet-game`.
    #[must_use]
    pub fn puppet(self, name: &str, behaviour: &[&str], keys: &str) -> Self {
        let game = binary("puppet-game");
        let command = [&[game.to_str().unwrap()], behaviour].concat();
        self.mode(name, &command, keys)
    }

    /// Sets the log level; [`Log::wait_for`](crate::Log::wait_for) needs `info` at least.
    #[must_use]
    pub fn log(mut self, level: &'static str) -> Self {
        self.log = level;
        self
    }

    /// Writes the log to a file that is never read.
    #[must_use]
    pub fn log_to_file(mut self) -> Self {
        self.logs_to_file = true;
        self
    }

    /// Serves HTTP; see [`Muster::http`].
    #[must_use]
    pub fn metrics(mut self) -> Self {
        self.has_metrics = true;
        self
    }

    /// Sets the daemon's limit of open descriptors.
    #[must_use]
    pub fn open_files(mut self, count: u64) -> Self {
        self.open_files = Some(count);
        self
    }

    /// Runs the daemon as another user, which root alone can.
    #[must_use]
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// Runs a copy of the daemon in a directory of the test, and so with the programs that are beside it there.
    #[must_use]
    pub fn copied_into(mut self, directory: &Path) -> Self {
        let copy = directory.join("muster");
        // A separate process copies it: a child that another test starts at this moment would inherit the file, open
        // for writing, and a file that is open for writing cannot be executed.
        let status = Command::new("cp").arg(&self.program).arg(&copy).status().unwrap();
        assert!(status.success(), "cp: {status}");
        self.program = copy;
        self
    }

    /// Sets a variable of the daemon's environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Passes a descriptor to the daemon as systemd does, sd_listen_fds(3); without a name if `name` is empty.
    #[must_use]
    pub fn listen_fd(mut self, descriptor: OwnedFd, name: &str) -> Self {
        self.inherited = Some((descriptor, name.to_owned()));
        self
    }

    /// Runs the daemon under its own keeper, which restarts it after this time without a sign of life.
    #[must_use]
    pub fn keep(mut self, silence: &'static str) -> Self {
        self.keep = Some(silence);
        self
    }

    /// Starts a shell that runs `steps` and then becomes the daemon by `exec "$0" "$@"`.
    #[must_use]
    pub fn through_shell(mut self, shell: &'static str, steps: &'static str) -> Self {
        self.shell = Some((shell, steps));
        self
    }

    /// Starts the daemon and waits until it listens.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(self) -> Muster {
        Muster::start(self)
    }

    /// Starts the daemon and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub fn try_start(self) -> Result<Muster, StartError> {
        Muster::try_start(self)
    }

    /// The configuration, with the port range `first-last`.
    pub(crate) fn config_text(&self, first: u16, last: u16) -> String {
        // The setup's own lines may set the address.
        let metrics = match (self.has_metrics, self.listen.contains("metrics")) {
            (true, _) => "metrics = \"127.0.0.1:0\"\n",
            (false, true) => "",
            (false, false) => "metrics = \"off\"\n",
        };
        let limits = if self.limits.is_empty() { "" } else { "[limits]\n" };
        format!(
            "[listen]\ntcp = \"127.0.0.1:0\"\n{metrics}{}[ports]\nrange = \"{first}-{last}\"\n\
             quarantine = \"{}\"\n{limits}{}{}",
            self.listen, self.quarantine, self.limits, self.tables
        )
    }

    /// The command that starts the daemon, without arguments, in `directory` for temporary files.
    pub(crate) fn command(&mut self, directory: &Path) -> Command {
        let mut command = self.shell_or_program();
        // A developer's variables change no test.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TMPDIR", directory);
        // Only root may inspect processes of its own that are not dumpable.
        if !nix::unistd::geteuid().is_root() {
            command.env("MUSTER_TRACEABLE", "1");
        }
        command.envs(self.environment.drain(..));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        let inherited = self.inherited.take().map(|(descriptor, _)| descriptor.into());
        command.stdin(inherited.unwrap_or_else(Stdio::null));
        command
    }

    /// The daemon's program, through a shell where something has to be done first: the shell then becomes the daemon,
    /// with the same pid, and no unsafe code is needed.
    fn shell_or_program(&self) -> Command {
        if let Some((shell, steps)) = self.shell {
            let mut shell = Command::new(shell);
            shell.arg("-c").arg(steps).arg(&self.program);
            return shell;
        }
        let mut steps = String::new();
        if let Some(count) = self.open_files {
            steps.push_str(&format!("ulimit -n {count}; "));
        }
        if let Some((_, name)) = &self.inherited {
            steps.push_str("exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; ");
            if !name.is_empty() {
                steps.push_str(&format!("export LISTEN_FDNAMES={name}; "));
            }
        }
        if steps.is_empty() {
            return Command::new(&self.program);
        }
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(format!("{steps}exec \"$0\" \"$@\"")).arg(&self.program);
        shell
    }
}

fn push_lines(text: &mut String, toml: &str) {
    text.push_str(toml);
    text.push('\n');
}
