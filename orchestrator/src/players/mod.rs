//! The owner of players: the listener, their connections, and what they say and are sent.
//!
//! [`front`] turns bytes into requests and notices into lines; [`requests`] turns requests into inputs. The brain decides.

pub(crate) mod account;
pub(crate) mod connection;
pub(crate) mod connections;
mod front;
pub(crate) mod listener;
mod requests;
mod secrets;

pub(crate) use front::Served;

use brain::{ConnectionId, ModeId, ModeStatus};
use mio::Registry;
use protocol::Reply;

use self::connections::{Connections, SavedConnections};
use self::listener::Listener;
use self::secrets::Secrets;
use crate::clock::Instant;
use crate::config::Config;
use crate::handoff::descriptors::InheritedFds;
use crate::seldom::Seldom;

/// When a client is asked to retry after a 4xx, in milliseconds.
pub(crate) const RETRY_MS: u64 = 1000;

/// All players who are connected.
pub(crate) struct Players {
    listener: Listener,
    connections: Connections,
    secrets: Secrets,
    /// The first line of each connection.
    greeting: Reply,
    /// Warnings of PROXY headers, which others cause.
    header_warnings: Seldom,
}

/// What the owner of players asks about queues.
pub(crate) trait QueueView {
    /// Whether new players are accepted.
    fn is_serving(&self) -> bool;
    /// Whether the player waits for a match, so that the connection may be silent.
    fn is_waiting(&self, connection: ConnectionId) -> bool;
    /// Players in the party of this one; zero without a party.
    fn party_size(&self, connection: ConnectionId) -> usize;
    fn mode_status(&self, mode: ModeId) -> ModeStatus;
}

impl Players {
    pub(crate) fn new(listener: Listener, connections: Connections, config: &Config) -> Self {
        Self {
            listener,
            connections,
            secrets: Secrets::default(),
            greeting: greeting(config),
            header_warnings: Seldom::default(),
        }
    }

    /// Uses another configuration for new connections.
    pub(crate) fn reconfigure(&mut self, config: &Config) {
        self.greeting = greeting(config);
    }

    pub(crate) fn listener(&self) -> &Listener {
        &self.listener
    }

    pub(crate) fn listener_mut(&mut self) -> &mut Listener {
        &mut self.listener
    }

    /// The connections, for the program that takes over.
    pub(crate) fn save(&self, kept: &mut InheritedFds) -> SavedConnections {
        self.connections.save(kept)
    }

    /// How many connections are open.
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn ids(&self) -> Vec<ConnectionId> {
        self.connections.ids()
    }

    // ---- Time and fairness ----

    /// When there is something to do next, if nothing happens.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let (connections, listener) = (self.connections.next_deadline(), self.listener.retry_at());
        connections.into_iter().chain(listener).min()
    }

    /// Whether something was left undone for fairness.
    pub(crate) fn has_ready(&self) -> bool {
        self.connections.has_ready() || self.listener.is_ready()
    }

    /// Takes the connections with more to do than their share of a turn.
    pub(crate) fn take_ready(&mut self) -> Vec<ConnectionId> {
        self.connections.take_ready().into()
    }

    /// Remembers a connection whose turn was over before its work.
    pub(crate) fn set_ready(&mut self, id: ConnectionId) {
        self.connections.set_ready(id);
    }

    /// The listener may work again: time has passed, or a descriptor was closed.
    pub(crate) fn retry_listener(&mut self, now: Instant, a_descriptor_was_closed: bool) {
        self.listener.retry(now, a_descriptor_was_closed);
    }

    /// Binds the address that could not be bound before, when it is time. Whether it is bound now.
    pub(crate) fn bind_again(&mut self, registry: &Registry, now: Instant) -> bool {
        self.listener.bind_again(registry, now)
    }

    /// A client waits for nothing any more: its time to send a request begins.
    pub(crate) fn begin_idle(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.begin_idle(now);
        }
    }
}

/// The first line of a connection.
fn greeting(config: &Config) -> Reply {
    Reply::Muster {
        version: protocol::CLIENT_PROTOCOL_VERSION,
        line_max: protocol::CLIENT_LINE_MAX,
        queues: config.order.iter().map(|mode| config.modes[mode.0].name.clone()).collect(),
    }
}
