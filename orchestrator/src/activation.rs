//! The listening socket: from a socket unit, from the descriptor store, or bound here.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};

use socket2::{SockRef, Type};

use crate::config::Config;
use crate::players::listener::Listener;
use crate::store::{Given, Store};

/// The names of a socket unit's descriptor: from `FileDescriptorName=`, by default the unit's name; and systemd's name
/// for a descriptor without one.
const GIVEN_NAMES: [&str; 4] = ["players", "muster", "muster.socket", "unknown"];

/// The name of Muster's own socket in the store.
const STORED_NAME: &str = "listener";

/// Why there is no listening socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(
        "cannot listen on {address}: {source}; is another Muster running? Set listen.tcp or --tcp"
    )]
    Bind { address: SocketAddr, source: io::Error },
    #[error(
        "cannot listen on the passed socket {name}: it is {what}, not a TCP socket that \
         listens; use ListenStream=ADDRESS:PORT and Accept=no in the socket unit"
    )]
    WrongType { name: String, what: String },
    #[error(
        "cannot listen on {count} passed sockets for players ({}); only one is supported: keep one \
         ListenStream= in the socket unit", GIVEN_NAMES.join(", ")
    )]
    TooMany { count: usize },
    #[error("cannot listen on the passed socket {name}: {source}")]
    Given { name: String, source: io::Error },
}

/// Takes the passed listening socket, or the stored one if it has the configured address; otherwise binds one and
/// stores it, so that players who connect while no daemon runs wait and are not refused.
///
/// # Errors
/// When the passed socket is unsuitable, or the address is unavailable; after a crash the loop retries.
pub(crate) fn listener(
    config: &Config,
    given: &mut Given,
    store: &mut Store,
    is_recovery: bool,
) -> Result<Listener, ListenError> {
    let lost_timeout = config.limits.lost_timeout;
    let mut of_unit = given.claim_if(|name| GIVEN_NAMES.contains(&name));
    let stored = given.claim(STORED_NAME);
    if of_unit.len() > 1 {
        return Err(ListenError::TooMany { count: of_unit.len() });
    }
    if let Some((name, socket)) = of_unit.pop() {
        forget(store, &stored);
        check(&name, &socket)?;
        log::info!("listening on the passed socket {name}; listen.tcp is not used");
        return Listener::take(socket, lost_timeout)
            .map_err(|source| ListenError::Given { name, source });
    }
    let address = config.listen.tcp;
    if let [socket] = stored.as_slice()
        && is_at(socket, address)
        && let Ok(copy) = socket.try_clone()
        && let Ok(listener) = Listener::take(copy, lost_timeout)
    {
        return Ok(listener);
    }
    forget(store, &stored);
    drop(stored);
    match Listener::bind(address, lost_timeout) {
        Ok(listener) => {
            keep(&listener, store);
            Ok(listener)
        }
        // Keeping games and positions is more important than exiting.
        Err(error) if is_recovery => {
            log::error!(
                "cannot listen on {address}, listen.tcp: {error}; games and places are kept, and it is tried again \
                 until it works"
            );
            Ok(Listener::absent(address, lost_timeout))
        }
        Err(source) => Err(ListenError::Bind { address, source }),
    }
}

/// Stores a listening socket, so that players who connect while no daemon runs wait and are not refused.
pub(crate) fn keep(listener: &Listener, store: &mut Store) {
    let stored =
        listener.socket().map_or(Ok(()), |socket| store.put(STORED_NAME, &[socket.as_fd()]));
    if let Err(error) = stored {
        log::warn!("cannot store the listening socket with the service manager: {error}");
    }
}

/// Removes the stored listening sockets.
fn forget(store: &mut Store, stored: &[OwnedFd]) {
    if !stored.is_empty()
        && let Err(error) = store.remove(STORED_NAME)
    {
        log::warn!("cannot remove the listening socket from the store: {error}");
    }
}

fn check(name: &str, socket: &OwnedFd) -> Result<(), ListenError> {
    let socket = SockRef::from(socket);
    let what = match socket.r#type() {
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => "not a socket".to_owned(),
        Err(error) => format!("a socket whose type is unknown ({error})"),
        Ok(Type::DGRAM) => "a datagram socket".to_owned(),
        Ok(Type::STREAM) if local_address(&socket).is_none() => "not an Internet socket".to_owned(),
        Ok(Type::STREAM) if !socket.is_listener().unwrap_or(false) => "a connection".to_owned(),
        Ok(Type::STREAM) => return Ok(()),
        Ok(other) => format!("of type {}", i32::from(other)),
    };
    Err(ListenError::WrongType { name: name.to_owned(), what })
}

/// Whether a socket listens on an address. Port 0 matches any.
fn is_at(socket: &OwnedFd, address: SocketAddr) -> bool {
    let socket = SockRef::from(socket);
    let is_at = |local: SocketAddr| {
        local.ip() == address.ip() && (address.port() == 0 || local.port() == address.port())
    };
    socket.is_listener().unwrap_or(false) && local_address(&socket).is_some_and(is_at)
}

fn local_address(socket: &SockRef<'_>) -> Option<SocketAddr> {
    socket.local_addr().ok()?.as_socket()
}
