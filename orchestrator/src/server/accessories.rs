//! The admin socket and HTTP, which the daemon can run without. While one cannot be opened, players are served; the log
//! has one warning, and the daemon retries until it works.
//!
//! Without a setting both are at their default locations if these are free; if not, the daemon runs without, with one
//! line in the log.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use service::endpoint::{Endpoint, default_admin_socket};

use super::Server;
use crate::backoff::Backoff;
use crate::clock::Instant;
use crate::operators::http::{Http, HttpListener};
use crate::operators::socket::{AdminSocket, BindError, LOCK_TIMEOUT};

/// HTTP is served here unless `listen.metrics` is set.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9107);

/// The retries of each.
#[derive(Debug, Default)]
pub(super) struct Accessories {
    admin: Backoff,
    http: Backoff,
}

impl Server {
    /// Opens what is configured and not open, when a try is due.
    pub(super) fn open_accessories(&mut self, is_start: bool) {
        let now = Instant::now();
        if self.admin.is_none() && (is_start || self.accessories.admin.take_due(now)) {
            match self.open_admin(is_start) {
                Ok(None) => {}
                Ok(admin) => {
                    self.admin = admin;
                    if self.accessories.admin.succeed() {
                        log::info!("the admin socket is open now");
                    }
                }
                Err(error) if self.accessories.admin.fail(now) => {
                    log::warn!("no admin socket: {error}; retrying until it works");
                }
                Err(error) => log::debug!("no admin socket yet: {error}"),
            }
        }
        if self.http.is_none() && (is_start || self.accessories.http.take_due(now)) {
            match self.open_http(is_start) {
                Ok(None) => {}
                Ok(http) => {
                    self.http = http;
                    self.accessories.http.succeed();
                }
                Err(error) if self.accessories.http.fail(now) => {
                    log::warn!("no HTTP: {error}; retrying until it works");
                }
                Err(error) => log::debug!("no HTTP yet: {error}"),
            }
        }
    }

    pub(super) fn accessories_deadline(&self) -> Option<Instant> {
        let Accessories { admin, http } = &self.accessories;
        [admin, http].into_iter().filter_map(Backoff::retry_at).min()
    }

    fn open_admin(&self, is_start: bool) -> Result<Option<AdminSocket>, BindError> {
        let mut admin = match &self.config.listen.admin {
            // The loop does not wait for another process that holds the lock.
            Endpoint::At(path) => Some(AdminSocket::bind(path, Duration::ZERO)?),
            Endpoint::Default if is_start => default_admin(),
            Endpoint::Default | Endpoint::Off => None,
        };
        if let Some(admin) = &mut admin {
            admin.register(self.poll.registry()).map_err(BindError::Watch)?;
        }
        Ok(admin)
    }

    fn open_http(&self, is_start: bool) -> Result<Option<Http>, String> {
        let listener = match self.config.listen.metrics {
            Endpoint::At(address) => Some(HttpListener::bind(address).map_err(|error| {
                let why = match error.kind() {
                    io::ErrorKind::AddrInUse => "; another program listens there",
                    io::ErrorKind::AddrNotAvailable => "; the address is not this machine's now",
                    _ => "",
                };
                format!("cannot serve HTTP on {address}, listen.metrics: {error}{why}")
            })?),
            Endpoint::Default if is_start => default_http(),
            Endpoint::Default | Endpoint::Off => None,
        };
        let opened = listener.map(|listener| listener.open(Arc::clone(&self.waker))).transpose();
        opened.map_err(|error| format!("cannot serve it: {error}"))
    }
}

/// Opens the admin socket at its default location, if it is free.
fn default_admin() -> Option<AdminSocket> {
    let without = |why: &dyn std::fmt::Display| {
        log::info!("no admin socket (listen.admin or --admin sets one): {why}");
    };
    let path = default_admin_socket().inspect_err(|why| without(why)).ok()?;
    let socket = AdminSocket::bind(&path, LOCK_TIMEOUT).inspect_err(|error| without(error)).ok()?;
    log::info!("serving operators admin={}", path.display());
    Some(socket)
}

/// Opens the HTTP listener at its default address, if it is free.
fn default_http() -> Option<HttpListener> {
    let without = |error: &io::Error| {
        log::info!(
            "no HTTP (listen.metrics or --metrics sets an address): cannot listen on {DEFAULT_HTTP}: {error}"
        );
    };
    HttpListener::bind(DEFAULT_HTTP).inspect_err(without).ok()
}
