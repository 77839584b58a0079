//! Connections of players: who is accepted, how lines come and go, and when the time of a connection is over.

use std::net::IpAddr;

use brain::{ConnectionId, Input, PlayerInput};
use protocol::proxy::BadHeader;
use protocol::{ErrorCode, Reply};

use super::connection::{Overdue, Step};
use super::connections::Admission;
use super::listener::turn_away;
use super::{Players, QueueView, RETRY_MS};
use crate::address;
use crate::tokens;
use crate::turn::Turn;

/// The reason in the last line of the connections that are left at the end.
const SHUTDOWN: &str = "shutdown";

/// Whether to serve a connection again in this turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// There may be more, once the brain has handled its inputs.
    More,
    /// There is nothing to do before the poll reports something.
    Done,
}

impl Players {
    // ---- Accepting ----

    /// Accepts a connection. `None`: there was none, or it was turned away. The connection is to be served at once, so that
    /// a client that has sent something already is answered together with the greeting.
    pub(crate) fn accept(
        &mut self,
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) -> Option<ConnectionId> {
        let (stream, address) = self.listener.accept(turn.now)?;
        // An IPv4 address that arrives on an IPv6 socket is the same as on an IPv4 socket.
        let address = address::canonical(address.ip());
        let is_proxy = turn.config.listen.is_proxy(address);
        let (registry, limits) = (turn.registry, &turn.config.limits);
        let admission =
            self.connections.admit(stream, address, is_proxy, registry, limits, turn.now);
        match admission {
            Ok(admission) => Some(self.welcome(admission, turn, queues)),
            Err(stream) => {
                turn.counts.connections_refused += 1;
                turn_away(stream);
                None
            }
        }
    }

    /// Greets a client, or sends why it is refused.
    fn welcome(
        &mut self,
        admission: Admission,
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) -> ConnectionId {
        match admission {
            // Instead of the greeting: no request would be accepted after it.
            Admission::Accepted(id) if !queues.is_serving() => {
                turn.counts.connections_taken_in += 1;
                self.refuse(id, (ErrorCode::Draining, "the server is shutting down"), turn, queues);
                id
            }
            Admission::Accepted(id) => {
                turn.counts.connections_taken_in += 1;
                self.connections.say(id, &self.greeting, &turn.config.limits);
                id
            }
            Admission::Refused(id) => {
                turn.counts.connections_refused += 1;
                self.refuse(id, (ErrorCode::TooMany, "too many connections"), turn, queues);
                id
            }
            Admission::Unannounced(id) => id,
        }
    }

    /// A proxy has sent whose connection it passes on: only now is the client's address known.
    fn handle_announced(
        &mut self,
        id: ConnectionId,
        source: Option<IpAddr>,
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) -> Served {
        let source = source.map(address::canonical);
        match self.connections.announce(id, source, &turn.config.limits) {
            Ok(admission) => {
                self.welcome(admission, turn, queues);
                Served::More
            }
            Err(stream) => {
                turn.counts.connections_refused += 1;
                *turn.closed_a_descriptor = true;
                stream.into_iter().for_each(turn_away);
                Served::Done
            }
        }
    }

    /// A proxy's connection does not begin with a header.
    fn handle_bad_header(&mut self, id: ConnectionId, problem: BadHeader, turn: &mut Turn<'_>) {
        let address = self.connections.get_mut(id).map(|connection| connection.address());
        if let (Some(address), Some(untold)) = (address, self.header_warnings.say(turn.now)) {
            log::warn!(
                "closed a connection from the proxy {address}: {problem}; have the proxy send it (send-proxy, \
                 proxy_protocol on), or take its address out of listen.proxy_from{untold}"
            );
        }
        self.drop_connection(id, turn);
    }

