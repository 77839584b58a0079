//! The oracle: was any player lost, matched twice, overtaken, or left waiting without a word? Pure.
//!
//! It hears what every player said to Muster and heard from it, in the order in which that happened at this end, and
//! concludes only what is certain from here. Other players may be in the same queues; messages that cross each other
//! prove nothing. What it holds Muster to:
//!
//! - **Nothing lost.** Who was told `QUEUED` ends in exactly one way ([`Endings`]). A connection that Muster ends
//!   without having said why loses a player; or, where Muster may crash, owes it its place, until the player is back
//!   with its key. Then it is as if the connection had never ended, and `BAD_RESUME` loses it, unless it had said that
//!   it goes, or had not accepted a match: it may have missed the answer.
//! - **One match.** A player is assigned once for each time that it queues, and never after `LEFT`. A match has no
//!   more players than it says, each in a slot of its own, all of one queue and sent to one address.
//! - **In order.** Matches are numbered as they are formed. If one player was told `QUEUED` before another one
//!   said `READY` for the same queue, and was then told nothing until it was assigned, it is in no later match
//!   than the other. Nor is it if both were dropped, and it was told QUEUED again before the other one said READY again,
//!   who had first said so after it was first told QUEUED. Going back (`REQUEUED`) counts like `QUEUED`: it restores the old place, of which it is
//!   certain from here only that it is older than whoever says `READY` afterwards. A match that waits (`WAITING`)
//!   may be formed anew, to bring who went back to where they stood, and has a new number then: its players are
//!   held to the last promise alone, and so is a queue whose games fail. And no match has a number that is not
//!   higher than all that were heard of before its player said `READY`.
//! - **No silent wait.** Who waits hears something within `patience`, as far as that is due: see [`silence`].

mod order;
mod silence;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{ErrorCode, Reply, WaitReason};
use serde::Serialize;

use order::{Came, Order, Seat, Stood};

/// How players ended who were told QUEUED. The sum of all is the number of those who were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Endings {
    pub(crate) assigned: u64,
    pub(crate) left: u64,
    /// With ERR, or with BYE because Muster ends.
    pub(crate) refused: u64,
    pub(crate) evicted: u64,
    /// Quit, closed or reset the connection by themselves.
    pub(crate) gone: u64,
    /// When the run ended.
    pub(crate) still_queued: u64,
    /// Muster ended the connection without a word: each of these is a violation.
    pub(crate) lost: u64,
}

impl Endings {
    pub(crate) fn total(&self) -> u64 {
        let Self { assigned, left, refused, evicted, gone, still_queued, lost } = *self;
        assigned + left + refused + evicted + gone + still_queued + lost
    }
}

/// What happened to a player, as it is told to the oracle.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    /// It said READY for a queue; with a key that it had from an earlier QUEUED.
    ReadySaid {
        queue: &'a str,
        resumes: bool,
    },
    /// It said LEAVE or QUIT.
    LeaveSaid,
    /// A match was found for it, which it does not accept.
    NotAccepted,
    Heard(&'a Reply),
    /// It ended its connection.
    Gone,
    /// Muster ended its connection.
    HungUp,
    /// Muster ended its connection without a word, as one that crashes may, and the player comes back at once.
    Dropped,
}

/// How a player can have ended whom Muster had dropped.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Left,
    Evicted,
    Refused,
    Gone,
    StillQueued,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Violation {
    /// Seconds since the start.
    pub(crate) at: f64,
    /// A few words: which promise.
    pub(crate) promise: &'static str,
    /// Who, when, and what was heard.
    pub(crate) evidence: String,
}

/// The most violations that are kept; all are counted.
const VIOLATIONS_MAX: usize = 50;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Oracle {
    patience: Duration,
    /// Who has said READY and has not ended, by number.
    sessions: BTreeMap<u32, Session>,
    /// Who is gone by its own act, or was dropped, and may take its session up again.
    away: BTreeMap<u32, Session>,
    queues: Vec<Queue>,
    /// The highest number of a match that anybody has heard of.
    match_max: u64,
    queued: u64,
    resumed: u64,
    endings: Endings,
    violations: Vec<Violation>,
    violation_count: u64,
    ids_that_are_no_numbers: u64,
    /// Somebody was told that there is no port.
    ports_were_short: bool,
}

#[derive(Debug, Clone, Copy)]
struct Session {
    queue: usize,
    state: State,
    /// When it said READY; its first one, if it has taken up its session again.
    ready_at: Duration,
    /// When it said READY last, if it had been dropped before; else the same.
    last_ready_at: Duration,
    /// When it was told QUEUED first.
    first_placed_at: Option<Duration>,
    /// When it is certain to have had its place, and stood there to be matched.
    placed_at: Duration,
    /// When Muster said its last word to it; while its last READY is not answered, when it said that.
    word_at: Duration,
    leave_at: Option<Duration>,
    /// It did not accept a match, and so may be evicted.
    may_be_evicted: bool,
    /// Since when Muster owes it an answer, having dropped it while it was queued.
    owed_since: Option<Duration>,
    /// Since when it is known that a later player was assigned, and which.
    overtaken: Option<(Duration, u32)>,
    /// The highest number of a match that was heard of before READY.
    match_floor: u64,
    is_told_of: bool,
}

/// What a player knows of its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// READY is not answered.
    Asked { resumes: bool },
    /// In the queue, or in a match of which nothing was said.
    Silent,
    /// In a match that waits for a game, which is starting.
    GameStarting,
    /// In a match that waits for what may take any time.
    Unbounded,
}

