//! A connection of a player to Muster: from the run's due time to ASSIGN or another end.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::Duration;

use client::{Assignment, ClientError, Conversation};
use mio::net::TcpStream;
use protocol::{ErrorCode, Reply, Request};

use crate::measure::Latency;
use crate::net;
use crate::oracle::Event;
use crate::phase::Phase;
use crate::scenarios::{Desk, End, Run, Scenario, Wants};
use crate::stage::Stage;
use crate::step::{Answer, Step};

/// A connection, and the run of a scenario over it.
#[derive(Debug)]
pub(crate) struct Visit {
    player: u32,
    stream: TcpStream,
    conversation: Conversation,
    run: Run,
    wants: Wants,
    phase: Phase,
    is_connected: bool,
    /// When the run was due: the connection is measured from here.
    due: Duration,
    /// The player received an offer. The answer may be sent after the match was dissolved.
    was_asked: bool,
    /// The reason that Muster has sent before it closes the connection.
    farewell: Option<Farewell>,
    /// There is unread data, for which no further event comes.
    has_unread: bool,
}

/// The last message before Muster closes the connection.
#[derive(Debug, Clone, Copy)]
enum Farewell {
    Refused { retry: Duration },
    Bye,
}

/// The state of the visit after an event.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It continues.
    Stays,
    /// The player is idle for this long.
    Idle(Duration),
    /// The player was assigned, and joins the game.
    Play(Box<Assignment>),
    /// The run continues over another connection, after this time.
    Away(Box<Run>, Duration),
    /// The player is gone for good.
    LoggedOut,
}

/// How long a player rests after an error.
const REST: Duration = Duration::from_secs(1);

/// How long a player whom Muster disconnected waits before reconnecting.
pub(crate) const BACK_IN: Duration = Duration::from_millis(100);

/// The largest number of reads before other work, in buffers.
const READS_MAX: usize = 16;

