//! The worker thread that makes processes and makes sure that they are gone: what can block, or take long,
//! and must not hold up the loop.
//!
//! Its orders come over a channel; its answers go back over another, and a waker tells the loop. As one
//! thread both launches and looks for leftovers, it never mistakes a process that is just being made for one
//! that was left behind.

use std::fs;
use std::io::{self, PipeReader};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use matchmaker::{GameId, LaunchFault, ModeId};
use mio::Waker;
use protocol::{GAME_CONTROL_FD, GAME_PROTOCOL};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{Config, Mode};
use crate::directories::Directories;
use crate::launch_step;
use crate::leftovers::Leftovers;

/// Orders carried out together, at most.
const BATCH_MAX: usize = 256;

/// What the loop wants done.
#[derive(Debug, Clone, Copy)]
enum Order {
    Launch {
        game: GameId,
        mode: ModeId,
        port: u16,
    },
    /// The game's process was reaped: look for what it left behind, until there is nothing.
    CleanUp {
        game: GameId,
    },
    /// A process that was left behind has died; there may be others.
    LookAgain,
    /// The game is being killed: kill whoever belongs to it, and may keep it.
    Purge {
        game: GameId,
    },
}

/// What was done.
#[derive(Debug)]
pub(crate) enum Answer {
    Launched {
        game: GameId,
        process: Process,
    },
    Failed {
        game: GameId,
        fault: LaunchFault,
    },
    /// Nothing of the game is left.
    CleanedUp {
        game: GameId,
    },
}

/// A process that was just made, with our ends of its channels.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) control: UnixStream,
    pub(crate) output: PipeReader,
}

/// The loop's end of the worker.
pub(crate) struct Launcher {
    orders: Option<Sender<Order>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
    /// Launches that were ordered, and those of them that were answered, in the same order.
    ordered: u64,
    answered: u64,
    /// Games that were not cleaned up yet.
    unclean: usize,
}

impl Launcher {
    /// Starts the worker.
    ///
    /// # Errors
    /// When there is no place for the games' working directories, or no thread to be had.
    pub(crate) fn start(config: &Config, waker: Arc<Waker>) -> io::Result<Self> {
        let (orders, inbox) = unbounded();
        let (outbox, answers) = unbounded();
        let mut worker = Worker::new(config)?;
        let run = move || {
            while let Some(order) = worker.next_order(&inbox) {
                let batch = std::iter::once(order).chain(inbox.try_iter().take(BATCH_MAX));
                worker.handle(batch, |answer| {
                    // Either fails only when the loop is gone, and with it the reason to answer.
                    let _ = outbox.send(answer);
                    let _ = waker.wake();
                });
            }
        };
        let thread = std::thread::Builder::new().name("launcher".into()).spawn(run)?;
        Ok(Self {
            orders: Some(orders),
            answers,
            thread: Some(thread),
            ordered: 0,
            answered: 0,
            unclean: 0,
        })
    }

    pub(crate) fn launch(&mut self, game: GameId, mode: ModeId, port: u16) {
        self.ordered += 1;
        self.order(Order::Launch { game, mode, port });
    }

    pub(crate) fn clean_up(&mut self, game: GameId) {
        self.unclean += 1;
        self.order(Order::CleanUp { game });
    }

    /// A game is being killed.
    pub(crate) fn purge(&self, game: GameId) {
        self.order(Order::Purge { game });
    }

    /// A child that is no game was reaped.
    pub(crate) fn look_again(&self) {
        if self.unclean > 0 {
            self.order(Order::LookAgain);
        }
    }

    /// The next answer, until there is none.
    pub(crate) fn next_answer(&mut self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok()?;
        match answer {
            Answer::Launched { .. } | Answer::Failed { .. } => self.answered += 1,
            Answer::CleanedUp { .. } => self.unclean -= 1,
        }
        Some(answer)
    }

    /// How many launches were ordered so far. A process that exists now belongs to one of them.
    pub(crate) fn ordered(&self) -> u64 {
        self.ordered
    }

    /// How many of them were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // Fails only if the worker has panicked, which ends the daemon.
            let _ = orders.send(order);
        }
    }
}

impl Drop for Launcher {
    /// Lets the worker finish, so that the working directories are gone when the daemon is.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    modes: Vec<Mode>,
    bind: IpAddr,
    public_host: String,
    /// Where our own binary is: games are looked up beside it.
    beside: Option<PathBuf>,
    directories: Directories,
    leftovers: Leftovers,
}

impl Worker {
    fn new(config: &Config) -> io::Result<Self> {
        let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
        Ok(Self {
            modes: config.modes.clone(),
            bind: config.ports.bind_address(),
            public_host: config.ports.public_host.clone(),
            beside,
            directories: Directories::new()?,
            leftovers: Leftovers::new(),
        })
    }

