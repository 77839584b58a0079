//! What clients ask, and the answers. What concerns queues and matches is for the brain to say.

use matchmaker::{ConnectionId, Input, ModeId};
use protocol::{ErrorCode, LineError, Reply, Request, ResumeKey};

use super::Server;

/// The answer to HELP.
const HELP: &[&str] = &[
    "READY [queue=Q] [name=N] joins a queue",
    "READY resume=K takes up your place again after a lost connection, or your assignment",
    "ACCEPT or DECLINE answers FOUND, in time",
    "LEAVE leaves the queue or the match",
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
            Request::Ready { queue, name, resume } => {
                match self.ready(connection, queue, name, resume) {
                    Ok(input) => self.tell_brain(input),
                    Err(error) => {
                        log::error!("the system gives no random bytes: {error}");
                        self.refuse(connection, ErrorCode::TooMany, "no random bytes; try again");
                    }
                }
            }
            Request::Leave => self.tell_brain(Input::Leave { connection }),
            Request::Accept => self.tell_brain(Input::Answer { connection, accepts: true }),
            Request::Decline => self.tell_brain(Input::Answer { connection, accepts: false }),
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
            Request::Quit => {
                self.tell_brain(Input::Quit { connection });
                self.close_with(connection, &Reply::Bye { reason: "quit".into() });
            }
        }
    }

    /// What READY is for the brain, with the secrets that it takes.
    fn ready(
        &mut self,
        connection: ConnectionId,
        queue: Option<String>,
        name: Option<String>,
        resume: Option<ResumeKey>,
    ) -> Result<Input, getrandom::Error> {
        let token = self.secrets.draw()?;
        Ok(match resume {
            Some(ResumeKey::Key(key)) => Input::Resume { connection, key: Some(key), token },
            Some(ResumeKey::Malformed) => Input::Resume { connection, key: None, token },
            None => {
                let resume_key = self.secrets.draw()?;
                Input::Ready { connection, queue, name, resume_key, token }
            }
        })
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