#[derive(Debug)]
struct Queue {
    name: String,
    /// Players in a match, or more, as far as is known.
    size: Option<usize>,
    /// The latest READY of an assigned player, and whose.
    newest_assigned: Option<(Duration, u32)>,
    /// When somebody was assigned last.
    assigned_at: Duration,
    order: Order,
    /// Its games have failed: matches wait anew, of which nobody is told where the next game is there at once.
    has_failed: bool,
    is_stalled: bool,
}

impl Oracle {
    /// An oracle for players who wait so long for a word that is due.
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

    /// Something happened to a player.
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
                    let text = format!("{story}; then Muster ended the connection without a word");
                    self.violated(now, "nothing lost", text);
                } else if session.owed_since.is_some() {
                    self.pay(Ending::Refused);
                }
            }
            Event::Dropped => self.handle_dropped(now, player),
        }
        debug_assert_eq!(self.queued, self.endings.total() + self.in_queue(), "a player is amiss");
    }

    /// The run is over: whoever is still queued is so.
    pub(crate) fn finish(&mut self, now: Duration) {
        for _ in 0..self.owed() {
            self.pay(Ending::StillQueued);
        }
        self.endings.still_queued += self.in_queue();
        self.sessions.clear();
        for queue in 0..self.queues.len() {
            self.sweep(now, queue);
        }
        debug_assert_eq!(self.queued, self.endings.total(), "a player is amiss");
    }

    /// Players who were told QUEUED.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// Those who took up their session again after they had gone.
    pub(crate) fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Players who were dropped, and have no answer so far.
    pub(crate) fn owed(&self) -> usize {
        let all = self.sessions.values().chain(self.away.values());
        all.filter(|session| session.owed_since.is_some()).count()
    }

    /// How players ended.
    pub(crate) fn endings(&self) -> Endings {
        self.endings
    }

    /// The first violations, and how many there were in all.
    pub(crate) fn violations(&self) -> (&[Violation], u64) {
        (&self.violations, self.violation_count)
    }

    /// How many assignments could not be held against the order, because their match has no number.
    pub(crate) fn unordered(&self) -> u64 {
        self.ids_that_are_no_numbers
    }

    fn handle_ready(&mut self, now: Duration, player: u32, queue: &str, resumes: bool) {
        let queue = self.queue_named(queue);
        let earlier = self.away.remove(&player);
        if let Some(owed) = earlier.filter(|earlier| earlier.owed_since.is_some() && !resumes) {
            let text = format!("{}; then dropped, without a key", self.story(player, &owed));
            self.violated(now, "nothing lost", text);
        }
        let earlier = earlier.filter(|_| resumes);
        let session = Session {
            queue,
            state: State::Asked { resumes: earlier.is_some() },
            // What is taken up again is as old as it was.
            ready_at: earlier.map_or(now, |earlier| earlier.ready_at),
            // Until then it was away: no match was formed with it.
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
            is_told_of: earlier.is_some_and(|earlier| earlier.is_told_of),
        };
        if let Some(before) = self.sessions.insert(player, session)
            && !matches!(before.state, State::Asked { .. })
        {
            // It never says READY while it is queued: this end is at fault, and nothing is certain.
            self.endings.gone += 1;
        }
    }

    fn handle_dropped(&mut self, now: Duration, player: u32) {
        let Some(mut session) = self.sessions.remove(&player) else { return };
        match session.state {
            // It has no key; what came of its READY nobody knows.
            State::Asked { resumes: false } => return,
            // It comes back as often as it has to.
            State::Asked { resumes: true } => {}
            State::Silent | State::GameStarting | State::Unbounded => {
                // Counted so until it is back.
                self.endings.lost += 1;
                session.owed_since = Some(now);
            }
        }
        self.away.insert(player, session);
    }

    /// What became of a player whom Muster had dropped is known.
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

    /// A player who asked to be queued is told an error. One who was queued before, and was dropped, is lost, if its
    /// place was not kept and it had done nothing for it.
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
                let text = format!("{story}; then dropped, and its place was not kept");
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
            // An offer is a word, and all of its players are in the queue again if it comes to nothing.
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
                            self.story(player, &session) + "; LEFT without having said LEAVE";
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
            let text = format!("p{player} was told QUEUED and had not said READY");
            return self.violated(now, "one match", text);
        };
        session.word_at = now;
        let (queue, before) = (session.queue, *session);
        if session.is_asked() {
            (session.state, session.placed_at) = (State::Silent, now);
            session.first_placed_at.get_or_insert(now);
            // If it has said LEAVE before, nobody has heard it.
            (session.leave_at, session.may_be_evicted, session.owed_since) = (None, false, None);
        }
        self.count_in(before);
        // Who needs as many as a match has, or a multiple: no match is larger.
        let size = &mut self.queues[queue].size;
        if position > 0 {
            *size = Some(size.unwrap_or(usize::MAX).min(needed));
        }
    }

    /// Counts a player whose READY is answered, if this is the answer: as queued, or as one who is back.
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
                "{}; assigned to match {number}, though match {} had been heard of before READY",
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
                // One that hears of its match as it comes back may have been in it all the time.
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
                format!("p{player} was assigned to match {number}, which is another queue's");
            self.violated(now, "one match", text);
        }
        if let Err(problem) = self.queues[queue].order.seat(seat) {
            self.violated(now, "one match", problem);
        }
        if self.queues[queue].order.wants_sweep() {
            self.sweep(now, queue);
        }
    }

    /// Looks for matches out of order, and forgets those that nothing can be out of order with any more.
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

    /// Those who were told QUEUED and have not ended.
    fn in_queue(&self) -> u64 {
        self.sessions.values().map(|session| u64::from(!session.is_asked())).sum()
    }

    /// Ends the session of a player who was told QUEUED.
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
            State::Unbounded => "waiting for a port, or a game that does not fail",
        };
        format!("p{player}: READY queue={queue} at {ready}, last told at {word}, {state}")
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