impl Visit {
    /// A visit whose connection is being established.
    pub(crate) fn new(player: u32, stream: TcpStream, due: Duration, run: Run) -> Self {
        Self {
            player,
            stream,
            // Errors are counted here, and the address is always the same.
            conversation: Conversation::new(String::new()),
            run,
            wants: Wants::default(),
            phase: Phase::Connecting,
            is_connected: false,
            due,
            was_asked: false,
            farewell: None,
            has_unread: false,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn step(&self) -> &Step {
        &self.run.step
    }

    /// The next deadline of the visit.
    pub(crate) fn next_deadline(&self, stage: &Stage) -> Option<Duration> {
        match self.phase {
            _ if self.has_unread => Some(Duration::ZERO),
            Phase::Connecting => Some(self.due + stage.patience),
            _ => self.wants.wake_at,
        }
    }

    /// Whether the outcome does not matter.
    pub(crate) fn is_idling(&mut self) -> bool {
        self.run.script.scenario().is_idling()
    }

    /// Handles an event of the socket.
    pub(crate) fn handle_ready(&mut self, stage: &mut Stage, is_read_closed: bool) -> Turn {
        if !self.is_connected {
            match self.take_connection(stage) {
                Some(true) => self.is_connected = true,
                Some(false) => return Turn::Stays,
                None => return self.turn_of_failure(stage),
            }
        }
        self.has_unread = true;
        for _ in 0..READS_MAX {
            let (is_end, is_all) = match self.stream.read(&mut stage.buffer) {
                Ok(0) => (true, true),
                Ok(count) => {
                    self.conversation.handle_bytes(&stage.buffer[..count]);
                    // A short read is complete; but the end of the stream is reported separately.
                    (false, count < stage.buffer.len() && !is_read_closed)
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.has_unread = false;
                    break;
                }
                Err(error) => {
                    if self.farewell.is_none() && !stage.comes_back {
                        stage.io_error("read", &error);
                    }
                    (true, true)
                }
            };
            if let Some(turn) = self.hear(stage) {
                return turn;
            }
            if is_end {
                return self.handle_hung_up(stage);
            }
            if is_all {
                self.has_unread = false;
                break;
            }
        }
        self.go_on(stage)
    }

    /// Handles the deadline of [`next_deadline`](Self::next_deadline).
    pub(crate) fn handle_timeout(&mut self, stage: &mut Stage) -> Turn {
        if self.has_unread {
            return self.handle_ready(stage, true);
        }
        if self.phase == Phase::Connecting {
            if stage.comes_back {
                return self.turn_of_failure(stage);
            }
            stage.measure.error(if self.is_connected {
                "no greeting"
            } else {
                "connect: timed out"
            });
            return Turn::Idle(REST);
        }
        if self.wants.wake_at.take_if(|at| *at <= stage.now()).is_some() {
            self.with_scenario(stage, |scenario, desk| scenario.handle_wake(desk));
        }
        self.go_on(stage)
    }

    /// Ends the run of this player.
    pub(crate) fn handle_end_of_run(&mut self, stage: &mut Stage) -> Turn {
        if !self.run.is_owed && (self.phase == Phase::Connecting || self.is_idling()) {
            self.wants.end = Some(End::Close);
        }
        self.go_on(stage)
    }

    /// Whether the connection is established; `None` if it failed.
    fn take_connection(&mut self, stage: &mut Stage) -> Option<bool> {
        let failed = match (self.stream.take_error(), self.stream.peer_addr()) {
            (Ok(None), Ok(_)) => return Some(true),
            (Ok(None), Err(error)) if error.kind() == ErrorKind::NotConnected => {
                return Some(false);
            }
            (Ok(Some(error)) | Err(error), _) | (Ok(None), Err(error)) => error,
        };
        if !stage.comes_back {
            stage.io_error("connect", &failed);
        }
        None
    }

    /// Handles all pending replies.
    fn hear(&mut self, stage: &mut Stage) -> Option<Turn> {
        loop {
            let reply = match self.conversation.poll_reply() {
                Ok(Some(reply)) => reply,
                Ok(None) => return None,
                Err(ClientError::BadLine { .. }) => {
                    stage.measure.error("a malformed line");
                    continue;
                }
                Err(_) => {
                    stage.measure.error("a line without end");
                    stage.oracle.handle(stage.now(), self.player, Event::Gone);
                    return Some(Turn::Idle(REST));
                }
            };
            if let Some(turn) = self.handle_reply(stage, reply) {
                return Some(turn);
            }
        }
    }

    fn handle_reply(&mut self, stage: &mut Stage, reply: Reply) -> Option<Turn> {
        let now = stage.now();
        stage.oracle.handle(now, self.player, Event::Heard(&reply));
        match &reply {
            Reply::Muster { .. } if self.phase == Phase::Connecting => {
                stage.measure.took(Latency::Connect, now.saturating_sub(self.due));
                self.enter(stage, Phase::Greeted);
                self.handle_greeted(stage);
                return None;
            }
            Reply::Queued { resume, .. } => {
                (self.run.key, self.run.is_owed) = (resume.parse().ok(), false);
                if self.phase == Phase::Greeted {
                    stage.measure.counts.queued += 1;
                    let ready_at = self.wants.ready_at.unwrap_or(now);
                    stage.measure.took(Latency::Queued, now - ready_at);
                }
                self.enter(stage, Phase::Queued);
            }
            Reply::Requeued { .. } => self.enter(stage, Phase::Queued),
            Reply::Waiting { .. } => self.enter(stage, Phase::Waiting),
            Reply::Assign { .. } => return self.handle_assign(stage, now, reply),
            Reply::Left => {
                self.run.key = None;
                self.enter(stage, Phase::Greeted);
            }
            Reply::Error { number, retry_ms, .. } => {
                return self.handle_error(stage, *number, *retry_ms, &reply);
            }
            Reply::Bye { .. } => self.farewell = Some(Farewell::Bye),
            Reply::Found { .. } => self.answer(stage),
            Reply::Evicted { .. } => {
                match self.run.step.answer {
                    Answer::Accept => stage.measure.error("EVICTED"),
                    Answer::Decline | Answer::Nothing => stage.measure.expected("EVICTED"),
                }
                self.run.key = None;
                self.enter(stage, Phase::Greeted);
                self.wants.end = Some(End::Close);
            }
            Reply::Muster { .. }
            | Reply::Pong(_)
            | Reply::Status { .. }
            | Reply::Help(_)
            | Reply::Accepted { .. }
            | Reply::Expired { .. }
            | Reply::Party { .. }
            | Reply::Other(_) => {}
        }
        self.with_scenario(stage, |scenario, desk| scenario.handle_reply(desk, &reply));
        None
    }

    /// Resumes the session if there is a key, or begins one.
    fn handle_greeted(&mut self, stage: &mut Stage) {
        let key = self.run.key;
        self.with_scenario(stage, |scenario, desk| match key {
            Some(key) => desk.resume(key),
            None => scenario.handle_greeted(desk),
        });
    }

    /// Accepts or declines the offered match, or is silent.
    fn answer(&mut self, stage: &mut Stage) {
        self.was_asked = true;
        match self.run.step.answer {
            Answer::Accept => return self.conversation.say(&Request::Accept),
            Answer::Decline => self.conversation.say(&Request::Decline),
            Answer::Nothing => {}
        }
        stage.oracle.handle(stage.now(), self.player, Event::NotAccepted);
    }

    fn handle_assign(&mut self, stage: &mut Stage, now: Duration, reply: Reply) -> Option<Turn> {
        stage.measure.counts.assigned += 1;
        let ready_at = self.wants.ready_at.unwrap_or(now);
        stage.measure.took(Latency::Assign, now - ready_at);
        let assignment = Assignment::of(reply)?;
        if !self.run.step.game.shows_up || stage.is_ending {
            return Some(Turn::Idle(Duration::ZERO));
        }
        Some(Turn::Play(Box::new(assignment)))
    }

    fn handle_error(
        &mut self,
        stage: &mut Stage,
        number: u16,
        retry_ms: Option<u64>,
        reply: &Reply,
    ) -> Option<Turn> {
        let code = ErrorCode::from_number(number);
        let kind = code.map_or_else(|| format!("ERR {number}"), |code| format!("ERR {code}"));
        if code == Some(ErrorCode::BadResume) && self.run.key.take().is_some() {
            // The session was not kept: the player starts again.
            stage.measure.expected(&kind);
            self.run.is_owed = false;
            self.handle_greeted(stage);
            return None;
        }
        if code == Some(ErrorCode::BadState) && self.was_asked {
            stage.measure.expected(&kind);
            return None;
        }
        let is_expected = self.run.script.scenario().expects(number);
        if is_expected {
            stage.measure.expected(&kind);
        } else {
            stage.measure.error(&kind);
        }
        if code.is_some_and(ErrorCode::closes) || !is_expected {
            let retry = retry_ms.map_or(REST, Duration::from_millis);
            self.farewell = Some(Farewell::Refused { retry });
        }
        if is_expected {
            self.with_scenario(stage, |scenario, desk| scenario.handle_reply(desk, reply));
            return None;
        }
        // A connection that has failed ends; the player is no longer queued.
        stage.oracle.handle(stage.now(), self.player, Event::Gone);
        Some(self.turn_of_farewell())
    }

    fn handle_hung_up(&mut self, stage: &mut Stage) -> Turn {
        let has_logged_out = matches!(self.wants.end, Some(End::LogOut));
        if self.farewell.is_none() && !has_logged_out {
            return self.turn_of_failure(stage);
        }
        stage.oracle.handle(stage.now(), self.player, Event::HungUp);
        if has_logged_out {
            return Turn::LoggedOut;
        }
        self.turn_of_farewell()
    }

    /// Muster has closed the connection without a message, or it could not be established.
    fn turn_of_failure(&mut self, stage: &mut Stage) -> Turn {
        let what = match (self.is_connected, self.phase) {
            (false, _) => "no connection",
            (true, Phase::Connecting) => "disconnected before the greeting",
            (true, _) => "disconnected without a message",
        };
        if !stage.comes_back {
            if self.is_connected {
                stage.measure.error(what);
            }
            stage.oracle.handle(stage.now(), self.player, Event::HungUp);
            return Turn::Idle(REST);
        }
        stage.measure.expected(what);
        stage.oracle.handle(stage.now(), self.player, Event::Dropped);
        if self.run.key.is_none() && self.is_idling() {
            return Turn::Idle(REST);
        }
        let run =
            Run { key: self.run.key, is_owed: self.run.key.is_some(), ..Run::new(self.run.step) };
        Turn::Away(Box::new(run), BACK_IN)
    }

    fn turn_of_farewell(&self) -> Turn {
        match self.farewell {
            Some(Farewell::Refused { retry }) => Turn::Idle(retry),
            Some(Farewell::Bye) => Turn::Idle(Duration::ZERO),
            None => Turn::Idle(REST),
        }
    }

    /// Sends pending data, and ends the visit if the scenario has ended it.
    fn go_on(&mut self, stage: &mut Stage) -> Turn {
        if self.is_connected && self.flush(stage).is_err() {
            // Muster's last messages are still to be read; the end of the stream follows.
            self.conversation.handle_sent(self.conversation.unsent().len());
        }
        let Some(end) = self.wants.end else { return Turn::Stays };
        stage.oracle.handle(stage.now(), self.player, Event::Gone);
        match end {
            End::Close => Turn::Idle(Duration::ZERO),
            End::Reset => {
                self.wants.end = Some(End::Reset);
                Turn::Idle(Duration::ZERO)
            }
            End::LogOut => Turn::LoggedOut,
            End::Away { back_in, .. } => {
                let rest = Run::new(self.run.step);
                let run = std::mem::replace(&mut self.run, rest);
                Turn::Away(Box::new(run), back_in)
            }
        }
    }

    /// Closes the connection in the way that the scenario chose.
    pub(crate) fn close(self) {
        match self.wants.end {
            Some(End::Reset | End::Away { resets: true, .. }) => net::reset(self.stream),
            Some(End::Close | End::LogOut | End::Away { resets: false, .. }) | None => {
                // A shutdown sends a goodbye even if there is unread data, for which a close alone would reset the
                // connection.
                let _ = self.stream.shutdown(Shutdown::Write);
            }
        }
    }

    fn flush(&mut self, stage: &mut Stage) -> Result<(), ()> {
        while !self.conversation.unsent().is_empty() {
            match self.stream.write(self.conversation.unsent()) {
                Ok(count) => self.conversation.handle_sent(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    // A disconnected client learns the reason by reading.
                    let is_hostile =
                        self.run.script.scenario().expects(ErrorCode::TooMany.number());
                    if !is_hostile && !stage.comes_back {
                        stage.io_error("write", &error);
                    }
                    return Err(());
                }
            }
        }
        Ok(())
    }

    /// The only function that changes the phase.
    fn enter(&mut self, stage: &mut Stage, next: Phase) {
        if self.phase == next {
            return;
        }
        if !self.phase.leads_to(next) {
            return stage.measure.error("replies out of order");
        }
        stage.measure.phase_changed(Some(self.phase), Some(next));
        self.phase = next;
    }

    fn with_scenario(
        &mut self,
        stage: &mut Stage,
        act: impl FnOnce(&mut dyn Scenario, &mut Desk<'_>),
    ) {
        let now = stage.now();
        let mut desk = Desk {
            now,
            step: &self.run.step,
            player: self.player,
            queue: &stage.queues[self.run.step.queue],
            conversation: &mut self.conversation,
            wants: &mut self.wants,
            oracle: &mut stage.oracle,
            measure: &mut stage.measure,
        };
        act(self.run.script.scenario(), &mut desk);
    }
}
