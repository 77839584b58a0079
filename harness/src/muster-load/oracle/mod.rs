//! The oracle: finds players who were lost, matched twice, overtaken, or left waiting without a message. Pure.
//!
//! It receives all messages between each player and Muster, in the order in which they were sent and received here, and
//! concludes only what is certain from that. Other players can be in the same queues; messages that cross prove
//! nothing. It checks these promises:
//!
//! - **Nothing lost.** A player who received `QUEUED` ends in exactly one way ([`Endings`]). If Muster closes a
//!   connection without a reason, the player is lost; or, if Muster may crash, it owes the player the position, until
//!   the player has resumed the session. Then the connection counts as uninterrupted. `BAD_RESUME` means that the
//!   player is lost, unless they had asked to leave or not accepted a match: they may have missed the answer.
//! - **One match.** A player is assigned once for each time in a queue, and never after `LEFT`. A match has no more
//!   players than it states, each with a separate slot, all of one queue and sent to one address.
//! - **In order.** Matches are numbered in the order in which they are formed. If one player received `QUEUED` before
//!   another one sent `READY` for the same queue, and then received nothing until the assignment, the first player is
//!   in no later match than the second. The same holds if both were disconnected, the first one received QUEUED again
//!   before the second one sent READY again, and the second one's first READY was after the first one's first QUEUED.
//!   `REQUEUED` counts like `QUEUED`: it restores the old position, which is certainly older only than those of players
//!   who send `READY` afterwards. A match that waits (`WAITING`) may be formed again with a new number, to return a
//!   player to the old position: its players are only checked for the last promise, and so is a queue whose games fail.
//!   And no match has a number that is lower than one that was known before its player sent `READY`.
//! - **No silent wait.** A waiting player receives a message within `patience`, if one is due: see [`silence`].

mod order;
mod silence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{ErrorCode, Reply, WaitReason};
use serde::Serialize;

use order::{Came, Order, Seat, Stood};

/// The number of players who received QUEUED, by how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Endings {
    pub(crate) assigned: u64,
    pub(crate) left: u64,
    /// With ERR, or with BYE because Muster exits.
    pub(crate) refused: u64,
    pub(crate) evicted: u64,
    /// Quit, closed or reset the connection themselves.
    pub(crate) gone: u64,
    /// At the end of the run.
    pub(crate) still_queued: u64,
    /// Muster closed the connection without a message: each of these is a violation.
    pub(crate) lost: u64,
}

impl Endings {
    pub(crate) fn total(&self) -> u64 {
        let Self { assigned, left, refused, evicted, gone, still_queued, lost } = *self;
        assigned + left + refused + evicted + gone + still_queued + lost
    }
}

/// An event of a player.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    /// The player sent READY for a queue, with a key if they have one from an earlier QUEUED.
    ReadySaid {
        queue: &'a str,
        resumes: bool,
    },
    /// The player sent LEAVE or QUIT.
    LeaveSaid,
    /// The player received an offer and does not accept it.
    NotAccepted,
    Heard(&'a Reply),
    /// The player closed the connection.
    Gone,
    /// Muster closed the connection.
    HungUp,
    /// Muster closed the connection without a message, as after a crash, and the player reconnects at once.
    Dropped,
}

/// The possible ends of a player whom Muster disconnected.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Left,
    Evicted,
    Refused,
    Gone,
    StillQueued,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Violation {
    /// Seconds since the start of the run.
    pub(crate) at: f64,
    /// The promise.
    pub(crate) promise: &'static str,
    /// The player, the times, and the messages.
    pub(crate) evidence: String,
}

