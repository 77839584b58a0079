//! Templates: a program that loads once, and is forked for each match.
//!
//! For a mode with `template = true` Muster starts the program once, without a match. [`template()`] loads what all
//! games need, reports that it is ready, and then forks a game for each request. The memory is shared until a
//! process writes to it (fork(2)), so that a game costs only what it changes, and its start does not depend on how
//! long loading takes.
//!
//! A fork is a child of Muster, not of its template (`CLONE_PARENT`); its descriptors have the same numbers as in a
//! game that was started alone, and from then on it is a game like any other. The descriptors arrive with the
//! request (unix(7), `SCM_RIGHTS`).
//!
//! Random values that are drawn before the fork are the same in all forks. So loading runs on a separate thread:
//! the standard library draws its hash keys once per thread, and those of the first thread are not drawn until a
//! game needs them.

mod channel;
mod landlock;

use std::error::Error;
use std::io::{self, ErrorKind, Write, stdout};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use process::{Forked, can_fork_sibling, fork_sibling};
use protocol::{FromTemplate, GAME_SOCKET_FD};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, setsid};
use rustix::stdio::{dup2_stderr, dup2_stdout};

use self::channel::{Channel, Request};
use self::landlock::ForkRuleset;
use crate::RunError;
use crate::inherit::{self, Inherited};
use crate::limits::THREAD_END_MAX;
use crate::warmup::warm_up;

/// Loads what a game needs; as a template once for many games. Call it first in `main`, before
/// [`run`](crate::run()).
///
/// Started for one match, this calls `load` and returns its result. Started as a template (`MUSTER_TEMPLATE=1`), it
/// does not return in that process, which forks games as long as Muster requests them, and then exits with 0; it
/// returns in each fork.
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
/// - `load` runs on its own thread, and threads that it starts must have ended when it returns: a process with
///   other threads is not forked.
/// - `load` must not create secrets or random values: keys, tokens, seeded random number generators, maps that must
///   resist crafted keys. Every fork would have the same ones. Create them in the fork.
/// - All forks also share what the process drew when it started: the memory layout (ASLR), and the stack
///   protector's value. An attacker who learns them in one game knows them in all games of this template.
/// - Files that it leaves open are open in every fork, with one shared position.
/// - The environment of a fork is the template's. [`variable`](crate::variable) returns the values that differ.
/// - Each fork enters its own Landlock domain, if Muster's confinement has that layer: it cannot access other
///   forks' directories, signal them or use their sockets.
/// - No core is dumped, and no process of the same user can trace a game or read its memory: template and forks are
///   not dumpable, see PR_SET_DUMPABLE(2const).
///
/// # Errors
/// [`RunError`] when `load` fails, or the process is not a template of Muster, or cannot be one; in a fork when its
/// descriptors or directory cannot be set up.
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
    // Buffered output would be written by every fork.
    let _ = stdout().flush();
    warm_up();
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(os("become untraceable"))?;
    let ruleset = ForkRuleset::prepare();
    channel.send(&FromTemplate::Ready)?;
    serve(channel, ruleset)?;
    Ok(loaded)
}

/// Loads on another thread, and reserves the number of each fork's socket meanwhile.
fn load_apart<T: Send>(load: impl FnOnce() -> Result<T, RunError> + Send) -> Result<T, RunError> {
    let placeholder = fcntl_dupfd_cloexec(io::stdin(), GAME_SOCKET_FD);
    let loaded = std::thread::scope(|scope| scope.spawn(load).join());
    drop(placeholder);
    loaded.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits until the loading thread is gone, and checks that this process can be forked.
fn wait_until_alone() -> Result<(), RunError> {
    let deadline = Instant::now() + THREAD_END_MAX;
    loop {
        match can_fork_sibling() {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_micros(100));
            }
            other => return other.map_err(os("become a template")),
        }
    }
}

/// Forks a game for each request. Returns in a fork; in the template, only after an error.
fn serve(mut channel: Channel, ruleset: Option<ForkRuleset>) -> Result<(), RunError> {
    while let Some(request) = channel.receive_request()? {
        let Request { game, port, directory, descriptors } = request;
        let answer = match fork(descriptors, channel.number()) {
            Ok((Forked::Child, inherited, log)) => {
                let inherited = set_up_fork(channel, ruleset, &directory, inherited, log)?;
                inherit::set_fork(game, port, inherited);
                return Ok(());
            }
            Ok((Forked::Parent(pid), ..)) => FromTemplate::Forked { game, pid },
            Err(error) => FromTemplate::Failed { game, reason: error.to_string() },
        };
        channel.send(&answer)?;
    }
    // Muster needs no more games, or is gone. Living games are not children of this process.
    std::process::exit(0)
}

/// Forks, if the request came with the descriptors of the contract: socket, control channel, log.
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

/// Moves everything to where a game expects it. The log comes first, so that later errors are read.
fn set_up_fork(
    channel: Channel,
    ruleset: Option<ForkRuleset>,
    directory: &str,
    inherited: Inherited,
    log: OwnedFd,
) -> Result<Inherited, RunError> {
    dup2_stdout(&log).and_then(|()| dup2_stderr(&log)).map_err(os("print to the log"))?;
    drop(log);
    // Its own session, and with it a process group, that no other game can join.
    setsid().map_err(os("lead a session"))?;
    std::env::set_current_dir(directory).map_err(os("enter the game's directory"))?;
    if let Some(ruleset) = ruleset {
        ruleset.restrict(Path::new(directory)).map_err(os("restrict its files"))?;
    }
    let control_number = channel.number();
    drop(channel);
    let socket = move_to(inherited.socket.into(), GAME_SOCKET_FD)?.into();
    let control = move_to(inherited.control.into(), control_number)?.into();
    Ok(Inherited { socket, control })
}

/// Moves a descriptor to a number, which must be free or its own.
fn move_to(descriptor: OwnedFd, number: i32) -> Result<OwnedFd, RunError> {
    if descriptor.as_raw_fd() == number {
        return Ok(descriptor);
    }
    let placed = fcntl_dupfd_cloexec(&descriptor, number).map_err(os("move a descriptor"))?;
    if placed.as_raw_fd() == number { Ok(placed) } else { Err(RunError::Occupied { number }) }
}

fn os<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> RunError {
    move |source| RunError::Os { what, source: source.into() }
}
