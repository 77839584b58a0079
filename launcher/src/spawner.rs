//! Creating one process: its program, what it inherits, and the launch step that creates it.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use process::Stack;
use protocol::{GAME_CONTROL_FD, GAME_PROTOCOL};
use socket2::{Domain, Protocol, Socket, Type};

use crate::confine::{Confiner, Group, Identity, Layers, Paths, game_group};
use crate::executable::{self, Executable, c_string};
use crate::launch_step::{self, Plan};
use crate::placeholders;
use crate::program::{Contract, Program};
use crate::trial;
use crate::wire::{Channel, Fault, INSTANCE, InitialPlayers, Setup, instance};

/// Where games find programs by name. Muster's own `PATH` is for `command` only.
const PROGRAMS_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The locale of games: neutral, and UTF-8.
const LANGUAGE: &str = "C.UTF-8";
/// The variable that names the paths which a template's forks leave open when they restrict themselves.
const LANDLOCK_PATHS: &str = "MUSTER_LANDLOCK_PATHS";

/// Creates the processes of games and templates.
pub(crate) struct Spawner {
    pub(crate) setup: Setup,
    pub(crate) confiner: Confiner,
    /// By program.
    layers: Vec<Layers>,
    pub(crate) stack: Stack,
    /// Created ahead of the next game.
    spare: Option<Channels>,
    /// Whether the spare was taken and not replaced yet.
    lacks_spare: bool,
    /// The directory of our own binary: programs are looked up there first.
    beside: Option<PathBuf>,
}

/// A port that a game binds itself, and the addresses on which it may.
pub(crate) type OwnPort = (Vec<IpAddr>, u16);

/// A game to be created.
pub(crate) struct LaunchRequest {
    pub(crate) game: u64,
    pub(crate) program: usize,
    pub(crate) port: u16,
    /// See [`Order::Launch`](crate::wire::Order::Launch).
    pub(crate) bind: Vec<IpAddr>,
    pub(crate) players: InitialPlayers,
}

/// A new game process, with what the daemon and the launcher keep of it.
pub(crate) struct NewGame {
    pub(crate) pid: i32,
    pub(crate) control: Option<UnixStream>,
    pub(crate) output: PipeReader,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<Group>,
}

/// A new template.
pub(crate) struct NewTemplate {
    pub(crate) pid: i32,
    pub(crate) channel: Channel,
    pub(crate) output: PipeReader,
    pub(crate) group: Option<Group>,
}

/// A game's socket and channels.
pub(crate) struct Endpoints {
    pub(crate) socket: OwnedFd,
    pub(crate) channels: Channels,
}

/// A game's control channel and log, both ends.
pub(crate) struct Channels {
    pub(crate) control: UnixStream,
    pub(crate) game_control: UnixStream,
    pub(crate) output: PipeReader,
    pub(crate) game_output: PipeWriter,
}

/// The parameters of one process.
struct ProcessSpec<'a> {
    program: usize,
    arguments: Vec<String>,
    environment: Vec<(&'a str, String)>,
    directory: &'a Path,
    /// The port of a game that binds it itself.
    port: Option<u16>,
    socket: Option<BorrowedFd<'a>>,
    control: Option<BorrowedFd<'a>>,
    output: BorrowedFd<'a>,
    identity: Option<Identity>,
    group: Option<&'a Group>,
    is_template: bool,
}

