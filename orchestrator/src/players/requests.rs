//! Requests of clients. Those about queues and matches become inputs of the brain, the others are answered here.

use brain::{Account, ConnectionId, Input, ModeId, PlayerInput};
use protocol::{ErrorCode, LineError, Member, Reply, Request, ResumeKey, Secret};

use super::{Players, QueueView};
use crate::turn::Turn;

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

impl Players {
    pub(super) fn handle_line(
        &mut self,
        id: ConnectionId,
        line: &[u8],
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) {
        match Request::parse(line) {
            Ok(Some(request)) => self.handle_request(id, request, turn, queues),
            Ok(None) => {}
            Err(error) => self.handle_bad_line(id, line, &error, turn, queues),
        }
    }

    fn handle_bad_line(
        &mut self,
        id: ConnectionId,
        line: &[u8],
        error: &LineError,
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) {
        // A header of version 1; and the second line that is not empty of what looks like lines in one of version 2.
        let is_header = line.starts_with(b"PROXY ") || line == b"\0";
        let hint = if is_header { "; listen.proxy_from has to name a proxy" } else { "" };
        self.refuse(id, (error.code(), &format!("{error}{hint}")), turn, queues);
        if is_header {
            self.warn_of_header(id, turn);
        }
        self.note_bad_line(id, turn, queues);
    }

    /// Closes a connection with too many bad lines.
    pub(super) fn note_bad_line(
        &mut self,
        id: ConnectionId,
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) {
        if self.connections.get_mut(id).is_some_and(|connection| connection.note_bad_line()) {
            self.close_with(id, &Reply::Bye { reason: "bad-lines".into() }, turn, queues);
        }
    }

    fn handle_request(
        &mut self,
        connection: ConnectionId,
        request: Request,
        turn: &mut Turn<'_>,
        queues: &dyn QueueView,
    ) {
        match request {
            Request::Ready { .. }
            | Request::ReadyParty { .. }
            | Request::CreateParty(_)
            | Request::JoinParty { .. } => {
                match self.joining_input(connection, request, turn, queues) {
                    Ok(input) => turn.inputs.extend(input),
                    Err(error) => {
                        log::error!("the system gives no random bytes: {error}");
                        let refusal = (ErrorCode::TooMany, "temporary server error");
                        self.refuse(connection, refusal, turn, queues);
                    }
                }
            }
            Request::LeaveParty => turn.push(Input::Player(PlayerInput::LeaveParty { connection })),
            Request::Leave => turn.push(Input::Player(PlayerInput::Leave { connection })),
            Request::Accept => {
                turn.push(Input::Player(PlayerInput::Answer { connection, accepts: true }));
            }
            Request::Decline => {
                turn.push(Input::Player(PlayerInput::Answer { connection, accepts: false }));
            }
            Request::Ping(text) => self.say(connection, &Reply::Pong(text), turn),
            Request::Status => {
                for mode in &turn.config.order {
                    let reply = status(*mode, turn, queues);
                    self.say(connection, &reply, turn);
                }
            }
            Request::Help => {
                for line in HELP {
                    self.say(connection, &Reply::Help((*line).into()), turn);
                }
            }
            Request::Quit => {
                turn.push(Input::Player(PlayerInput::Quit { connection }));
                self.close_with(connection, &Reply::Bye { reason: "quit".into() }, turn, queues);
            }
        }
    }

    /// The input of a request that names the player, or draws secrets. `None`: it is none of these.
    ///
    /// # Errors
    /// When the system has no random bytes.
    fn joining_input(
        &mut self,
        connection: ConnectionId,
        request: Request,
        turn: &Turn<'_>,
        queues: &dyn QueueView,
    ) -> Result<Option<Input>, getrandom::Error> {
        let account = self.connections.get_mut(connection).map(|it| it.account());
        let account = account.unwrap_or(Account::UNKNOWN);
        Ok(Some(match request {
            Request::Ready { resume: Some(key), .. } => {
                let key = match key {
                    ResumeKey::Key(key) => Some(key),
                    ResumeKey::Malformed => None,
                };
                Input::Player(PlayerInput::Resume {
                    connection,
                    key,
                    token: self.secrets.draw()?,
                    account,
                })
            }
            Request::Ready { queue, name, skill, resume: None } => {
                let skill = self.believed_skill(connection, skill, turn);
                let (resume_key, token) = (self.secrets.draw()?, self.secrets.draw()?);
                Input::Player(PlayerInput::Ready {
                    connection,
                    queue,
                    name,
                    skill,
                    resume_key,
                    token,
                    account,
                })
            }
            Request::ReadyParty { queue } => {
                let size = queues.party_size(connection);
                let mut draw = || Ok((self.secrets.draw()?, self.secrets.draw()?));
                let keys = (0..size).map(|_| draw()).collect::<Result<_, getrandom::Error>>()?;
                Input::Player(PlayerInput::ReadyParty { connection, queue, keys })
            }
            Request::CreateParty(Member { name, skill }) => {
                let skill = self.believed_skill(connection, skill, turn);
                let code = party_code(&self.secrets.draw()?);
                Input::Player(PlayerInput::CreateParty { connection, code, name, skill, account })
            }
            Request::JoinParty { code, member: Member { name, skill } } => {
                let skill = self.believed_skill(connection, skill, turn);
                Input::Player(PlayerInput::JoinParty { connection, code, name, skill, account })
            }
            _ => return Ok(None),
        }))
    }

    /// The skill that a client reports counts where the client is one of the fronts that Muster trusts.
    fn believed_skill(
        &mut self,
        connection: ConnectionId,
        skill: Option<i32>,
        turn: &Turn<'_>,
    ) -> Option<i32> {
        let address = self.connections.get_mut(connection)?.address();
        skill.filter(|_| turn.config.limits.skill_from.contains(&address))
    }
}

fn status(mode: ModeId, turn: &Turn<'_>, queues: &dyn QueueView) -> Reply {
    let status = queues.mode_status(mode);
    Reply::Status {
        queue: turn.config.modes[mode.0].name.clone(),
        waiting: status.waiting,
        games: status.games,
        ports_free: status.ports_free,
    }
}

/// The code by which others join a party: short enough to be said aloud, and without letters that look alike; 60 random
/// bits, so that none is guessed by trying, from however many addresses.
fn party_code(secret: &Secret) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let bits = secret.first_half();
    let letter = |index: usize| char::from(LETTERS[(bits >> (5 * index)) as usize % LETTERS.len()]);
    (0..12).map(letter).collect()
}