    /// A client sends a header as a proxy does, and is not a known proxy.
    pub(super) fn warn_of_header(&mut self, id: ConnectionId, turn: &Turn<'_>) {
        let Some(address) = self.connections.get_mut(id).map(|it| it.address()) else { return };
        if let Some(untold) = self.header_warnings.say(turn.now) {
            log::warn!(
                "a PROXY header came from {address}, which is not in listen.proxy_from: if that is your proxy, add \
                 its address{untold}"
            );
        }
    }

    // ---- Reading ----

    /// The poll reports something of a connection.
    pub(crate) fn handle_event(
        &mut self,
        id: ConnectionId,
        is_readable: bool,
        end_is_near: bool,
        turn: &mut Turn<'_>,
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if is_readable || end_is_near {
            connection.set_readable(end_is_near);
        }
        self.flush(id, turn);
    }

    /// Handles the next line of a client, or what else it did.
    pub(crate) fn serve(
        &mut self,
        id: ConnectionId,
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) -> Served {
        let Some(connection) = self.connections.get_mut(id) else { return Served::Done };
        match connection.next_step(turn.chunk, &turn.config.limits, turn.now) {
            Step::Line(line) => self.handle_line(id, &line, turn, queues),
            Step::Announced(source) => return self.handle_announced(id, source, turn, queues),
            Step::BadHeader(problem) => {
                self.handle_bad_header(id, problem, turn);
                return Served::Done;
            }
            Step::LineTooLong => {
                let text = format!("a line has at most {} bytes", protocol::CLIENT_LINE_MAX);
                self.refuse(id, (ErrorCode::LineTooLong, &text), turn, queues);
            }
            Step::TooFast => {
                let text = "too many lines; slow down";
                self.refuse(id, (ErrorCode::TooMany, text), turn, queues);
            }
            Step::Gone => {
                self.handle_gone(id, turn, queues);
                return Served::Done;
            }
            Step::Idle => {
                self.set_deadline(id, turn, queues);
                return Served::Done;
            }
        }
        Served::More
    }

    /// The client closed its side or is gone. What was sent to it already is still written, for a client that closed only
    /// its own side.
    fn handle_gone(&mut self, id: ConnectionId, turn: &mut Turn<'_>, queues: &dyn QueueView) {
        self.flush(id, turn);
        if let Some(connection) = self.connections.get_mut(id) {
            if connection.is_closing() || !connection.has_output() {
                return self.drop_connection(id, turn);
            }
            self.close_after_output(id, turn, queues);
        }
    }

    // ---- Time ----

    /// Handles a connection whose deadline has passed; `false`: there is none.
    pub(crate) fn handle_deadline(&mut self, turn: &mut Turn<'_>, queues: &dyn QueueView) -> bool {
        let Some(id) = self.connections.pop_due(turn.now) else { return false };
        let may_be_silent = may_be_silent(id, queues);
        let Some(connection) = self.connections.get_mut(id) else { return true };
        let deadline = connection.deadline(&turn.config.limits, may_be_silent);
        let Some((_, overdue)) = deadline.filter(|&(at, _)| at <= turn.now) else {
            self.set_deadline(id, turn, queues);
            return true;
        };
        let text = match overdue {
            Overdue::Unreachable => None,
            // A proxy that checks whether the port is open.
            Overdue::Silent if connection.is_unannounced() => None,
            Overdue::Silent => Some("you said nothing"),
            Overdue::HalfLine => Some("a line was not finished"),
            Overdue::Idle => Some("you are in no queue and said nothing more"),
        };
        match text {
            Some(text) => self.refuse(id, (ErrorCode::Timeout, text), turn, queues),
            None => self.drop_connection(id, turn),
        }
        true
    }

    /// Sets when a connection's time is over.
    pub(crate) fn set_deadline(
        &mut self,
        id: ConnectionId,
        turn: &Turn<'_>,
        queues: &dyn QueueView,
    ) {
        let may_be_silent = may_be_silent(id, queues);
        let Some(connection) = self.connections.get_mut(id) else { return };
        let deadline = connection.deadline(&turn.config.limits, may_be_silent);
        self.connections.set_deadline(id, deadline.map(|(at, _)| at));
    }

