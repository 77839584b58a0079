//! Making one process: what it is to run, with what at hand, and the launch step that makes it so.

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

use crate::confine::{Confiner, Group, Identity, Paths, Walls};
use crate::executable::{self, Executable, c_string};
use crate::launch_step::{self, Plan};
use crate::placeholders;
use crate::program::{Contract, Program};
use crate::trial;
use crate::wire::{Channel, Fault, Guests, INSTANCE, Setup, instance};

/// Where games find programs by name. Muster's own `PATH` is for `command` alone.
const PROGRAMS_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The language and character set of games: no language's own, and UTF-8.
const LANGUAGE: &str = "C.UTF-8";
/// The variable from which a template learns what its forks leave open when they shut themselves in.
const LANDLOCK_PATHS: &str = "MUSTER_LANDLOCK_PATHS";

/// What makes processes.
pub(crate) struct Maker {
    pub(crate) setup: Setup,
    pub(crate) confiner: Confiner,
    /// By mode.
    walls: Vec<Walls>,
    pub(crate) stack: Stack,
    /// Made ahead of the next game.
    spare: Option<Channels>,
    /// Whether a spare one was taken and none was made since.
    lacks_spare: bool,
    /// Where our own binary is: programs are looked up beside it.
    beside: Option<PathBuf>,
}

/// A port that a game binds itself, and the addresses on which it may.
pub(crate) type OwnPort = (Vec<IpAddr>, u16);

/// A game to be made.
pub(crate) struct Request {
    pub(crate) game: u64,
    pub(crate) mode: usize,
    pub(crate) port: u16,
    /// See [`Order::Launch`](crate::wire::Order::Launch).
    pub(crate) bind: Vec<IpAddr>,
    pub(crate) guests: Guests,
}

/// A process that was made, with what the daemon and the launcher keep of it.
pub(crate) struct Born {
    pub(crate) pid: i32,
    pub(crate) control: Option<UnixStream>,
    pub(crate) output: PipeReader,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<Group>,
}

/// A template that was made.
pub(crate) struct BornTemplate {
    pub(crate) pid: i32,
    pub(crate) channel: Channel,
    pub(crate) output: PipeReader,
    pub(crate) group: Option<Group>,
}

/// What a game has besides its process, from both sides.
pub(crate) struct Ends {
    pub(crate) socket: OwnedFd,
    pub(crate) channels: Channels,
}

/// A game's control channel and log, from both sides.
pub(crate) struct Channels {
    pub(crate) control: UnixStream,
    pub(crate) its_control: UnixStream,
    pub(crate) output: PipeReader,
    pub(crate) its_output: PipeWriter,
}

/// What differs between the processes that are made.
struct Make<'a> {
    mode: usize,
    arguments: Vec<String>,
    environment: Vec<(&'a str, String)>,
    directory: &'a Path,
    /// Of a game that binds its port itself.
    port: Option<u16>,
    socket: Option<BorrowedFd<'a>>,
    control: Option<BorrowedFd<'a>>,
    output: BorrowedFd<'a>,
    identity: Option<Identity>,
    group: Option<&'a Group>,
    is_template: bool,
}

