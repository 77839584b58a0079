//! Taking what Muster handed over at birth: the UDP socket and the control channel.
//!
//! A descriptor that is only a number cannot become an owned one in safe Rust, and rightly so: something else in
//! the process could own it. What came through the exec of this program is told from what the program opened by its
//! mark; see [`process::take_inherited`].
//!
//! A fork of a template owns both from the start, and finds them in the same place.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use protocol::{GAME_PROTOCOL, GAME_SOCKET_FD};
use rustix::io::Errno;
use rustix::net::sockopt::{socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketType};

use crate::{RunError, template};

/// What a game inherits.
pub(crate) struct Inherited {
    pub(crate) socket: UdpSocket,
    pub(crate) control: UnixStream,
}

const SOCKET: &str = "the game's UDP socket";
const CONTROL: &str = "the control channel, a Unix stream socket";

/// Takes both, and makes sure that they are what the contract says.
pub(crate) fn take() -> Result<Inherited, RunError> {
    if let Some(inherited) = template::take_birth() {
        return Ok(inherited);
    }
    let number = control_number()?;
    check_protocol()?;
    let socket = take_one(GAME_SOCKET_FD, SOCKET)?;
    let control = take_one(number, CONTROL)?;
    Inherited::checked(socket, (control, number))
}

impl Inherited {
    /// Makes sure that both are what the contract says. The control channel comes with its number.
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
        // The contract hands it over non-blocking; a game that would block on it for ever is worth one more call.
        let made_sure = socket.set_nonblocking(true);
        made_sure
            .map_err(|source| RunError::Os { what: "make the socket non-blocking", source })?;
        Ok(Self { socket, control: UnixStream::from(control) })
    }
}

/// Refuses a version of the contract that this library does not know.
pub(crate) fn check_protocol() -> Result<(), RunError> {
    let told = process::variable("MUSTER_PROTOCOL");
    let other = told.filter(|told| told != GAME_PROTOCOL);
    other.map_or(Ok(()), |other| Err(RunError::Protocol(other.to_string_lossy().into_owned())))
}

pub(crate) fn control_number() -> Result<i32, RunError> {
    let text = process::variable("MUSTER_CONTROL_FD").ok_or(RunError::NotUnderMuster)?;
    let number = text.to_str().and_then(|text| text.parse().ok());
    number.filter(|number| *number >= 0).ok_or_else(|| {
        RunError::BadControlNumber(text.to_string_lossy().escape_debug().to_string())
    })
}

fn take_one(number: i32, what: &'static str) -> Result<OwnedFd, RunError> {
    process::take_inherited(number).map_err(|source| {
        let errno = Errno::from_io_error(&source);
        match errno.is_none_or(|errno| errno == Errno::BADF) {
            // Not open, or opened by this program itself: nothing was handed over there.
            true => RunError::Missing { number, what },
            false => RunError::Take { number, what, source },
        }
    })
}
