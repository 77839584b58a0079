//! What clients ask, and the answers. What concerns queues and matches is for the brain to say.

use matchmaker::{ConnectionId, Input, ModeId};
use protocol::{ErrorCode, LineError, Reply, Request, ResumeKey};

use super::Server;

/// The answer to HELP.
const HELP: &[&str] = &[
    "READY [queue=Q] [name=N] joins a queue",
    "LEAVE leaves it",
    "STATUS tells how full the queues are",
    "PING [text] gets PONG [text]",
    "QUIT ends the conversation",
    "A value holds no white space; percent-encode it",
];

impl Server {
    pub(super) fn handle_line(&mut self, id: ConnectionId, line: &[u8]) {
        match Request::parse(line) {
            Ok(Some(request)) => self.handle_request(id, request),
            Ok(None) => {}
            Err(error) => self.handle_bad_line(id, &error),
        }
    }

    fn handle_bad_line(&mut self, id: ConnectionId, error: &LineError) {
        self.refuse(id, error.code(), &error.to_string());
        if self.clients.get_mut(id).is_some_and(|client| client.note_bad_line()) {
            self.close_with(id, &Reply::Bye { reason: "bad-lines".into() });
        }
    }

    fn handle_request(&mut self, connection: ConnectionId, request: Request) {
        match request {
            Request::Ready { resume: Some(ResumeKey::Key(_) | ResumeKey::Malformed), .. } => {
                self.tell_brain(Input::Resume { connection });
            }
            Request::Ready { queue, name, resume: None } => {
                match (self.secrets.draw(), self.secrets.draw()) {
                    (Ok(resume_key), Ok(token)) => {
                        self.tell_brain(Input::Ready {
                            connection,
                            queue,
                            name,
                            resume_key,
                            token,
                        });
                    }
                    (Err(error), _) | (_, Err(error)) => {
                        log::error!("the system gives no random bytes: {error}");
                        self.refuse(connection, ErrorCode::TooMany, "no random bytes; try again");
                    }
                }
            }
            Request::Leave => self.tell_brain(Input::Leave { connection }),
            Request::Accept | Request::Decline => self.tell_brain(Input::Answer { connection }),
            Request::Ping(text) => self.say(connection, &Reply::Pong(text)),
            Request::Status => {
                for mode in (0..self.config.modes.len()).map(ModeId) {
                    let reply = self.status(mode);
                    self.say(connection, &reply);
                }
            }
            Request::Help => {
                for line in HELP {
                    self.say(connection, &Reply::Help((*line).into()));
                }
            }
            Request::Quit => self.close_with(connection, &Reply::Bye { reason: "quit".into() }),
        }
    }

    fn status(&self, mode: ModeId) -> Reply {
        let status = self.brain.mode_status(mode);
        Reply::Status {
            queue: self.config.modes[mode.0].name.clone(),
            waiting: status.waiting,
            games: status.games,
            ports_free: status.ports_free,
        }
    }
}
