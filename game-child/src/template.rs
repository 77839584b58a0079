//! Templates: a program that loads once, and is then copied for each match.
//!
//! Where a mode says `template = true`, Muster starts the program once, without a match. [`template()`] loads what
//! all games need, tells Muster, and then forks a game for each request. The memory is shared until somebody
//! writes to it (fork(2)), so that a game costs what it changes, and its birth does not depend on how long loading takes.
//!
//! A fork is the child of Muster, not of its template (`CLONE_PARENT`); it finds its descriptors where a game that
//! was started alone has them, and from there on is a game like any other. What a fork owns came with the request
//! as owned descriptors (unix(7), `SCM_RIGHTS`).
//!
//! What is drawn at random before the fork is the same in all forks. So the load runs on a thread of its own:
//! the keys with which the standard library hashes are drawn per thread, and those of the first thread stay undrawn
//! until a game draws them.

mod channel;
mod walls;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write, stdout};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use process::{Forked, can_fork_sibling, fork_sibling};
use protocol::{FromTemplate, GAME_SOCKET_FD};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdout};

use crate::RunError;
use crate::inherit::Inherited;
use crate::rehearsal::rehearse;
use channel::{Channel, Request};
use walls::Walls;

/// How long the load's thread may take to be gone after it was joined: the kernel wakes who waits a little early.
const THREAD_END_MAX: Duration = Duration::from_secs(1);

/// What is this fork's own; in a process that is none, nothing.
static BIRTH: OnceLock<Birth> = OnceLock::new();

/// What a fork was told at its birth.
struct Birth {
    game: String,
    port: u16,
    /// Until the match takes it.
    inherited: Mutex<Option<Inherited>>,
}

/// Loads what a game needs; as a template once for many games. The first thing that `main` does, before
/// [`run`](crate::run()).
///
/// Started for one match, this calls `load` and returns what it gives. Started as a template
/// (`MUSTER_TEMPLATE=1`), it does not return in that process, which forks games for as long as Muster wants
/// them, and then exits with 0; it returns in each fork.
///
/// ```no_run
/// # struct Assets;
/// # impl Assets { fn load() -> std::io::Result<Self> { Ok(Self) } }
/// # fn main() -> Result<(), game_child::RunError> {
/// let assets = game_child::template(Assets::load)?;
/// // game_child::run(&options, |setup| Ok(MyGame::new(setup, &assets)))
/// # let _ = assets;
/// # Ok(())
/// # }
/// ```
///
/// In a template:
///
/// - `load` runs on a thread of its own, and what it starts has to have ended when it returns: a process with
///   other threads is not forked.
/// - Nothing secret or random may be made in it or before: keys, tokens, random number generators with a seed, maps
///   that are to be safe from crafted keys. Every fork would have the same. Make them in the fork.
/// - All forks also share what the process drew when it started: where things are in memory (ASLR), and the stack
///   protector's value. Who learns them in one game knows them in all games of this template.
/// - Files that it leaves open are open in every fork, with one position for all of them.
/// - The environment in a fork is the template's. What differs, [`variable`] tells.
/// - Each fork enters a Landlock domain of its own, where Muster's confinement has that layer: other forks'
///   directories, signals to them and their descriptors are out of its reach.
/// - No core is dumped, and no process of the same user can trace a game or read its memory: template and forks
///   are not dumpable, see PR_SET_DUMPABLE(2const).
///
/// # Errors
/// [`RunError`] when `load` fails, or the process is not a template of Muster, or cannot be one; in a fork when it
/// cannot take its place.
pub fn template<T, E>(load: impl FnOnce() -> Result<T, E> + Send) -> Result<T, RunError>
where
    T: Send,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let load = || load().map_err(|error| RunError::Load(error.into()));
    if process::variable("MUSTER_TEMPLATE").is_none_or(|set| set != "1") {
        return load();
    }
    let channel = Channel::take()?;
    let loaded = load_apart(load)?;
    wait_until_alone()?;
    // What was printed and not written yet would be written by every fork.
    let _ = stdout().flush();
    rehearse();
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(os("become untraceable"))?;
    let walls = Walls::prepare();
    channel.say(&FromTemplate::Ready)?;
    serve(channel, walls)?;
    Ok(loaded)
}

