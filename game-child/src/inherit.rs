//! Taking the inherited UDP socket and control channel.
//!
//! Safe Rust cannot own a descriptor that is only a number, because other code in the process may own it.
//! [`process::take_inherited`] distinguishes descriptors that came through the exec of this program from those that
//! the program opened.
//!
//! A fork of a template got both as owned descriptors, with the values that differ from its template's environment.

use std::ffi::OsString;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError};

use protocol::GAME_SOCKET_FD;
use rustix::io::Errno;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

use crate::RunError;
use crate::contract::{check_protocol, control_number};

/// The descriptors of a game.
pub(crate) struct Inherited {
    pub(crate) socket: UdpSocket,
    pub(crate) control: UnixStream,
}

const SOCKET: &str = "the game's UDP socket";
const CONTROL: &str = "the control channel, a Unix stream socket";

/// Set in a fork of a template.
static FORK: OnceLock<Fork> = OnceLock::new();

/// The differences between a fork and its template.
struct Fork {
    game: String,
    port: u16,
    /// Until the match takes it.
    inherited: Mutex<Option<Inherited>>,
}

/// Notes that this process is a fork of a template. A process is forked once.
pub(crate) fn set_fork(game: String, port: u16, inherited: Inherited) {
    let _ = FORK.set(Fork { game, port, inherited: Mutex::new(Some(inherited)) });
}

/// A variable of the contract, such as `MUSTER_GAME` or `LISTEN_PID`: from the environment, or in a fork of a
/// template, whose environment is the template's, from the request for it.
pub fn variable(name: &str) -> Option<OsString> {
    let Some(fork) = FORK.get() else { return process::variable(name) };
    match name {
        "MUSTER_GAME" => Some(fork.game.clone().into()),
        "MUSTER_PORT" => Some(fork.port.to_string().into()),
        "LISTEN_FDS" => Some("1".into()),
        "LISTEN_FDNAMES" => Some("game".into()),
        "LISTEN_PID" => Some(std::process::id().to_string().into()),
        "MUSTER_TEMPLATE" => None,
        _ => process::variable(name),
    }
}

/// Takes both descriptors, and checks that they are what the contract says.
pub(crate) fn take() -> Result<Inherited, RunError> {
    let of_fork =
        |fork: &Fork| fork.inherited.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(inherited) = FORK.get().and_then(of_fork) {
        return Ok(inherited);
    }
    let number = control_number()?;
    check_protocol()?;
    let socket = take_one(GAME_SOCKET_FD, SOCKET)?;
    let control = take_one(number, CONTROL)?;
    Inherited::checked(socket, (control, number))
}

impl Inherited {
    /// Checks that both are what the contract says. The control channel comes with its number.
    pub(crate) fn checked(
        socket: OwnedFd,
        (control, number): (OwnedFd, i32),
    ) -> Result<Self, RunError> {
        let domain = socket_domain(&socket);
        let is_inet = domain == Ok(AddressFamily::INET) || domain == Ok(AddressFamily::INET6);
        if !is_inet || socket_type(&socket) != Ok(SocketType::DGRAM) {
            return Err(RunError::Foreign { number: GAME_SOCKET_FD, what: SOCKET });
        }
        let is_unix = socket_domain(&control) == Ok(AddressFamily::UNIX);
        if !is_unix || socket_type(&control) != Ok(SocketType::STREAM) {
            return Err(RunError::Foreign { number, what: CONTROL });
        }
        let socket = UdpSocket::from(socket);
        // It is non-blocking by the contract; but a game that blocks on it forever is worth one more call.
        let result = socket.set_nonblocking(true);
        result.map_err(|source| RunError::Os { what: "make the socket non-blocking", source })?;
        Ok(Self { socket, control: UnixStream::from(control) })
    }
}

fn take_one(number: i32, what: &'static str) -> Result<OwnedFd, RunError> {
    process::take_inherited(number).map_err(|source| {
        let errno = Errno::from_io_error(&source);
        match errno.is_none_or(|errno| errno == Errno::BADF) {
            // Not open, or opened by this program itself: nothing was inherited there.
            true => RunError::Missing { number, what },
            false => RunError::Take { number, what, source },
        }
    })
}