impl Maker {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut stack = Stack::new();
        let (confiner, walls) = trial::walls(&setup, &mut stack);
        let exe = std::env::current_exe().ok();
        let beside = exe.and_then(|exe| exe.parent().map(Path::to_owned));
        Self { setup, confiner, walls, stack, spare: None, lacks_spare: true, beside }
    }

    /// Templates may take so long to load from here on.
    pub(crate) fn set_times(&mut self, templates: BTreeMap<usize, Duration>) {
        for (mode, ready_timeout) in templates {
            if let Some(program) = self.setup.programs.get_mut(mode) {
                program.ready_timeout = ready_timeout;
            }
        }
    }

    pub(crate) fn program(&self, mode: usize) -> &Program {
        &self.setup.programs[mode]
    }

    /// Makes what a game has besides its process. Its port's socket is bound before the process exists, so that no
    /// player ever learns a port that is not receiving.
    pub(crate) fn make_ends(&mut self, request: &Request) -> Result<Ends, Fault> {
        let socket = bind_game_socket(self.addresses(request), request.port)?;
        self.lacks_spare = true;
        let channels = self.spare.take().map_or_else(Channels::new, Ok)?;
        Ok(Ends { socket, channels })
    }

    /// The addresses that are to be free for a game, the first of them that there is.
    fn addresses<'a>(&self, request: &'a Request) -> &'a [IpAddr] {
        // Where a game binds its port itself is its own affair: the port has to be free on all addresses.
        let binds = self.binds_itself(request.mode);
        let all = request.bind.iter().position(|address| binds && address.is_unspecified());
        &request.bind[all.unwrap_or_default()..]
    }

    /// Where a game binds its port itself: that port, and the addresses that are to be free for it.
    pub(crate) fn own_port(&self, request: &Request) -> Option<OwnPort> {
        let addresses = || self.addresses(request).to_vec();
        self.binds_itself(request.mode).then(|| (addresses(), request.port))
    }

    fn binds_itself(&self, mode: usize) -> bool {
        self.program(mode).contract == (Contract::Plain { binds: true })
    }

    /// Whether there is something to prepare for the next game.
    pub(crate) fn lacks_spare(&self) -> bool {
        self.lacks_spare
    }

    /// Prepares what can be had before anybody asks for a game. If it cannot be had now, the game will say so.
    pub(crate) fn prepare(&mut self) {
        self.lacks_spare = false;
        self.spare = Channels::new().ok();
    }

    /// As whom a cold game on a port runs, if not as Muster.
    pub(crate) fn identity(&self, mode: usize, port: u16) -> Option<Identity> {
        let own = self.user(mode, port).map(Identity::own);
        own.or_else(|| self.confiner.named_user(&self.walls[mode]))
    }

    /// As whom a mode's template and its games run, if not as Muster.
    pub(crate) fn template_identity(&self, mode: usize) -> Option<Identity> {
        let own = self.confiner.user_of_template(&self.walls[mode], mode).map(Identity::own);
        own.or_else(|| self.confiner.named_user(&self.walls[mode]))
    }

    /// The user who is a cold game's alone, if there is one.
    pub(crate) fn user(&self, mode: usize, port: u16) -> Option<u32> {
        self.confiner.user_of_port(&self.walls[mode], port)
    }

    /// A control group for one of a mode's processes, if they have any.
    pub(crate) fn make_group(&self, mode: usize, name: &str) -> Option<Group> {
        self.confiner.make_group(&self.walls[mode], name)
    }

    /// Makes a game's process from nothing.
    pub(crate) fn make_game(&mut self, request: &Request, directory: &Path) -> Result<Born, Fault> {
        let &Request { game, mode, port, ref guests, .. } = request;
        let Ends { socket, channels } = self.make_ends(request)?;
        channels.tell(guests)?;
        let contract = self.program(mode).contract;
        if self.binds_itself(mode) {
            // It may be one that speaks TCP. A server that reuses addresses gets along with old connections.
            bind_tcp(self.addresses(request), port, true).map_err(|_| Fault::PortBusy)?;
        }
        let (has_socket, has_control) = match contract {
            Contract::Muster => (true, true),
            Contract::Plain { binds } => (!binds, false),
        };
        let user = self.user(mode, port);
        let group = self.make_group(mode, &crate::run::group_of(game));
        let Channels { control, its_control, output, its_output } = channels;
        // Whoever binds the port itself finds it free: it was until now.
        let socket = has_socket.then_some(socket);
        let make = Make {
            mode,
            arguments: self.arguments(mode, port),
            environment: self.contract_environment(request),
            directory,
            port: (!contract.inherits_socket()).then_some(port),
            socket: socket.as_ref().map(OwnedFd::as_fd),
            control: has_control.then_some(its_control.as_fd()),
            output: its_output.as_fd(),
            identity: self.identity(mode, port),
            group: group.as_ref(),
            is_template: false,
        };
        let pid = self.make(&make)?;
        let control = has_control.then_some(control);
        Ok(Born { pid, control, output, user, group })
    }

    /// Makes a mode's template.
    pub(crate) fn make_template(
        &mut self,
        mode: usize,
        directory: &Path,
    ) -> Result<BornTemplate, Fault> {
        let (channel, its_channel) = Channel::pair().map_err(Fault::of("make its channel"))?;
        let (output, its_output) = io::pipe().map_err(Fault::of("make its output pipe"))?;
        let group = self.make_group(mode, &format!("template-{mode}"));
        let make = Make {
            mode,
            arguments: self.template_arguments(mode),
            environment: self
                .common_environment(mode)
                .into_iter()
                .chain([("MUSTER_TEMPLATE", "1".into())])
                .collect(),
            directory,
            port: None,
            socket: None,
            control: Some(its_channel.as_fd()),
            output: its_output.as_fd(),
            identity: self.template_identity(mode),
            group: group.as_ref(),
            is_template: true,
        };
        let pid = self.make(&make)?;
        Ok(BornTemplate { pid, channel: Channel::new(channel), output, group })
    }

    fn make(&mut self, make: &Make<'_>) -> Result<i32, Fault> {
        let program = &self.setup.programs[make.mode];
        let walls = &self.walls[make.mode];
        let name = &program.command[0];
        let failed = |error: io::Error| Fault::Other(format!("cannot run {name}: {error}"));
        let found = executable::find(name, self.beside.as_deref());
        let executable = found.and_then(Executable::open).map_err(failed)?;
        executable.fits(program.confinement.seccomp).map_err(failed)?;
        let ruleset = match &walls.paths {
            None => None,
            Some(paths) => paths
                .ruleset(make.directory, executable.run_files(), program.named_paths(), make.port)
                .map_err(|error| Fault::Other(format!("cannot list its files: {error}")))?,
        };
        let landlock_paths = match &walls.paths {
            Some(paths) if make.is_template && walls.no_new_privileges => {
                let named = executable.run_files().chain(program.named_paths());
                let all = paths.names().chain(named.map(Path::to_owned));
                let names: Vec<_> = all.map(|path| path.display().to_string()).collect();
                Some((LANDLOCK_PATHS, names.join(":")))
            }
            _ => None,
        };
        let environment = environment(make, program, landlock_paths.as_ref()).map_err(failed)?;
        let arguments = make.arguments.iter().map(|word| c_string(word.as_bytes()));
        let arguments = executable.words.iter().cloned().map(Ok).chain(arguments);
        let arguments = arguments.collect::<io::Result<Vec<_>>>().map_err(failed)?;
        let directory = c_string(make.directory.as_os_str().as_bytes()).map_err(failed)?;
        let plan = Plan {
            program: executable.file.as_fd(),
            arguments: &arguments,
            environment: &environment,
            directory: &directory,
            has_tmp: walls.has_tmp,
            socket: make.socket,
            control: make.control,
            output: make.output,
            cgroup: make.group.map(|group| group.procs.as_fd()),
            namespaces: &walls.namespaces(),
            limits: &walls.limits,
            files_max: walls.files_max,
            identity: make.identity,
            own_namespace: self.confiner.own_namespace(walls),
            gives_up_rights: walls.gives_up_rights,
            sees_itself: walls.paths.as_ref().is_some_and(Paths::are_to_show_itself),
            no_new_privileges: walls.no_new_privileges,
            ruleset: ruleset.as_ref().map(|ruleset| ruleset.as_fd()),
            filter: walls.filter(executable.is_dynamic, make.is_template),
            listens: make.socket.is_some(),
        };
        launch_step::launch(&mut self.stack, &plan).map_err(failed)
    }

    /// A template's games are on no port yet.
    fn template_arguments(&self, mode: usize) -> Vec<String> {
        let words = self.program(mode).command[1..].iter();
        words.map(|word| placeholders::fill(word, |_| None)).collect()
    }

    fn arguments(&self, mode: usize, port: u16) -> Vec<String> {
        let program = self.program(mode);
        let value = |name: &str| placeholders::value(name, program.contract, port);
        program.command[1..].iter().map(|word| placeholders::fill(word, value)).collect()
    }

    /// The environment that the contract promises; `LISTEN_PID` is added by the launch step, which knows it.
    fn contract_environment(&self, request: &Request) -> Vec<(&'static str, String)> {
        let mut identity = self.common_environment(request.mode);
        identity.push(("MUSTER_GAME", request.game.to_string()));
        identity.push(("MUSTER_PORT", request.port.to_string()));
        match self.program(request.mode).contract.inherits_socket() {
            true => {
                identity.push(("LISTEN_FDS", "1".to_owned()));
                identity.push(("LISTEN_FDNAMES", "game".to_owned()));
            }
            // Where Muster has found the port free.
            false => {
                let all = request.bind.iter().find(|address| address.is_unspecified());
                let address = all.or(request.bind.first());
                identity.extend(address.map(|address| ("MUSTER_BIND", address.to_string())));
            }
        }
        if let Guests::Environment { match_id, players } = &request.guests {
            identity.push(("MUSTER_MATCH", match_id.clone()));
            identity.push(("MUSTER_PLAYERS", players.clone()));
        }
        identity
    }

    fn common_environment(&self, mode: usize) -> Vec<(&'static str, String)> {
        let program = self.program(mode);
        let mut identity = vec![
            (INSTANCE, instance(&self.setup.place).to_owned()),
            ("MUSTER_MODE", program.mode.clone()),
            ("MUSTER_PUBLIC_HOST", self.setup.public_host.clone()),
        ];
        if program.contract == Contract::Muster {
            identity.push(("MUSTER_PROTOCOL", GAME_PROTOCOL.to_owned()));
            identity.push(("MUSTER_CONTROL_FD", GAME_CONTROL_FD.to_string()));
        }
        identity
    }
}