/// The number of violations that are kept; all are counted.
const VIOLATIONS_MAX: usize = 50;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Oracle {
    patience: Duration,
    /// Players who sent READY and have not ended, by number.
    sessions: BTreeMap<u32, Session>,
    /// Players who left or were disconnected, and may resume their session.
    away: BTreeMap<u32, Session>,
    queues: Vec<Queue>,
    /// The highest match number in any message.
    match_max: u64,
    queued: u64,
    resumed: u64,
    endings: Endings,
    violations: Vec<Violation>,
    violation_count: u64,
    ids_that_are_no_numbers: u64,
    /// Whether a player received `WAITING reason=no-port`.
    ports_were_short: bool,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    queue: usize,
    state: State,
    /// When the player sent READY; the first one, if the session was resumed.
    ready_at: Duration,
    /// When the player last sent READY, if they had been disconnected before; otherwise the same.
    last_ready_at: Duration,
    /// When the player first received QUEUED.
    first_placed_at: Option<Duration>,
    /// When the player certainly had the position and could be matched.
    placed_at: Duration,
    /// When the player last received a message; while the last READY is not answered, when it was sent.
    word_at: Duration,
    leave_at: Option<Duration>,
    /// The player did not accept a match, and may be evicted.
    may_be_evicted: bool,
    /// Since when Muster owes an answer to the player, who was disconnected while queued.
    owed_since: Option<Duration>,
    /// Since when a later player is known to have been assigned, and which.
    overtaken: Option<(Duration, u32)>,
    /// The highest match number that was known before READY.
    match_floor: u64,
    is_reported: bool,
}

/// The player's knowledge of the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// READY has not been answered.
    Asked { resumes: bool },
    /// In the queue, or in a match that was not announced.
    Silent,
    /// In a match that waits for a game, which is starting.
    GameStarting,
    /// In a match that may wait for any time.
    Unbounded,
}

#[derive(Debug)]
struct Queue {
    name: String,
    /// The number of players in a match, or a multiple, if known.
    size: Option<usize>,
    /// The latest READY of an assigned player, and the player.
    newest_assigned: Option<(Duration, u32)>,
    /// When a player was last assigned.
    assigned_at: Duration,
    order: Order,
    /// Games have failed: their matches are formed again, without a message if the next game is available at once.
    has_failed: bool,
    is_stalled: bool,
}

