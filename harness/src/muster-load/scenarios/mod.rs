//! The behaviours of players, one file for each: over TCP a [`Scenario`] each, and over UDP [`in_game`], which follows
//! those that are assigned.
//!
//! A scenario owns no socket and reads no clock: it receives events, and acts through its [`Desk`].

mod firehose;
mod flaky;
mod impatient;
pub(crate) mod in_game;
mod logout;
mod lurker;
mod matchmaking;
mod resets;
mod slow;

use std::time::Duration;

use client::Conversation;
use protocol::{Reply, Request, ResumeKey, Secret};

use crate::measure::{Latency, Measure};
use crate::oracle::{Event, Oracle};
use crate::step::{Kind, Step};

/// One run of a scenario, from the greeting to its end.
pub(crate) trait Scenario {
    /// Muster has sent the greeting, and there is no session to resume.
    fn handle_greeted(&mut self, desk: &mut Desk<'_>);

    /// Muster has sent another reply. ASSIGN, and unexpected errors, end the run without this call.
    fn handle_reply(&mut self, _desk: &mut Desk<'_>, _reply: &Reply) {}

    /// The time that the scenario requested last has come.
    fn handle_wake(&mut self, _desk: &mut Desk<'_>) {}

    /// Whether the scenario provokes this error.
    fn expects(&self, _number: u16) -> bool {
        false
    }

    /// Whether the scenario can be ended at any time, because its outcome does not matter.
    fn is_idling(&self) -> bool {
        false
    }
}

/// Any of the scenarios.
#[derive(Debug)]
pub(crate) enum Script {
    Matchmaking(matchmaking::Matchmaking),
    Impatient(impatient::Impatient),
    Flaky(flaky::Flaky),
    Lurker(lurker::Lurker),
    Logout(logout::Logout),
    Slow(slow::Slow),
    Firehose(firehose::Firehose),
    Resets(resets::Resets),
}

impl Script {
    /// The state of a new run.
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Matchmaking => Self::Matchmaking(matchmaking::Matchmaking),
            Kind::Impatient => Self::Impatient(impatient::Impatient::default()),
            Kind::Flaky => Self::Flaky(flaky::Flaky::default()),
            Kind::Lurker => Self::Lurker(lurker::Lurker),
            Kind::Logout => Self::Logout(logout::Logout),
            Kind::Slow => Self::Slow(slow::Slow::default()),
            Kind::Firehose => Self::Firehose(firehose::Firehose::default()),
            Kind::Resets => Self::Resets(resets::Resets),
        }
    }

    pub(crate) fn scenario(&mut self) -> &mut dyn Scenario {
        match self {
            Self::Matchmaking(scenario) => scenario,
            Self::Impatient(scenario) => scenario,
            Self::Flaky(scenario) => scenario,
            Self::Lurker(scenario) => scenario,
            Self::Logout(scenario) => scenario,
            Self::Slow(scenario) => scenario,
            Self::Firehose(scenario) => scenario,
            Self::Resets(scenario) => scenario,
        }
    }
}

/// One run of a scenario: the state that a player keeps from one connection to the next.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) step: Step,
    pub(crate) script: Script,
    /// The session's resume key, from QUEUED on, for the next connection.
    pub(crate) key: Option<Secret>,
    /// Muster has closed the connection without a message while the player was queued, and has not answered since.
    pub(crate) is_owed: bool,
}

impl Run {
    /// A new run.
    pub(crate) fn new(step: Step) -> Self {
        Self { step, script: Script::new(step.kind), key: None, is_owed: false }
    }
}

/// How a run over TCP ends by the scenario's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
    /// Loses the connection, with a reset or not, and continues with another one after `back_in`.
    Away { resets: bool, back_in: Duration },
    /// Closes the connection, and the player is gone for good.
    LogOut,
}

/// The requests of a scenario, to be handled after each event.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wants {
    pub(crate) wake_at: Option<Duration>,
    pub(crate) end: Option<End>,
    pub(crate) ready_at: Option<Duration>,
    pub(crate) leave_at: Option<Duration>,
}

/// The interface for a scenario's actions. Everything that the oracle must know is recorded here.
pub(crate) struct Desk<'a> {
    pub(crate) now: Duration,
    pub(crate) step: &'a Step,
    pub(crate) player: u32,
    pub(crate) queue: &'a str,
    pub(crate) conversation: &'a mut Conversation,
    pub(crate) wants: &'a mut Wants,
    pub(crate) oracle: &'a mut Oracle,
    pub(crate) measure: &'a mut Measure,
}

impl Desk<'_> {
    /// Sends READY.
    pub(crate) fn ready(&mut self) {
        let request = self.ready_request(None);
        self.conversation.say(&request);
        self.note_ready(false);
    }

    /// Sends READY with the key of an earlier session.
    pub(crate) fn resume(&mut self, key: Secret) {
        let request = self.ready_request(Some(ResumeKey::Key(key)));
        self.conversation.say(&request);
        self.note_ready(true);
    }

    /// The READY line, for scenarios that send it in another way; then [`note_ready`](Self::note_ready) is due with its
    /// last byte.
    pub(crate) fn ready_line(&self) -> String {
        format!("{}\n", self.ready_request(None))
    }

    /// Notes that READY was sent.
    pub(crate) fn note_ready(&mut self, resumes: bool) {
        self.wants.ready_at = Some(self.now);
        let queue = self.queue;
        self.oracle.handle(self.now, self.player, Event::ReadySaid { queue, resumes });
    }

    /// Sends LEAVE.
    pub(crate) fn leave(&mut self) {
        self.wants.leave_at = Some(self.now);
        self.say_last(&Request::Leave);
    }

    /// Sends QUIT.
    pub(crate) fn quit(&mut self) {
        self.say_last(&Request::Quit);
    }

    fn say_last(&mut self, request: &Request) {
        self.conversation.say(request);
        self.oracle.handle(self.now, self.player, Event::LeaveSaid);
    }

    /// Sends arbitrary bytes.
    pub(crate) fn say_raw(&mut self, bytes: &[u8]) {
        self.conversation.say_raw(bytes);
    }

    /// Requests to be woken after `pause`, in place of an earlier request.
    pub(crate) fn wake_in(&mut self, pause: Duration) {
        self.wants.wake_at = Some(self.now + pause);
    }

    /// Ends the run, once everything is sent.
    pub(crate) fn end(&mut self, end: End) {
        self.wants.end = Some(end);
    }

    /// Notes that the player received LEFT.
    pub(crate) fn note_left(&mut self) {
        if let Some(said) = self.wants.leave_at.take() {
            self.measure.took(Latency::Left, self.now - said);
        }
    }

    fn ready_request(&self, resume: Option<ResumeKey>) -> Request {
        let name = Some(format!("p{}", self.player));
        Request::Ready { queue: Some(self.queue.to_owned()), name, skill: None, resume }
    }
}
