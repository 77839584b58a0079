//! From the connection to the assignment, with reconnects.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use client::{Assignment, ClientError, Lobby, Place};
use protocol::{Reply, Request, Secret, Visible};

use crate::PlayError;
use crate::args::Args;
use crate::console::Console;
use crate::limits::{ANSWER_MAX, LINES_PER_SECOND_MAX};

/// The pauses before each attempt to reconnect, in milliseconds. Sessions are usually kept for half a minute.
const PAUSES_MS: [u64; 7] = [100, 250, 500, 1000, 2000, 4000, 8000];

/// A position in the queue, over one connection after another.
pub(crate) struct WaitingRoom<'a> {
    args: &'a Args,
    lobby: Lobby,
    /// The resume key, once there is one.
    key: Option<String>,
    /// Whether the person has to accept a match.
    is_asked: bool,
    chatter: Chatter,
}

/// Counts the lines in the current second.
struct Chatter {
    since: Instant,
    lines: u32,
}

impl Chatter {
    fn new() -> Self {
        Self { since: Instant::now(), lines: 0 }
    }

    /// Counts a line; returns whether there were too many.
    fn is_too_much(&mut self) -> bool {
        if self.since.elapsed() >= Duration::from_secs(1) {
            *self = Self::new();
        }
        self.lines += 1;
        self.lines > LINES_PER_SECOND_MAX
    }
}

impl<'a> WaitingRoom<'a> {
    /// Joins the queue.
    pub(crate) fn enter(console: &mut Console, args: &'a Args) -> Result<Self, PlayError> {
        let mut lobby = Lobby::connect(&args.address, ANSWER_MAX)?;
        let (address, queues) = (lobby.address(), lobby.queues().join(", "));
        console.say(format_args!("connected to {address} (queues: {})", Visible(&queues)));
        let (queue, name) = (args.queue.clone(), args.name.clone());
        lobby.send(&Request::Ready { queue, name, skill: None, resume: None })?;
        Ok(Self { args, lobby, key: None, is_asked: false, chatter: Chatter::new() })
    }