impl Spawner {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut stack = Stack::new();
        let (confiner, layers) = trial::layers(&setup, &mut stack);
        let exe = std::env::current_exe().ok();
        let beside = exe.and_then(|exe| exe.parent().map(Path::to_owned));
        Self { setup, confiner, layers, stack, spare: None, lacks_spare: true, beside }
    }

    /// Changes how long templates may take to load.
    pub(crate) fn set_times(&mut self, templates: BTreeMap<usize, Duration>) {
        for (index, ready_timeout) in templates {
            if let Some(program) = self.setup.programs.get_mut(index) {
                program.ready_timeout = ready_timeout;
            }
        }
    }

    pub(crate) fn program(&self, index: usize) -> &Program {
        &self.setup.programs[index]
    }

    /// Creates a game's socket and channels. The socket is bound before the process exists, so that no player
    /// ever gets a port that is not receiving.
    pub(crate) fn make_endpoints(&mut self, request: &LaunchRequest) -> Result<Endpoints, Fault> {
        let socket = bind_game_socket(self.addresses(request), request.port)?;
        self.lacks_spare = true;
        let channels = self.spare.take().map_or_else(Channels::new, Ok)?;
        Ok(Endpoints { socket, channels })
    }

    /// The addresses that must be free for a game, from the first one that counts.
    fn addresses<'a>(&self, request: &'a LaunchRequest) -> &'a [IpAddr] {
        // A game that binds its port itself may bind any address: the port must be free on all of them.
        let binds = self.binds_itself(request.program);
        let all = request.bind.iter().position(|address| binds && address.is_unspecified());
        &request.bind[all.unwrap_or_default()..]
    }

    /// For a game that binds its port itself: that port, and the addresses on which it must be free.
    pub(crate) fn own_port(&self, request: &LaunchRequest) -> Option<OwnPort> {
        let addresses = || self.addresses(request).to_vec();
        self.binds_itself(request.program).then(|| (addresses(), request.port))
    }

    fn binds_itself(&self, index: usize) -> bool {
        self.program(index).contract == (Contract::Plain { binds: true })
    }

    /// Whether there is something to prepare for the next game.
    pub(crate) fn lacks_spare(&self) -> bool {
        self.lacks_spare
    }

    /// Prepares the next game's channels. An error is ignored: the game itself will report it.
    pub(crate) fn prepare(&mut self) {
        self.lacks_spare = false;
        self.spare = Channels::new().ok();
    }

    /// The user and group of a game on a port that is not forked; `None` is Muster's own.
    pub(crate) fn identity(&self, index: usize, port: u16) -> Option<Identity> {
        let own = self.user(index, port).map(Identity::own);
        own.or_else(|| self.confiner.named_user(&self.layers[index]))
    }

    /// The user and group of a template and its games; `None` is Muster's own.
    pub(crate) fn template_identity(&self, index: usize) -> Option<Identity> {
        let own = self.confiner.user_of_template(&self.layers[index], index).map(Identity::own);
        own.or_else(|| self.confiner.named_user(&self.layers[index]))
    }

    /// The user of a game that is not forked, if it has one of its own.
    pub(crate) fn user(&self, index: usize, port: u16) -> Option<u32> {
        self.confiner.user_of_port(&self.layers[index], port)
    }

    /// Creates a control group for a process, if the mode has them.
    pub(crate) fn make_group(&self, index: usize, name: &str) -> Option<Group> {
        self.confiner.make_group(&self.layers[index], name)
    }

    /// Creates a game's process.
    pub(crate) fn make_game(
        &mut self,
        request: &LaunchRequest,
        directory: &Path,
    ) -> Result<NewGame, Fault> {
        let &LaunchRequest { game, program: index, port, ref players, .. } = request;
        let Endpoints { socket, channels } = self.make_endpoints(request)?;
        channels.send_players(players)?;
        let contract = self.program(index).contract;
        if self.binds_itself(index) {
            // It may use TCP. A server that reuses addresses gets along with old connections.
            bind_tcp(self.addresses(request), port, true).map_err(|_| Fault::PortBusy)?;
        }
        let (has_socket, has_control) = match contract {
            Contract::Muster => (true, true),
            Contract::Plain { binds } => (!binds, false),
        };
        let user = self.user(index, port);
        let group = self.make_group(index, &game_group(game));
        let Channels { control, game_control, output, game_output } = channels;
        // A game that binds the port itself finds it free: this socket held it until now.
        let socket = has_socket.then_some(socket);
        let spec = ProcessSpec {
            program: index,
            arguments: self.arguments(index, port),
            environment: self.contract_environment(request),
            directory,
            port: (!contract.inherits_socket()).then_some(port),
            socket: socket.as_ref().map(OwnedFd::as_fd),
            control: has_control.then_some(game_control.as_fd()),
            output: game_output.as_fd(),
            identity: self.identity(index, port),
            group: group.as_ref(),
            is_template: false,
        };
        let pid = self.spawn(&spec)?;
        let control = has_control.then_some(control);
        Ok(NewGame { pid, control, output, user, group })
    }

    /// Creates a template.
    pub(crate) fn make_template(
        &mut self,
        index: usize,
        directory: &Path,
    ) -> Result<NewTemplate, Fault> {
        let (channel, template_channel) = Channel::pair().map_err(Fault::of("make its channel"))?;
        let (output, game_output) = io::pipe().map_err(Fault::of("make its output pipe"))?;
        let group = self.make_group(index, &format!("template-{index}"));
        let spec = ProcessSpec {
            program: index,
            arguments: self.template_arguments(index),
            environment: self
                .common_environment(index)
                .into_iter()
                .chain([("MUSTER_TEMPLATE", "1".into())])
                .collect(),
            directory,
            port: None,
            socket: None,
            control: Some(template_channel.as_fd()),
            output: game_output.as_fd(),
            identity: self.template_identity(index),
            group: group.as_ref(),
            is_template: true,
        };
        let pid = self.spawn(&spec)?;
        Ok(NewTemplate { pid, channel: Channel::new(channel), output, group })
    }

    fn spawn(&mut self, spec: &ProcessSpec<'_>) -> Result<i32, Fault> {
        let program = &self.setup.programs[spec.program];
        let layers = &self.layers[spec.program];
        let name = &program.command[0];
        let failed = |error: io::Error| Fault::Other(format!("cannot run {name}: {error}"));
        let found = executable::find(name, self.beside.as_deref());
        let executable = found.and_then(Executable::open).map_err(failed)?;
        executable.fits(program.confinement.seccomp).map_err(failed)?;
        let ruleset = match &layers.paths {
            None => None,
            Some(paths) => paths
                .ruleset(spec.directory, executable.run_files(), program.named_paths(), spec.port)
                .map_err(|error| Fault::Other(format!("cannot list its files: {error}")))?,
        };
        let landlock_paths = match &layers.paths {
            Some(paths) if spec.is_template && layers.no_new_privileges => {
                let named = executable.run_files().chain(program.named_paths());
                let all = paths.names().chain(named.map(Path::to_owned));
                let names: Vec<_> = all.map(|path| path.display().to_string()).collect();
                Some((LANDLOCK_PATHS, names.join(":")))
            }
            _ => None,
        };
        let environment = environment(spec, program, landlock_paths.as_ref()).map_err(failed)?;
        let arguments = spec.arguments.iter().map(|word| c_string(word.as_bytes()));
        let arguments = executable.words.iter().cloned().map(Ok).chain(arguments);
        let arguments = arguments.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let directory = c_string(spec.directory.as_os_str().as_bytes()).map_err(failed)?;
        let plan = Plan {
            program: executable.file.as_fd(),
            arguments: &arguments,
            environment: &environment,
            directory: &directory,
            has_tmp: layers.has_tmp,
            socket: spec.socket,
            control: spec.control,
            output: spec.output,
            cgroup: spec.group.map(|group| group.procs.as_fd()),
            namespaces: &layers.namespaces(),
            limits: &layers.limits,
            files_max: layers.files_max,
            identity: spec.identity,
            own_namespace: self.confiner.own_namespace(layers),
            drops_capabilities: layers.drops_capabilities,
            may_read_own_proc: layers.paths.as_ref().is_some_and(Paths::needs_host_proc),
            no_new_privileges: layers.no_new_privileges,
            ruleset: ruleset.as_ref().map(|ruleset| ruleset.as_fd()),
            filter: layers.filter(executable.is_dynamic, spec.is_template),
            listens: spec.socket.is_some(),
        };
        launch_step::launch(&mut self.stack, &plan).map_err(failed)
    }

    /// A template has no port, so placeholders stay as they are.
    fn template_arguments(&self, index: usize) -> Vec<String> {
        let words = self.program(index).command[1..].iter();
        words.map(|word| placeholders::fill(word, |_| None)).collect()
    }

    fn arguments(&self, index: usize, port: u16) -> Vec<String> {
        let program = self.program(index);
        let value = |name: &str| placeholders::value(name, program.contract, port);
        program.command[1..].iter().map(|word| placeholders::fill(word, value)).collect()
    }

    /// The environment that the contract promises; the launch step adds `LISTEN_PID`, which it alone knows.
    fn contract_environment(&self, request: &LaunchRequest) -> Vec<(&'static str, String)> {
        let mut variables = self.common_environment(request.program);
        variables.push(("MUSTER_GAME", request.game.to_string()));
        variables.push(("MUSTER_PORT", request.port.to_string()));
        match self.program(request.program).contract.inherits_socket() {
            true => {
                variables.push(("LISTEN_FDS", "1".to_owned()));
                variables.push(("LISTEN_FDNAMES", "game".to_owned()));
            }
            // The address on which Muster has found the port free.
            false => {
                let all = request.bind.iter().find(|address| address.is_unspecified());
                let address = all.or(request.bind.first());
                variables.extend(address.map(|address| ("MUSTER_BIND", address.to_string())));
            }
        }
        if let InitialPlayers::Environment { match_id, players } = &request.players {
            variables.push(("MUSTER_MATCH", match_id.clone()));
            variables.push(("MUSTER_PLAYERS", players.clone()));
        }
        variables
    }

    fn common_environment(&self, index: usize) -> Vec<(&'static str, String)> {
        let program = self.program(index);
        let mut variables = vec![
            (INSTANCE, instance(&self.setup.directory).to_owned()),
            ("MUSTER_MODE", program.mode.clone()),
            ("MUSTER_PUBLIC_HOST", self.setup.public_host.clone()),
        ];
        if program.contract == Contract::Muster {
            variables.push(("MUSTER_PROTOCOL", GAME_PROTOCOL.to_owned()));
            variables.push(("MUSTER_CONTROL_FD", GAME_CONTROL_FD.to_string()));
        }
        variables
    }
}