/// The environment of a process: what ordinary programs expect to find ([`usual_environment`]), then what the contract
/// promises, then what the mode's `env` says, which goes before all of it.
fn environment(
    make: &Make<'_>,
    program: &Program,
    landlock_paths: Option<&(&'static str, String)>,
) -> io::Result<Vec<CString>> {
    let mut variables: BTreeMap<&str, &OsStr> = BTreeMap::new();
    let usual = usual_environment(make);
    variables.extend(usual.iter().map(|(name, value)| (*name, value.as_os_str())));
    let ours = make.environment.iter().chain(landlock_paths);
    variables.extend(ours.map(|(name, value)| (*name, OsStr::new(value))));
    let literal = |value: &String| placeholders::fill(value, |_| None);
    let theirs: Vec<(&str, String)> =
        program.env.iter().map(|(name, value)| (name.as_str(), literal(value))).collect();
    variables.extend(theirs.iter().map(|(name, value)| (*name, OsStr::new(value))));
    let variable = |(name, value): (&str, &OsStr)| {
        c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat())
    };
    variables.into_iter().map(variable).collect()
}

/// Variables that many programs do not start without. Home and temporary files are in the working directory, the only
/// place where every game may write. The forks of a template each have a working directory of their own, so that a
/// template's is named relatively.
fn usual_environment(make: &Make<'_>) -> [(&'static str, OsString); 4] {
    let home = if make.is_template { Path::new(".") } else { make.directory };
    [
        ("HOME", home.into()),
        ("TMPDIR", home.into()),
        ("PATH", PROGRAMS_PATH.into()),
        ("LANG", LANGUAGE.into()),
    ]
}