    /// Waits for the next order; what can wait itself is done until there is one. `None`: there will be none.
    fn next_order(&mut self, inbox: &Receiver<Order>) -> Option<Order> {
        while self.directories.has_discarded() {
            match inbox.try_recv() {
                Ok(order) => return Some(order),
                Err(_) => self.directories.remove_some(),
            }
        }
        inbox.recv().ok()
    }

    /// Carries a batch of orders out. One look at the daemon's children serves all games of the batch that
    /// ended, and comes last: players may be waiting for the launches.
    fn handle(&mut self, batch: impl Iterator<Item = Order>, answer: impl Fn(Answer)) {
        let mut is_to_look = false;
        for order in batch {
            match order {
                Order::Launch { game, mode, port } => answer(self.launch(game, mode, port)),
                Order::CleanUp { game } => {
                    self.leftovers.note_end(game);
                    is_to_look = true;
                }
                Order::LookAgain => is_to_look = true,
                Order::Purge { game } => self.leftovers.purge(game),
            }
        }
        if is_to_look {
            for game in self.leftovers.kill() {
                self.directories.discard(game);
                answer(Answer::CleanedUp { game });
            }
        }
    }

    fn launch(&mut self, game: GameId, mode: ModeId, port: u16) -> Answer {
        match self.make_process(game, mode, port) {
            Ok(process) => {
                self.leftovers.note_launch(game, process.pid);
                Answer::Launched { game, process }
            }
            Err(fault) => {
                self.directories.discard(game);
                Answer::Failed { game, fault }
            }
        }
    }

    fn make_process(&self, game: GameId, mode: ModeId, port: u16) -> Result<Process, LaunchFault> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: io::Error| LaunchFault::Other(format!("{what}: {error}"))
        };
        let socket = bind_game_socket(SocketAddr::new(self.bind, port))?;
        let mode = &self.modes[mode.0];
        let program = self.find_program(&mode.command[0])?;
        let directory = self.directories.make(game);
        let directory = directory.map_err(failed("cannot make its working directory"))?;
        let (control, its_control) =
            UnixStream::pair().map_err(failed("cannot make its control channel"))?;
        control.set_nonblocking(true).map_err(failed("cannot make its control channel"))?;
        let (output, its_output) = io::pipe().map_err(failed("cannot make its output pipe"))?;
        let child = Command::new("/proc/self/exe")
            .arg0(launch_step::NAME)
            .arg(program)
            .args(&mode.command[1..])
            .env_clear()
            .envs(&mode.env)
            .envs(self.identity(game, mode, port))
            .current_dir(directory)
            .process_group(0)
            // Three descriptors are all that can be passed without touching close-on-exec flags, which
            // another launch could see. The launch step puts them where the contract wants them.
            .stdin(Stdio::from(socket))
            .stdout(Stdio::from(OwnedFd::from(its_control)))
            .stderr(Stdio::from(its_output))
            .spawn()
            .map_err(failed("cannot start a process"))?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        Ok(Process { pid, control, output })
    }

    /// The environment that the contract promises; `LISTEN_PID` is added by the launch step, which knows it.
    fn identity(&self, game: GameId, mode: &Mode, port: u16) -> [(&'static str, String); 8] {
        [
            ("MUSTER_GAME", game.to_string()),
            ("MUSTER_MODE", mode.name.clone()),
            ("MUSTER_PORT", port.to_string()),
            ("MUSTER_PUBLIC_HOST", self.public_host.clone()),
            ("MUSTER_PROTOCOL", GAME_PROTOCOL.to_owned()),
            ("MUSTER_CONTROL_FD", GAME_CONTROL_FD.to_string()),
            ("LISTEN_FDS", "1".to_owned()),
            ("LISTEN_FDNAMES", "game".to_owned()),
        ]
    }

    /// Looks a program up beside our own binary first, then in `PATH`; a path is taken as it is.
    fn find_program(&self, name: &str) -> Result<PathBuf, LaunchFault> {
        if name.contains('/') {
            return std::path::absolute(name)
                .map_err(|error| LaunchFault::Other(format!("cannot find {name}: {error}")));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = self.beside.iter().cloned().chain(std::env::split_paths(&path));
        let mut candidates = directories.map(|directory| directory.join(name));
        candidates.find(|candidate| is_executable(candidate)).ok_or_else(|| {
            LaunchFault::Other(format!("cannot find the program {name} beside muster or in PATH"))
        })
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// A fresh socket for each game, with no flag that would let another share the port: what was sent to the
/// last one is gone with it.
fn bind_game_socket(address: SocketAddr) -> Result<OwnedFd, LaunchFault> {
    let bind = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    };
    match bind() {
        Ok(socket) => Ok(socket.into()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(LaunchFault::PortBusy),
        Err(error) => Err(LaunchFault::Other(format!("cannot bind {address}: {error}"))),
    }
}
