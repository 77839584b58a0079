//! The listening socket: given by a socket unit, or kept from an earlier life, or bound here.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};

use socket2::{SockRef, Type};

use crate::config::Config;
use crate::players::listener::Listener;
use crate::store::{Given, Store};

/// How the socket is called that a socket unit gives: by `FileDescriptorName=`, by default the unit's own name; and
/// where nobody gave names.
const GIVEN_NAMES: [&str; 4] = ["players", "muster", "muster.socket", "unknown"];

/// How Muster's own is called in the store.
const STORED_NAME: &str = "listener";

/// Why there is no listening socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(
        "cannot listen on {address}: {source}; is another Muster running? Set listen.tcp or --tcp"
    )]
    Bind { address: SocketAddr, source: io::Error },
    #[error(
        "cannot listen on the socket {name} that was given: it is {what}, not a TCP socket that \
         listens; use ListenStream=ADDRESS:PORT and Accept=no in the socket unit"
    )]
    WrongType { name: String, what: String },
    #[error(
        "cannot listen on {count} sockets that were given for players ({}); one is enough: leave one \
         ListenStream= in the socket unit", GIVEN_NAMES.join(", ")
    )]
    TooMany { count: usize },
    #[error("cannot listen on the socket {name} that was given: {source}")]
    Given { name: String, source: io::Error },
}

/// Takes the listening socket that was given, or the one of an earlier life if it listens where it should; else binds
/// one and has it stored, so that who connects between two lives waits and is not refused.
///
/// # Errors
/// When what was given is of no use, or the address cannot be had; in a recovery that is tried again by the loop.
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
        log::info!("listening on the socket {name} that was given; listen.tcp is not used");
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
        // Games and places are worth more than an exit that somebody notices.
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

/// Has a listening socket stored, so that who connects between two lives waits and is not refused.
pub(crate) fn keep(listener: &Listener, store: &mut Store) {
    let stored =
        listener.socket().map_or(Ok(()), |socket| store.put(STORED_NAME, &[socket.as_fd()]));
    if let Err(error) = stored {
        log::warn!("cannot store the listening socket with the service manager: {error}");
    }
}

/// Has the store forget what an earlier life listened on.
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
        Err(error) if error.raw_os_error() == Some(libc::ENOTSOCK) => "no socket".to_owned(),
        Err(error) => format!("one that cannot be asked ({error})"),
        Ok(Type::DGRAM) => "a datagram socket".to_owned(),
        Ok(Type::STREAM) if local_address(&socket).is_none() => "not of the Internet".to_owned(),
        Ok(Type::STREAM) if !socket.is_listener().unwrap_or(false) => "a connection".to_owned(),
        Ok(Type::STREAM) => return Ok(()),
        Ok(other) => format!("of type {}", i32::from(other)),
    };
    Err(ListenError::WrongType { name: name.to_owned(), what })
}

/// Whether a socket listens on an address. Port 0 is any.
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