    /// Waits for the assignment. `None` if the player left.
    pub(crate) fn wait(&mut self, console: &mut Console) -> Result<Option<Assignment>, PlayError> {
        loop {
            match self.handle_replies(console) {
                Ok(Some(assignment)) => return Ok(Some(assignment)),
                Ok(None) => {}
                Err(PlayError::Client(error)) if error.is_lost_connection() => {
                    if !self.come_back(console, error)? {
                        return Ok(None);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            }
            console.wait(self.lobby.as_fd(), None)?;
            while let Some(line) = console.next_line() {
                if !self.handle_typed(console, line.trim())? {
                    return Ok(None);
                }
            }
            if console.wants_out() {
                return self.leave(console).map(|()| None);
            }
        }
    }

    /// Resumes the session after the game was lost. `None` if the game takes no player back, or has ended.
    pub(crate) fn ask_again(
        &mut self,
        console: &mut Console,
    ) -> Result<Option<Assignment>, PlayError> {
        let Some(key) = &self.key else { return Ok(None) };
        console.say("rejoining the game");
        let Ok(mut lobby) = Lobby::connect(&self.args.address, ANSWER_MAX) else { return Ok(None) };
        let Ok(reply) = lobby.resume(key, ANSWER_MAX) else { return Ok(None) };
        describe(&reply).into_iter().for_each(|text| console.say(text));
        Ok(Assignment::of(reply))
    }

    /// Handles the replies that have arrived.
    fn handle_replies(&mut self, console: &mut Console) -> Result<Option<Assignment>, PlayError> {
        while let Some(reply) = self.lobby.poll_reply()? {
            if self.chatter.is_too_much() {
                return Err(PlayError::Chatter(
                    self.lobby.address().to_owned(),
                    LINES_PER_SECOND_MAX,
                ));
            }
            if let Some(text) = describe(&reply) {
                console.say(text);
            }
            if let Reply::Found { accept_ms, .. } = reply
                && !self.args.bot
            {
                self.is_asked = true;
                let seconds = accept_ms.div_ceil(1000);
                console.say(format_args!("type accept or decline within {seconds} s"));
                continue;
            }
            if matches!(reply, Reply::Requeued { .. } | Reply::Queued { .. }) {
                self.is_asked = false;
            }
            if let Some(place) = Place::of(reply.clone()) {
                // An invalid key cannot resume a session.
                self.key = Some(place.resume).filter(|key| key.parse::<Secret>().is_ok());
            }
            if let Some(assignment) = self.lobby.handle_waiting(reply)? {
                return Ok(Some(assignment));
            }
        }
        Ok(None)
    }

    /// Handles a typed line; returns whether the player stays.
    fn handle_typed(&mut self, console: &mut Console, line: &str) -> Result<bool, PlayError> {
        match line {
            "accept" if self.is_asked => {
                self.is_asked = false;
                self.lobby.send(&Request::Accept)?;
            }
            "decline" if self.is_asked => {
                self.lobby.send(&Request::Decline)?;
                self.leave(console)?;
                return Ok(false);
            }
            _ if self.is_asked => console.say("type accept or decline"),
            _ => console.say("still waiting for other players; Ctrl-C leaves"),
        }
        Ok(true)
    }

    fn leave(&mut self, console: &mut Console) -> Result<(), PlayError> {
        self.lobby.quit(ANSWER_MAX)?;
        console.say("left the queue");
        Ok(())
    }

    /// Resumes the session over another connection, if there was one. Returns whether the player still waits.
    fn come_back(
        &mut self,
        console: &mut Console,
        mut lost: ClientError,
    ) -> Result<bool, PlayError> {
        for pause_ms in PAUSES_MS {
            let Some(key) = &self.key else { break };
            console.say(format_args!("{lost}; coming back"));
            let until = Instant::now() + Duration::from_millis(pause_ms);
            while Instant::now() < until && !console.wants_out() {
                console.wait(None, Some(until))?;
                while console.next_line().is_some() {}
            }
            if console.wants_out() {
                console.say("left the queue");
                return Ok(false);
            }
            match reconnect(&self.args.address, key) {
                Ok(lobby) => {
                    (self.lobby, self.is_asked) = (lobby, false);
                    return Ok(true);
                }
                Err(error) if error.is_lost_connection() => lost = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(lost.into())
    }
}

/// A new connection that resumes the session. The answer is handled like later replies.
fn reconnect(address: &str, key: &str) -> Result<Lobby, ClientError> {
    let mut lobby = Lobby::connect(address, ANSWER_MAX)?;
    let resume = Some(key.parse().map_or(protocol::ResumeKey::Malformed, protocol::ResumeKey::Key));
    lobby.send(&Request::Ready { queue: None, name: None, skill: None, resume })?;
    Ok(lobby)
}

/// A reply as a text for people.
fn describe(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Queued { queue, position, needed, .. } => {
            let queue = Visible(queue);
            Some(format!("queued in {queue}: position {position}, needed {needed}"))
        }
        Reply::Requeued { queue, position } => {
            Some(format!("returned to queue {}: position {position}", Visible(queue)))
        }
        Reply::Waiting { queue, reason, ahead } => {
            let ahead = ahead.map_or_else(String::new, |ahead| format!(", {ahead} ahead"));
            Some(format!("waiting in {}: {}{ahead}", Visible(queue), reason.word()))
        }
        Reply::Found { match_id, .. } => Some(format!("found match {}", Visible(match_id))),
        Reply::Accepted { count, of } => Some(format!("{count} of {of} have accepted")),
        Reply::Expired { waited_ms, .. } => {
            Some(format!("found no match in {} s", waited_ms / 1000))
        }
        Reply::Party { code, size } => Some(format!("party {}: {size} are in it", Visible(code))),
        Reply::Assign { match_id, host, port, slot, players, .. } => Some(format!(
            "assigned: match {} on {}:{port}, slot {slot} of {players}",
            Visible(match_id),
            Visible(host)
        )),
        Reply::Other(line) => Some(Visible(line.trim_end()).to_string()),
        // The last line is reported as an error; the others were not requested.
        Reply::Muster { .. }
        | Reply::Left
        | Reply::Evicted { .. }
        | Reply::Pong(_)
        | Reply::Status { .. }
        | Reply::Help(_)
        | Reply::Bye { .. }
        | Reply::Error { .. } => None,
    }
}