impl Oracle {
    /// An oracle that allows a wait of `patience` for each message that is due.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            patience,
            sessions: BTreeMap::new(),
            away: BTreeMap::new(),
            queues: Vec::new(),
            match_max: 0,
            queued: 0,
            resumed: 0,
            endings: Endings::default(),
            violations: Vec::new(),
            violation_count: 0,
            ids_that_are_no_numbers: 0,
            ports_were_short: false,
        }
    }

    /// Handles an event of a player.
    pub(crate) fn handle(&mut self, now: Duration, player: u32, event: Event<'_>) {
        match event {
            Event::ReadySaid { queue, resumes } => self.handle_ready(now, player, queue, resumes),
            Event::LeaveSaid => {
                if let Some(session) = self.sessions.get_mut(&player) {
                    session.leave_at = session.leave_at.or(Some(now));
                }
            }
            Event::NotAccepted => self.update(player, |session| session.may_be_evicted = true),
            Event::Heard(reply) => self.handle_reply(now, player, reply),
            Event::Gone => {
                let Some(session) = self.sessions.remove(&player) else { return };
                if !session.is_asked() {
                    self.endings.gone += 1;
                    self.away.insert(player, session);
                } else if session.owed_since.is_some() {
                    self.pay(Ending::Gone);
                }
            }
            Event::HungUp => {
                let Some(session) = self.sessions.remove(&player) else { return };
                if !session.is_asked() {
                    self.endings.lost += 1;
                    let story = self.story(player, &session);
                    let text =
                        format!("{story}; then Muster closed the connection without a message");
                    self.violated(now, "nothing lost", text);
                } else if session.owed_since.is_some() {
                    self.pay(Ending::Refused);
                }
            }
            Event::Dropped => self.handle_dropped(now, player),
        }
        debug_assert_eq!(
            self.queued,
            self.endings.total() + self.in_queue(),
            "the players do not add up"
        );
    }

    /// Ends the run: players who are still queued are counted so.
    pub(crate) fn finish(&mut self, now: Duration) {
        for _ in 0..self.owed() {
            self.pay(Ending::StillQueued);
        }
        self.endings.still_queued += self.in_queue();
        self.sessions.clear();
        for queue in 0..self.queues.len() {
            self.sweep(now, queue);
        }
        debug_assert_eq!(self.queued, self.endings.total(), "the players do not add up");
    }

    /// Players who received QUEUED.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// Players who resumed the session after they had left.
    pub(crate) fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Players who were disconnected and have not been answered yet.
    pub(crate) fn owed(&self) -> usize {
        let all = self.sessions.values().chain(self.away.values());
        all.filter(|session| session.owed_since.is_some()).count()
    }

    /// The numbers of players by how they ended.
    pub(crate) fn endings(&self) -> Endings {
        self.endings
    }

    /// The first violations, and the number of all.
    pub(crate) fn violations(&self) -> (&[Violation], u64) {
        (&self.violations, self.violation_count)
    }

    /// The number of assignments whose order could not be checked, because their match has no number.
    pub(crate) fn unordered(&self) -> u64 {
        self.ids_that_are_no_numbers
    }

    fn handle_ready(&mut self, now: Duration, player: u32, queue: &str, resumes: bool) {
        let queue = self.queue_named(queue);
        let earlier = self.away.remove(&player);
        if let Some(owed) = earlier.filter(|earlier| earlier.owed_since.is_some() && !resumes) {
            let text = format!("{}; then disconnected, without a key", self.story(player, &owed));
            self.violated(now, "nothing lost", text);
        }
        let earlier = earlier.filter(|_| resumes);
        let session = Session {
            queue,
            state: State::Asked { resumes: earlier.is_some() },
            // A resumed session has the old position.
            ready_at: earlier.map_or(now, |earlier| earlier.ready_at),
            // Until then the player was absent: no match was formed with them.
            last_ready_at: match earlier {
                Some(earlier) if earlier.owed_since.is_none() => earlier.last_ready_at,
                Some(_) | None => now,
            },
            first_placed_at: earlier.and_then(|earlier| earlier.first_placed_at),
            placed_at: now,
            word_at: now,
            leave_at: earlier.and_then(|earlier| earlier.leave_at),
            may_be_evicted: earlier.is_some_and(|earlier| earlier.may_be_evicted),
            owed_since: earlier.and_then(|earlier| earlier.owed_since),
            overtaken: None,
            match_floor: earlier.map_or(self.match_max, |earlier| earlier.match_floor),
            is_reported: earlier.is_some_and(|earlier| earlier.is_reported),
        };
        if let Some(before) = self.sessions.insert(player, session)
            && !matches!(before.state, State::Asked { .. })
        {
            // A player never sends READY while queued: muster-load has a bug, and nothing is certain.
            self.endings.gone += 1;
        }
    }

    fn handle_dropped(&mut self, now: Duration, player: u32) {
        let Some(mut session) = self.sessions.remove(&player) else { return };
        match session.state {
            // There is no key, so the result of READY is unknown.
            State::Asked { resumes: false } => return,
            // The player reconnects as often as necessary.
            State::Asked { resumes: true } => {}
            State::Silent | State::GameStarting | State::Unbounded => {
                // Counted as lost until the session is resumed.
                self.endings.lost += 1;
                session.owed_since = Some(now);
            }
        }
        self.away.insert(player, session);
    }

    /// Settles what Muster owed to a disconnected player.
    fn pay(&mut self, ending: Ending) {
        let endings = &mut self.endings;
        endings.lost -= 1;
        match ending {
            Ending::Left => endings.left += 1,
            Ending::Evicted => endings.evicted += 1,
            Ending::Refused => endings.refused += 1,
            Ending::Gone => endings.gone += 1,
            Ending::StillQueued => endings.still_queued += 1,
        }
    }

    /// Handles an error as the answer to READY. A player who was queued before and was disconnected is lost, unless the
    /// session was not kept for a reason of the player's own.
    fn handle_refused(&mut self, now: Duration, player: u32, number: u16) {
        let Some(session) = self.sessions.remove(&player) else { return };
        if session.owed_since.is_none() {
            return;
        }
        match (session.leave_at, session.may_be_evicted) {
            _ if number != ErrorCode::BadResume.number() => self.pay(Ending::Refused),
            (Some(_), _) => self.pay(Ending::Left),
            (None, true) => self.pay(Ending::Evicted),
            (None, false) => {
                let story = self.story(player, &session);
                let text = format!("{story}; then disconnected, and the position was not kept");
                self.violated(now, "nothing lost", text);
            }
        }
    }

    fn handle_reply(&mut self, now: Duration, player: u32, reply: &Reply) {
        match reply {
            Reply::Queued { position, needed, .. } => {
                self.handle_queued(now, player, *position, *needed);
            }
            Reply::Requeued { .. } => self.update(player, |session| {
                (session.state, session.placed_at) = (State::Silent, now);
                (session.word_at, session.overtaken) = (now, None);
            }),
            // An offer counts as a message, and if it is dissolved all its players are in the queue again.
            Reply::Found { .. } | Reply::Accepted { .. } => self.update(player, |session| {
                (session.word_at, session.overtaken) = (now, None);
            }),
            Reply::Waiting { reason, .. } => self.handle_waiting(now, player, *reason),
            Reply::Assign { .. } => self.handle_assign(now, player, reply),
            Reply::Left => match self.end(player) {
                Some(session) => {
                    self.endings.left += 1;
                    if session.leave_at.is_none() {
                        let text =
                            self.story(player, &session) + "; LEFT without having sent LEAVE";
                        self.violated(now, "nothing lost", text);
                    }
                }
                None => drop(self.sessions.remove(&player)),
            },
            Reply::Error { number, .. } => {
                let is_asked = self.sessions.get(&player).is_some_and(Session::is_asked);
                if is_asked {
                    self.handle_refused(now, player, *number);
                } else if ends_connection(*number) && self.end(player).is_some() {
                    self.endings.refused += 1;
                }
            }
            Reply::Bye { reason } => match (self.end(player), reason.as_ref()) {
                (Some(_), "shutdown") => self.endings.refused += 1,
                (Some(_), _) => self.endings.gone += 1,
                (None, _) => {}
            },
            Reply::Expired { round, rounds, .. } if round < rounds => {}
            Reply::Evicted { .. } | Reply::Expired { .. } => {
                if self.end(player).is_some() {
                    self.endings.evicted += 1;
                }
            }
            Reply::Muster { .. }
            | Reply::Pong(_)
            | Reply::Status { .. }
            | Reply::Help(_)
            | Reply::Party { .. }
            | Reply::Other(_) => {}
        }
    }

    fn handle_queued(&mut self, now: Duration, player: u32, position: usize, needed: usize) {
        let Some(session) = self.sessions.get_mut(&player) else {
            let text = format!("p{player} received QUEUED and had not sent READY");
            return self.violated(now, "one match", text);
        };
        session.word_at = now;
        let (queue, before) = (session.queue, *session);
        if session.is_asked() {
            (session.state, session.placed_at) = (State::Silent, now);
            session.first_placed_at.get_or_insert(now);
            // If the player sent LEAVE before, Muster did not receive it.
            (session.leave_at, session.may_be_evicted, session.owed_since) = (None, false, None);
        }
        self.count_in(before);
        // `needed` is the number of players of a match, or a multiple: no match is larger.
        let size = &mut self.queues[queue].size;
        if position > 0 {
            *size = Some(size.unwrap_or(usize::MAX).min(needed));
        }
    }

    /// Counts the player as queued or returned, if this is the answer to READY.
    fn count_in(&mut self, before: Session) {
        match before.state {
            State::Asked { resumes: true } => {
                let counted_as = match before.owed_since {
                    Some(_) => &mut self.endings.lost,
                    None => &mut self.endings.gone,
                };
                *counted_as -= 1;
                self.resumed += 1;
            }
            State::Asked { resumes: false } => self.queued += 1,
            State::Silent | State::GameStarting | State::Unbounded => {}
        }
    }

    fn handle_waiting(&mut self, now: Duration, player: u32, reason: WaitReason) {
        let mut queue = None;
        self.update(player, |session| {
            (session.word_at, queue) = (now, Some(session.queue));
            session.state = match reason {
                WaitReason::GameStarting => State::GameStarting,
                WaitReason::NoPort | WaitReason::GameFailing => State::Unbounded,
            };
        });
        match (queue, reason) {
            (Some(queue), WaitReason::GameFailing) => self.queues[queue].has_failed = true,
            (_, WaitReason::NoPort) => self.ports_were_short = true,
            (_, WaitReason::GameStarting | WaitReason::GameFailing) => {}
        }
    }

    fn handle_assign(&mut self, now: Duration, player: u32, reply: &Reply) {
        let Reply::Assign { match_id, host, port, slot, players, .. } = reply else { return };
        let Some(session) = self.sessions.remove(&player) else {
            let text = format!("p{player} was assigned to match {match_id} and was not queued");
            return self.violated(now, "one match", text);
        };
        self.count_in(session);
        self.endings.assigned += 1;
        let queue = &mut self.queues[session.queue];
        queue.size = Some(*players);
        queue.assigned_at = now;
        if queue.newest_assigned.is_none_or(|(ready, _)| ready < session.ready_at) {
            queue.newest_assigned = Some((session.ready_at, player));
        }
        let Ok(number) = match_id.parse::<u64>() else {
            self.ids_that_are_no_numbers += 1;
            return;
        };
        if number <= session.match_floor {
            let text = format!(
                "{}; assigned to match {number}, though match {} was known before READY",
                self.story(player, &session),
                session.match_floor
            );
            self.violated(now, "in order", text);
        }
        self.match_max = self.match_max.max(number);
        let seat = Seat {
            player,
            match_number: number,
            slot: *slot,
            players: *players,
            address: format!("{host}:{port}"),
            came: Came {
                ready_at: session.ready_at,
                // A player whose resumed session is assigned may have been in the match all the time.
                last_ready_at: match session.is_asked() {
                    true => session.ready_at,
                    false => session.last_ready_at,
                },
            },
            stood: (session.state == State::Silent).then_some(Stood {
                placed_at: session.first_placed_at.unwrap_or(session.placed_at),
                since: session.placed_at,
            }),
        };
        self.note_seat(now, session.queue, seat);
    }

    fn note_seat(&mut self, now: Duration, queue: usize, seat: Seat) {
        let (player, number) = (seat.player, seat.match_number);
        let elsewhere = |(index, other): (usize, &Queue)| index != queue && other.order.has(number);
        if self.queues.iter().enumerate().any(elsewhere) {
            let text =
                format!("p{player} was assigned to match {number}, which belongs to another queue");
            self.violated(now, "one match", text);
        }
        if let Err(problem) = self.queues[queue].order.seat(seat) {
            self.violated(now, "one match", problem);
        }
        if self.queues[queue].order.wants_sweep() {
            self.sweep(now, queue);
        }
    }

    /// Checks the order of matches, and forgets those that cannot be out of order any more.
    fn sweep(&mut self, now: Duration, queue: usize) {
        let living = self.sessions.values().filter(|session| session.queue == queue);
        let away = self.away.values().filter(|session| session.queue == queue);
        let floors = living.chain(away).map(|session| session.match_floor);
        let floor = floors.min().unwrap_or(self.match_max);
        let problems = self.queues[queue].order.sweep(floor);
        if self.queues[queue].has_failed {
            return;
        }
        for problem in problems {
            self.violated(now, "in order", problem);
        }
    }

    fn queue_named(&mut self, name: &str) -> usize {
        if let Some(index) = self.queues.iter().position(|queue| queue.name == name) {
            return index;
        }
        self.queues.push(Queue {
            name: name.to_owned(),
            size: None,
            newest_assigned: None,
            assigned_at: Duration::ZERO,
            order: Order::default(),
            has_failed: false,
            is_stalled: false,
        });
        self.queues.len() - 1
    }

    /// Players who received QUEUED and have not ended.
    fn in_queue(&self) -> u64 {
        self.sessions.values().map(|session| u64::from(!session.is_asked())).sum()
    }

    /// Ends the session of a player who received QUEUED.
    fn end(&mut self, player: u32) -> Option<Session> {
        let session = *self.sessions.get(&player)?;
        if session.is_asked() {
            return None;
        }
        self.sessions.remove(&player)
    }

    fn update(&mut self, player: u32, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&player)
            && !session.is_asked()
        {
            change(session);
        }
    }

    fn violated(&mut self, now: Duration, promise: &'static str, evidence: String) {
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { at: now.as_secs_f64(), promise, evidence });
        }
    }

    fn story(&self, player: u32, session: &Session) -> String {
        let queue = &self.queues[session.queue].name;
        let (ready, word) = (seconds(session.ready_at), seconds(session.word_at));
        let state = match session.state {
            State::Asked { .. } => return format!("p{player}: READY queue={queue} at {word}"),
            State::Silent => "queued",
            State::GameStarting => "waiting for a game that starts",
            State::Unbounded => "waiting for a port, or for a game that does not fail",
        };
        format!("p{player}: READY queue={queue} at {ready}, last message at {word}, {state}")
    }
}

impl Session {
    fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked { .. })
    }
}

/// Whether Muster closes the connection after an error.
fn ends_connection(number: u16) -> bool {
    ErrorCode::ALL.into_iter().any(|code| code.number() == number && code.closes())
}

pub(crate) fn seconds(at: Duration) -> String {
    format!("{:.3} s", at.as_secs_f64())
}