/// The environment of a process: first what ordinary programs expect ([`usual_environment`]), then what the
/// contract promises, then the mode's `env`, which overrides all of it.
fn environment(
    spec: &ProcessSpec<'_>,
    program: &Program,
    landlock_paths: Option<&(&'static str, String)>,
) -> io::Result<Vec<CString>> {
    let mut variables: BTreeMap<&str, &OsStr> = BTreeMap::new();
    let usual = usual_environment(spec);
    variables.extend(usual.iter().map(|(name, value)| (*name, value.as_os_str())));
    let ours = spec.environment.iter().chain(landlock_paths);
    variables.extend(ours.map(|(name, value)| (*name, OsStr::new(value))));
    let literal = |value: &String| placeholders::fill(value, |_| None);
    let of_mode: Vec<(&str, String)> =
        program.env.iter().map(|(name, value)| (name.as_str(), literal(value))).collect();
    variables.extend(of_mode.iter().map(|(name, value)| (*name, OsStr::new(value))));
    let variable = |(name, value): (&str, &OsStr)| {
        c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat())
    };
    variables.into_iter().map(variable).collect()
}

/// Variables that many programs do not start without. Home and temporary files are in the working directory, the
/// only place where every game may write. Each fork of a template has its own working directory, so a template's is
/// relative.
fn usual_environment(spec: &ProcessSpec<'_>) -> [(&'static str, OsString); 4] {
    let home = if spec.is_template { Path::new(".") } else { spec.directory };
    [
        ("HOME", home.into()),
        ("TMPDIR", home.into()),
        ("PATH", PROGRAMS_PATH.into()),
        ("LANG", LANGUAGE.into()),
    ]
}

