//! Talking with clients: who is let in, how lines come and go, and when somebody's time is over.

use std::net::IpAddr;

use matchmaker::{ConnectionId, Input};
use protocol::proxy::BadHeader;
use protocol::{ErrorCode, Reply};

use super::Server;
use crate::address;
use crate::config::Config;
use crate::players::connection::{Overdue, Step};
use crate::players::connections::Admission;
use crate::players::listener::turn_away;
use crate::tokens;

/// When a client is told to try again after a 4xx, in milliseconds.
pub(crate) const RETRY_MS: u64 = 1000;

/// Connections accepted in a turn, so that a flood of them does not starve who is already in.
const ACCEPTS_PER_TURN: usize = 32;

/// Lines of one client handled in a turn, so that a firehose does not starve the others.
const LINES_PER_TURN: usize = 64;

/// What the last clients are told when Muster is gone.
const SHUTDOWN: &str = "shutdown";

/// What everybody who is let in is told first.
pub(super) fn greeting(config: &Config) -> Reply {
    Reply::Muster {
        version: protocol::CLIENT_PROTOCOL_VERSION,
        line_max: protocol::CLIENT_LINE_MAX,
        queues: config.order.iter().map(|mode| config.modes[mode.0].name.clone()).collect(),
    }
}

impl Server {
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.listener.is_ready() {
                return;
            }
            let Some((stream, address)) = self.listener.accept(self.now) else { continue };
            // Whoever comes by version 4 to a socket of version 6 is the same as to one of version 4.
            let address = address::canonical(address.ip());
            let is_proxy = self.config.listen.is_proxy(address);
            let (registry, limits) = (self.poll.registry(), &self.config.limits);
            let admission =
                self.clients.admit(stream, address, is_proxy, registry, limits, self.now);
            match admission {
                Ok(admission) => self.take_in(admission),
                Err(stream) => {
                    self.counts.connections_refused += 1;
                    turn_away(stream);
                }
            }
        }
    }

    /// Greets a client who was let in, or says why it is not.
    fn take_in(&mut self, admission: Admission) {
        match admission {
            // Told instead of the greeting, so that nobody comes in only to hear it then.
            Admission::Client(id) if !self.brain.is_serving() => {
                self.counts.connections_taken_in += 1;
                self.refuse(id, ErrorCode::Draining, "the server is shutting down");
            }
            Admission::Client(id) => {
                self.counts.connections_taken_in += 1;
                self.clients.say(id, &self.greeting, &self.config.limits);
                // Whoever has said something already is answered together with the greeting.
                self.serve_client(id);
            }
            Admission::Refused(id) => {
                self.counts.connections_refused += 1;
                self.refuse(id, ErrorCode::TooMany, "too many connections");
            }
            Admission::Unannounced(id) => self.serve_client(id),
        }
    }

    /// A proxy has said whose connection it passes on: only now is it known who comes.
    fn handle_announced(&mut self, id: ConnectionId, source: Option<IpAddr>) {
        let source = source.map(address::canonical);
        match self.clients.announce(id, source, &self.config.limits) {
            Ok(admission) => self.take_in(admission),
            Err(stream) => {
                self.counts.connections_refused += 1;
                self.closed_a_descriptor = true;
                stream.into_iter().for_each(turn_away);
            }
        }
    }

    /// What comes from a proxy does not begin as it has to.
    fn handle_bad_header(&mut self, id: ConnectionId, problem: BadHeader) {
        let address = self.clients.get_mut(id).map(|client| client.address());
        if let (Some(address), Some(untold)) = (address, self.header_warnings.say(self.now)) {
            log::warn!(
                "closed a connection from the proxy {address}: {problem}; have the proxy send it (send-proxy, \
                 proxy_protocol on), or take its address out of listen.proxy_from{untold}"
            );
        }
        self.drop_client(id);
    }

    /// Handles what a client sent, as much as its share of a turn.
    pub(super) fn serve_client(&mut self, id: ConnectionId) {
        for _ in 0..LINES_PER_TURN {
            let Some(client) = self.clients.get_mut(id) else { return };
            match client.next_step(&mut self.chunk, &self.config.limits, self.now) {
                Step::Line(line) => self.handle_line(id, &line),
                // It goes on from there.
                Step::Announced(source) => return self.handle_announced(id, source),
                Step::BadHeader(problem) => return self.handle_bad_header(id, problem),
                Step::LineTooLong => {
                    let text = format!("a line has at most {} bytes", protocol::CLIENT_LINE_MAX);
                    self.refuse(id, ErrorCode::LineTooLong, &text);
                }
                Step::TooFast => self.refuse(id, ErrorCode::TooMany, "too many lines; slow down"),
                Step::Gone => return self.handle_gone(id),
                Step::Idle => return self.set_client_deadline(id),
            }
        }
        self.set_client_deadline(id);
        self.clients.set_ready(id);
    }

    /// The client closed its side or is gone. What was already said to it still goes out, for one that closed
    /// only its own side.
    fn handle_gone(&mut self, id: ConnectionId) {
        self.write_to_client(id);
        if let Some(client) = self.clients.get_mut(id) {
            if client.is_closing() || !client.has_output() {
                return self.drop_client(id);
            }
            self.inputs.push_back(Input::Lost { connection: id });
            self.close_after_output(id);
        }
    }

    pub(super) fn handle_client_deadline(&mut self, id: ConnectionId) {
        let is_queued = self.has_patience(id);
        let Some(client) = self.clients.get_mut(id) else { return };
        let deadline = client.deadline(&self.config.limits, is_queued);
        let Some((_, overdue)) = deadline.filter(|&(at, _)| at <= self.now) else {
            return self.set_client_deadline(id);
        };
        match overdue {
            Overdue::Unreachable => self.drop_client(id),
            // A proxy that looks whether somebody listens.
            Overdue::Silent if client.is_unannounced() => self.drop_client(id),
            Overdue::Silent => self.refuse(id, ErrorCode::Timeout, "you said nothing"),
            Overdue::HalfLine => self.refuse(id, ErrorCode::Timeout, "a line was not finished"),
            Overdue::Idle => {
                self.refuse(id, ErrorCode::Timeout, "you are in no queue and said nothing more");
            }
        }
    }

    /// Whether a client may say nothing for as long as it likes: who waits for a match, or is in a party with others.
    /// Whoever is alone in one has the time of anybody who waits for nothing: a party costs nothing to make.
    fn has_patience(&self, id: ConnectionId) -> bool {
        self.brain.is_waiting(id) || self.brain.party_size(id) > 1
    }

    pub(super) fn set_client_deadline(&mut self, id: ConnectionId) {
        let is_queued = self.has_patience(id);
        let Some(client) = self.clients.get_mut(id) else { return };
        let deadline = client.deadline(&self.config.limits, is_queued);
        self.clients.set_deadline(id, deadline.map(|(at, _)| at));
    }

    /// Says a line to a client; one that does not read enough to have room for it is dropped.
    pub(super) fn say(&mut self, id: ConnectionId, reply: &Reply) {
        if !self.clients.say(id, reply, &self.config.limits) {
            log::debug!("client {id} does not read what it is told");
            self.drop_client(id);
        }
    }

    /// Tells a client that something cannot be done, and closes where the protocol says so.
    pub(super) fn refuse(&mut self, id: ConnectionId, code: ErrorCode, text: &str) {
        self.refuse_until(id, code, text, None);
    }

    /// As [`refuse`](Self::refuse), where it is known when it may be tried again.
    pub(super) fn refuse_until(
        &mut self,
        id: ConnectionId,
        code: ErrorCode,
        text: &str,
        retry_ms: Option<u64>,
    ) {
        self.counts.note_error(code);
        let retry_ms = (code.number() < 500).then_some(retry_ms.unwrap_or(RETRY_MS));
        let reply = Reply::error(code, text, retry_ms);
        if code.closes() {
            return self.close_with(id, &reply);
        }
        self.say(id, &reply);
        // Whoever tries the codes of parties is not let go on.
        if code == ErrorCode::BadParty {
            self.note_bad_line(id);
        }
    }

    /// Says a client's last line.
    pub(super) fn close_with(&mut self, id: ConnectionId, reply: &Reply) {
        self.say(id, reply);
        self.inputs.push_back(Input::Lost { connection: id });
        self.close_after_output(id);
    }

    fn close_after_output(&mut self, id: ConnectionId) {
        if let Some(client) = self.clients.get_mut(id) {
            client.close_after_output(self.now);
            self.set_client_deadline(id);
        }
    }

    /// Closes a connection without a word.
    fn drop_client(&mut self, id: ConnectionId) {
        if let Some(mut client) = self.clients.remove(id) {
            self.counts.note_traffic(client.take_traffic());
            self.closed_a_descriptor = true;
            self.inputs.push_back(Input::Lost { connection: id });
        }
    }

    pub(super) fn write_to_clients(&mut self) {
        for id in self.clients.take_told() {
            self.write_to_client(id);
            self.set_client_deadline(id);
        }
    }

    pub(super) fn write_to_client(&mut self, id: ConnectionId) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let flushed = client.flush(self.poll.registry(), tokens::client(id), self.now);
        self.counts.note_traffic(client.take_traffic());
        if flushed.is_err() {
            return self.drop_client(id);
        }
        if client.take_wants_turn() {
            self.clients.set_ready(id);
        }
    }

    /// Tells those who are still connected that it is over.
    pub(super) fn say_goodbye(&mut self) {
        for id in self.clients.ids() {
            self.close_with(id, &Reply::Bye { reason: SHUTDOWN.into() });
            self.write_to_client(id);
        }
    }
}