/// A variable of the contract, such as `MUSTER_GAME` or `LISTEN_PID`, as it is for this process: from its
/// environment, or in a fork of a template, whose environment is the template's, from the request for it.
pub fn variable(name: &str) -> Option<OsString> {
    let Some(birth) = BIRTH.get() else { return process::variable(name) };
    match name {
        "MUSTER_GAME" => Some(birth.game.clone().into()),
        "MUSTER_PORT" => Some(birth.port.to_string().into()),
        "LISTEN_FDS" => Some("1".into()),
        "LISTEN_FDNAMES" => Some("game".into()),
        "LISTEN_PID" => Some(std::process::id().to_string().into()),
        "MUSTER_TEMPLATE" => None,
        _ => process::variable(name),
    }
}

/// What this process inherited as a fork, once.
pub(crate) fn take_birth() -> Option<Inherited> {
    BIRTH.get()?.inherited.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Loads on another thread, and keeps free the number at which each fork has its socket.
fn load_apart<T: Send>(load: impl FnOnce() -> Result<T, RunError> + Send) -> Result<T, RunError> {
    let placeholder = fcntl_dupfd_cloexec(io::stdin(), GAME_SOCKET_FD);
    let loaded = std::thread::scope(|scope| scope.spawn(load).join());
    drop(placeholder);
    loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits for the thread of the load to be gone, and sees that this process can be forked at all.
fn wait_until_alone() -> Result<(), RunError> {
    let deadline = Instant::now() + THREAD_END_MAX;
    loop {
        match can_fork_sibling() {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_micros(100));
            }
            other => return other.map_err(os("be a template")),
        }
    }
}

/// Forks a game for each request. Returns in a fork, in its place; in the template, only when it cannot go on.
fn serve(mut channel: Channel, walls: Option<Walls>) -> Result<(), RunError> {
    while let Some(request) = channel.hear()? {
        let Request { game, port, directory, descriptors } = request;
        let answer = match fork(descriptors, channel.number()) {
            Ok((Forked::Child, inherited, log)) => {
                let inherited = take_place(channel, walls, &directory, inherited, log)?;
                let birth = Birth { game, port, inherited: Mutex::new(Some(inherited)) };
                // A process is born once.
                let _ = BIRTH.set(birth);
                return Ok(());
            }
            Ok((Forked::Parent(pid), ..)) => FromTemplate::Forked { game, pid },
            Err(error) => FromTemplate::Failed { game, reason: error.to_string() },
        };
        channel.say(&answer)?;
    }
    // Muster wants no more games, or is gone. The games that live are no children of this process.
    std::process::exit(0)
}

/// Forks, if what came with the request is what the contract says: socket, control channel, log.
fn fork(
    descriptors: Vec<OwnedFd>,
    control_number: i32,
) -> Result<(Forked, Inherited, OwnedFd), RunError> {
    let count = descriptors.len();
    let [socket, control, log] =
        descriptors.try_into().map_err(|_| RunError::Descriptors { count })?;
    let inherited = Inherited::checked(socket, (control, control_number))?;
    let forked = fork_sibling().map_err(os("fork a game"))?;
    Ok((forked, inherited, log))
}

/// Puts everything where a game has it. The log comes first, so that what goes wrong then is read.
fn take_place(
    channel: Channel,
    walls: Option<Walls>,
    directory: &str,
    inherited: Inherited,
    log: OwnedFd,
) -> Result<Inherited, RunError> {
    dup2_stdout(&log).and_then(|()| dup2_stderr(&log)).map_err(os("print to the log"))?;
    drop(log);
    // A session, and with it a process group, that no other game can join.
    setsid().map_err(os("lead a session"))?;
    std::env::set_current_dir(directory).map_err(os("enter the game's directory"))?;
    if let Some(walls) = walls {
        walls.raise(Path::new(directory)).map_err(os("shut itself in"))?;
    }
    let control_number = channel.number();
    drop(channel);
    let socket = put_at(inherited.socket.into(), GAME_SOCKET_FD)?.into();
    let control = put_at(inherited.control.into(), control_number)?.into();
    Ok(Inherited { socket, control })
}

/// Gives a descriptor its number, which is free, or already its own.
fn put_at(descriptor: OwnedFd, number: i32) -> Result<OwnedFd, RunError> {
    if descriptor.as_raw_fd() == number {
        return Ok(descriptor);
    }
    let placed = fcntl_dupfd_cloexec(&descriptor, number).map_err(os("move a descriptor"))?;
    if placed.as_raw_fd() == number { Ok(placed) } else { Err(RunError::Occupied { number }) }
}

fn os<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> RunError {
    move |source| RunError::Os { what, source: source.into() }
}