    // ---- Writing ----

    /// Sends a line. A client that does not read enough to have room for it is dropped.
    pub(crate) fn say(&mut self, id: ConnectionId, reply: &Reply, turn: &mut Turn<'_>) {
        if !self.connections.say(id, reply, &turn.config.limits) {
            log::debug!("client {id} does not read what it is sent");
            self.drop_connection(id, turn);
        }
    }

    /// Sends an error, and closes the connection where the protocol says so.
    pub(crate) fn refuse(
        &mut self,
        id: ConnectionId,
        (code, text): (ErrorCode, &str),
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) {
        self.refuse_until(id, (code, text, None), turn, queues);
    }

    /// As [`refuse`](Self::refuse), with the time of a retry in milliseconds, where it is known.
    pub(crate) fn refuse_until(
        &mut self,
        id: ConnectionId,
        (code, text, retry_ms): (ErrorCode, &str, Option<u64>),
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) {
        turn.counts.note_error(code);
        let retry_ms = (code.number() < 500).then_some(retry_ms.unwrap_or(RETRY_MS));
        let reply = Reply::error(code, text, retry_ms);
        if code.closes() {
            return self.close_with(id, &reply, turn, queues);
        }
        self.say(id, &reply, turn);
        // A client that tries codes of parties is stopped.
        if code == ErrorCode::BadParty {
            self.note_bad_line(id, turn, queues);
        }
    }

    /// Sends the last line of a connection.
    pub(crate) fn close_with(
        &mut self,
        id: ConnectionId,
        reply: &Reply,
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) {
        self.say(id, reply, turn);
        self.close_after_output(id, turn, queues);
    }

    fn close_after_output(
        &mut self,
        id: ConnectionId,
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.is_closing() {
            connection.close_after_output(turn.now);
            turn.push(Input::Player(PlayerInput::Lost { connection: id }));
        }
        self.set_deadline(id, turn, queues);
    }

    /// Closes a connection at once.
    fn drop_connection(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let Some(mut connection) = self.connections.remove(id) else { return };
        turn.counts.note_traffic(connection.take_traffic());
        *turn.closed_a_descriptor = true;
        // The brain knows already of a connection that was being closed.
        if !connection.is_closing() {
            turn.push(Input::Player(PlayerInput::Lost { connection: id }));
        }
    }

    /// Writes what was sent to clients in this turn.
    pub(crate) fn flush_all(&mut self, turn: &mut Turn<'_>, queues: &dyn QueueView) {
        for id in self.connections.take_told() {
            self.flush(id, turn);
            self.set_deadline(id, turn, queues);
        }
    }

    fn flush(&mut self, id: ConnectionId, turn: &mut Turn<'_>) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let flushed = connection.flush(turn.registry, tokens::client(id), turn.now);
        turn.counts.note_traffic(connection.take_traffic());
        if flushed.is_err() {
            return self.drop_connection(id, turn);
        }
        if connection.take_wants_turn() {
            self.connections.set_ready(id);
        }
    }

    /// Sends the last line to all clients that are still connected.
    pub(crate) fn close_all(&mut self, turn: &mut Turn<'_>, queues: &dyn QueueView) {
        for id in self.connections.ids() {
            self.close_with(id, &Reply::Bye { reason: SHUTDOWN.into() }, turn, queues);
            self.flush(id, turn);
        }
    }
}

/// Whether a client may be silent for as long as it likes: a player who waits for a match, or is in a party with others.
/// A player alone in a party has the time of any other who waits for nothing: a party costs nothing to make.
fn may_be_silent(id: ConnectionId, queues: &dyn QueueView) -> bool {
    queues.is_waiting(id) || queues.party_size(id) > 1
}
