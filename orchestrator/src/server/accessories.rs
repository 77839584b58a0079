//! What the daemon can do without: the admin socket and HTTP. Where one cannot be had now, players are served all the same,
//! the operator is told once, and it is tried again until it works.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Server;
use crate::accessories;
use crate::admin::socket::{AdminSocket, BindError};
use crate::backoff::Backoff;
use crate::clock::Instant;
use crate::config::Accessory;
use crate::http::{Door, Http};

/// When each of them is tried again.
#[derive(Debug, Default)]
pub(super) struct Accessories {
    admin: Backoff,
    http: Backoff,
}

impl Server {
    /// Opens what is configured and is not there, if it is time.
    pub(super) fn open_accessories(&mut self, is_start: bool) {
        let now = Instant::now();
        if self.admin.is_none() && (is_start || self.accessories.admin.take_due(now)) {
            match self.open_admin(is_start) {
                Ok(None) => {}
                Ok(admin) => {
                    self.admin = admin;
                    if self.accessories.admin.succeed() {
                        log::info!("the admin socket is there now");
                    }
                }
                Err(error) if self.accessories.admin.fail(now) => {
                    log::warn!("no admin socket: {error}; trying again until it works");
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
                    log::warn!("no HTTP: {error}; trying again until it works");
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
            // The loop waits for nobody who holds the directory locked.
            Accessory::At(path) => Some(AdminSocket::bind(path, Duration::ZERO)?),
            Accessory::Usual if is_start => accessories::usual_admin(),
            Accessory::Usual | Accessory::Off => None,
        };
        if let Some(admin) = &mut admin {
            admin.register(self.poll.registry()).map_err(BindError::Watch)?;
        }
        Ok(admin)
    }

    fn open_http(&self, is_start: bool) -> Result<Option<Http>, String> {
        let door = match self.config.listen.metrics {
            Accessory::At(address) => Some(Door::bind(address).map_err(|error| {
                let why = match error.kind() {
                    io::ErrorKind::AddrInUse => "; another program listens there",
                    io::ErrorKind::AddrNotAvailable => "; the address is not this machine's now",
                    _ => "",
                };
                format!("cannot serve HTTP on {address}, listen.metrics: {error}{why}")
            })?),
            Accessory::Usual if is_start => accessories::usual_metrics(),
            Accessory::Usual | Accessory::Off => None,
        };
        let opened = door.map(|door| door.open(Arc::clone(&self.waker))).transpose();
        opened.map_err(|error| format!("cannot serve it: {error}"))
    }
}