impl Channels {
    fn new() -> Result<Self, Fault> {
        let (control, game_control) =
            UnixStream::pair().map_err(Fault::of("make its control channel"))?;
        control.set_nonblocking(true).map_err(Fault::of("make its control channel"))?;
        let (output, game_output) = io::pipe().map_err(Fault::of("make its output pipe"))?;
        Ok(Self { control, game_control, output, game_output })
    }

    /// Leaves the message that names a game's players on its control channel.
    pub(crate) fn send_players(&self, players: &InitialPlayers) -> Result<(), Fault> {
        let InitialPlayers::Line(line) = players else { return Ok(()) };
        // The channel is empty and has room for more than one line.
        (&self.control).write_all(line.as_bytes()).map_err(Fault::of("send it its players"))
    }
}

/// Binds a TCP port, and releases it. Without `reuse`, closed connections that the kernel still remembers are in
/// the way as well; tcp(7), TIME_WAIT.
///
/// # Errors
/// When the port is taken. The game itself will report any other error.
fn bind_tcp(addresses: &[IpAddr], port: u16, reuse: bool) -> io::Result<()> {
    let bind = |address: SocketAddr| -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(reuse)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())
    };
    for address in addresses {
        match bind(SocketAddr::new(*address, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) if is_missing(&error) => {}
            Ok(()) | Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Whether a program that does not reuse addresses would find its port taken, by UDP or TCP.
pub(crate) fn is_taken((addresses, port): &OwnPort) -> bool {
    matches!(bind_game_socket(addresses, *port), Err(Fault::PortBusy))
        || bind_tcp(addresses, *port, false).is_err()
}

/// Whether the machine lacks an address, or its family; it may have the next one.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

/// Binds a new socket for a game, on the first address that this machine has. No flag lets another socket share the
/// port: what was sent to the previous game is gone with its socket.
fn bind_game_socket(addresses: &[IpAddr], port: u16) -> Result<OwnedFd, Fault> {
    let bind = |address: SocketAddr| -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            // Players of both families connect here, whatever net.ipv6.bindv6only says.
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        Ok(socket)
    };
    let mut fault = Fault::Other("there is no address to bind".to_owned());
    for address in addresses {
        let address = SocketAddr::new(*address, port);
        let error = match bind(address) {
            Ok(socket) => return Ok(socket.into()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(Fault::PortBusy),
            Err(error) => error,
        };
        fault = Fault::Other(format!("cannot bind {address}: {error}"));
        if !is_missing(&error) {
            break;
        }
    }
    Err(fault)
}
