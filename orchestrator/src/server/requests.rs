//! What clients ask, and the answers. What concerns queues and matches is for the brain to say.

use matchmaker::{Account, ConnectionId, Input, ModeId};
use protocol::{ErrorCode, LineError, Member, Reply, Request, ResumeKey, Secret};

use super::Server;

/// The answer to HELP.
const HELP: &[&str] = &[
    "READY [queue=Q] [name=N] joins a queue",
    "READY resume=K takes up your place again after a lost connection, or your assignment",
    "ACCEPT or DECLINE answers FOUND, in time",
    "PARTY create, PARTY join CODE, PARTY leave; then READY party [queue=Q] queues all of it",
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
            Err(error) => self.handle_bad_line(id, line, &error),
        }
    }

    fn handle_bad_line(&mut self, id: ConnectionId, line: &[u8], error: &LineError) {
        // A header of version 1; and the second line that is not empty of what looks like lines in one of version 2.
        let is_header = line.starts_with(b"PROXY ") || line == b"\0";
        let hint = if is_header { "; listen.proxy_from has to name a proxy" } else { "" };
        self.refuse(id, error.code(), &format!("{error}{hint}"));
        if is_header {
            self.warn_of_header(id);
        }
        self.note_bad_line(id);
    }

    /// Somebody speaks as a proxy does and is none that Muster knows.
    fn warn_of_header(&mut self, id: ConnectionId) {
        let Some(address) = self.clients.get_mut(id).map(|client| client.address()) else { return };
        if let Some(untold) = self.header_warnings.say(self.now) {
            log::warn!(
                "a PROXY header came from {address}, which is not in listen.proxy_from: if that is your proxy, add \
                 its address{untold}"
            );
        }
    }

    /// Closes a connection that has said too much that makes no sense.
    pub(super) fn note_bad_line(&mut self, id: ConnectionId) {
        if self.clients.get_mut(id).is_some_and(|client| client.note_bad_line()) {
            self.close_with(id, &Reply::Bye { reason: "bad-lines".into() });
        }
    }

    fn handle_request(&mut self, connection: ConnectionId, request: Request) {
        let account =
            self.clients.get_mut(connection).map_or(Account::UNKNOWN, |client| client.account());
        match request {
            Request::Ready { resume: Some(key), .. } => self.tell_drawn(connection, |draw| {
                let key = match key {
                    ResumeKey::Key(key) => Some(key),
                    ResumeKey::Malformed => None,
                };
                Ok(Input::Resume { connection, key, token: draw()?, account })
            }),
            Request::Ready { queue, name, skill, resume: None } => {
                let skill = self.believed_skill(connection, skill);
                self.tell_drawn(connection, |draw| {
                    let (resume_key, token) = (draw()?, draw()?);
                    Ok(Input::Ready { connection, queue, name, skill, resume_key, token, account })
                });
            }
            Request::ReadyParty { queue } => {
                let size = self.brain.party_size(connection);
                self.tell_drawn(connection, |draw| {
                    let keys =
                        (0..size).map(|_| Ok((draw()?, draw()?))).collect::<Result<_, _>>()?;
                    Ok(Input::ReadyParty { connection, queue, keys })
                });
            }
            Request::CreateParty(Member { name, skill }) => {
                let skill = self.believed_skill(connection, skill);
                self.tell_drawn(connection, |draw| {
                    let code = party_code(&draw()?);
                    Ok(Input::CreateParty { connection, code, name, skill, account })
                });
            }
            Request::JoinParty { code, member: Member { name, skill } } => {
                let skill = self.believed_skill(connection, skill);
                self.tell_brain(Input::JoinParty { connection, code, name, skill, account });
            }
            Request::LeaveParty => self.tell_brain(Input::LeaveParty { connection }),
            Request::Leave => self.tell_brain(Input::Leave { connection }),
            Request::Accept => self.tell_brain(Input::Answer { connection, accepts: true }),
            Request::Decline => self.tell_brain(Input::Answer { connection, accepts: false }),
            Request::Ping(text) => self.say(connection, &Reply::Pong(text)),
            Request::Status => {
                for mode in self.config.order.clone() {
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

    /// Tells the brain something that takes secrets. If there are none, the client is told.
    fn tell_drawn(
        &mut self,
        connection: ConnectionId,
        input: impl FnOnce(&mut dyn FnMut() -> Drawn) -> Result<Input, getrandom::Error>,
    ) {
        match input(&mut || self.secrets.draw()) {
            Ok(input) => self.tell_brain(input),
            Err(error) => {
                log::error!("the system gives no random bytes: {error}");
                self.refuse(connection, ErrorCode::TooMany, "no random bytes; try again");
            }
        }
    }

    /// What a client says of a player's skill counts where it is one of the fronts that Muster trusts.
    fn believed_skill(&mut self, connection: ConnectionId, skill: Option<i32>) -> Option<i32> {
        let address = self.clients.get_mut(connection)?.address();
        skill.filter(|_| self.config.limits.skill_from.contains(&address))
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

/// What is drawn of the system's random bytes.
type Drawn = Result<Secret, getrandom::Error>;

/// What others join a party by: short enough to be said aloud, and without letters that look alike; 60 random bits, so
/// that nobody guesses one by trying, from however many addresses.
fn party_code(secret: &Secret) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let bits = secret.first_half();
    let letter = |place: usize| char::from(LETTERS[(bits >> (5 * place)) as usize % LETTERS.len()]);
    (0..12).map(letter).collect()
}