impl Channels {
    fn new() -> Result<Self, Fault> {
        let (control, its_control) =
            UnixStream::pair().map_err(Fault::of("make its control channel"))?;
        control.set_nonblocking(true).map_err(Fault::of("make its control channel"))?;
        let (output, its_output) = io::pipe().map_err(Fault::of("make its output pipe"))?;
        Ok(Self { control, its_control, output, its_output })
    }

    /// Lets the game find its players at birth.
    pub(crate) fn tell(&self, guests: &Guests) -> Result<(), Fault> {
        let Guests::Line(line) = guests else { return Ok(()) };
        // The channel is empty and holds more than a line.
        (&self.control).write_all(line.as_bytes()).map_err(Fault::of("tell it its players"))
    }
}

/// Binds a port of TCP, and lets go of it. Without `reuse` connections that are over but not forgotten are in the way as
/// well; tcp(7), TIME_WAIT.
///
/// # Errors
/// When the port is taken. Whatever else is wrong the game will say.
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

/// Whether a program that takes no precautions would find its port taken, by UDP or TCP.
pub(crate) fn is_taken((addresses, port): &OwnPort) -> bool {
    matches!(bind_game_socket(addresses, *port), Err(Fault::PortBusy))
        || bind_tcp(addresses, *port, false).is_err()
}

/// Whether the machine does not have an address, or not this family of addresses; it may have the next.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT))
}

/// A fresh socket for each game, on the first of some addresses that this machine has, with no flag that would let
/// another share the port: what was sent to the last one is gone with it.
fn bind_game_socket(addresses: &[IpAddr], port: u16) -> Result<OwnedFd, Fault> {
    let bind = |address: SocketAddr| -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if address.is_ipv6() && address.ip().is_unspecified() {
            // Players of both families come in here, whatever net.ipv6.bindv6only says.
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
