//! The oracle: was any player lost, matched twice, overtaken, or left waiting without a word? Pure.
//!
//! It hears what every player said to Muster and heard from it, in the order in which that happened at this end, and
//! concludes only what is certain from here. Other players may be in the same queues; messages that cross each other
//! prove nothing. What it holds Muster to:
//!
//! - **Nothing lost.** Who was told `QUEUED` ends in exactly one way ([`Endings`]). A connection that Muster ends
//!   without having said why loses a player.
//! - **One match.** A player is assigned once for each time that it queues, and never after `LEFT`. A match has no
//!   more players than it says, each in a slot of its own, all of one queue and sent to one address.
//! - **In order.** Matches are numbered as they are formed. If one player was told `QUEUED` before another one
//!   said `READY` for the same queue, and was then told nothing until it was assigned, it is in no later match
//!   than the other. Going back (`REQUEUED`) counts like `QUEUED`: it restores the old place, of which it is
//!   certain from here only that it is older than whoever says `READY` afterwards. A match that waits (`WAITING`)
//!   may be formed anew, to bring who went back to where they stood, and has a new number then: its players are
//!   held to the last promise alone, and so is a queue whose games fail. And no match has a number that is not
//!   higher than all that were heard of before its player said `READY`.
//! - **No silent wait.** Within `patience`, READY and LEAVE are answered; of players who wait without a word,
//!   fewer remain than make a match; and whoever was overtaken by an assigned player hears something more. Who was
//!   told `WAITING` for a game that is starting is not left so while nobody of the queue is assigned, unless ports
//!   ran short in this run: that is told only to the first in line. Waiting for a port, or for games that keep
//!   failing, has no bound.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{ErrorCode, Reply, WaitReason};
use serde::Serialize;

use crate::order::{Order, Seat};

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
    LeaveSaid,
    Heard(&'a Reply),
    /// It ended its connection.
    Gone,
    /// Muster ended its connection.
    HungUp,
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
    /// Who is gone by its own act, and may take its session up again.
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
    /// When it is certain to have had its place.
    placed_at: Duration,
    /// When Muster said its last word to it; while its last READY is not answered, when it said that.
    word_at: Duration,
    leave_at: Option<Duration>,
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
            Event::Heard(reply) => self.handle_reply(now, player, reply),
            Event::Gone => {
                let Some(session) = self.sessions.remove(&player) else { return };
                if !matches!(session.state, State::Asked { .. }) {
                    self.endings.gone += 1;
                    self.away.insert(player, session);
                }
            }
            Event::HungUp => {
                let Some(session) = self.sessions.remove(&player) else { return };
                if !matches!(session.state, State::Asked { .. }) {
                    self.endings.lost += 1;
                    let story = self.story(player, &session);
                    let text = format!("{story}; then Muster ended the connection without a word");
                    self.violated(now, "nothing lost", text);
                }
            }
        }
        debug_assert_eq!(self.queued, self.endings.total() + self.in_queue(), "a player is amiss");
    }

    /// Looks for those who wait too long; to be called every second or so.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        let mut waiting: Vec<(usize, u32)> = vec![(0, 0); self.queues.len()];
        let mut complaints = Vec::new();
        for (player, session) in &mut self.sessions {
            let queue = &self.queues[session.queue];
            session.note_overtaken(now, queue);
            let is_late = |since: Duration| now.saturating_sub(since) > self.patience;
            if !session.is_told_of
                && let Some(complaint) = session.complaint(is_late)
            {
                session.is_told_of = true;
                complaints.push((*player, *session, complaint));
            }
            let is_bounded = match session.state {
                State::Silent => true,
                State::GameStarting => !self.ports_were_short && is_late(queue.assigned_at),
                State::Asked { .. } | State::Unbounded => false,
            };
            if is_bounded && is_late(session.word_at) {
                let (count, someone) = &mut waiting[session.queue];
                *count += 1;
                *someone = *player;
            }
        }
        for (player, session, complaint) in complaints {
            let text = format!("{}; {complaint}", self.story(player, &session));
            self.violated(now, "no silent wait", text);
        }
        self.note_stalls(now, &waiting);
    }

    /// The run is over: whoever is still queued is so.
    pub(crate) fn finish(&mut self, now: Duration) {
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
        let earlier = self.away.remove(&player).filter(|_| resumes);
        let session = Session {
            queue,
            state: State::Asked { resumes: earlier.is_some() },
            // What is taken up again is as old as it was.
            ready_at: earlier.map_or(now, |earlier| earlier.ready_at),
            placed_at: now,
            word_at: now,
            leave_at: None,
            overtaken: None,
            match_floor: earlier.map_or(self.match_max, |earlier| earlier.match_floor),
            is_told_of: false,
        };
        if let Some(before) = self.sessions.insert(player, session)
            && !matches!(before.state, State::Asked { .. })
        {
            // It never says READY while it is queued: this end is at fault, and nothing is certain.
            self.endings.gone += 1;
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
                    self.sessions.remove(&player);
                } else if ends_connection(*number) && self.end(player).is_some() {
                    self.endings.refused += 1;
                }
            }
            Reply::Bye { reason } => match (self.end(player), reason.as_ref()) {
                (Some(_), "shutdown") => self.endings.refused += 1,
                (Some(_), _) => self.endings.gone += 1,
                (None, _) => {}
            },
            Reply::Other(line) if line.starts_with("EVICTED") => {
                if self.end(player).is_some() {
                    self.endings.evicted += 1;
                }
            }
            Reply::Muster { .. }
            | Reply::Pong(_)
            | Reply::Status { .. }
            | Reply::Help(_)
            | Reply::Other(_) => {}
        }
    }

    fn handle_queued(&mut self, now: Duration, player: u32, position: usize, needed: usize) {
        let Some(session) = self.sessions.get_mut(&player) else {
            let text = format!("p{player} was told QUEUED and had not said READY");
            return self.violated(now, "one match", text);
        };
        session.word_at = now;
        if let State::Asked { resumes } = session.state {
            (session.state, session.placed_at) = (State::Silent, now);
            if resumes {
                self.endings.gone -= 1;
                self.resumed += 1;
            } else {
                self.queued += 1;
            }
        }
        // Who needs as many as a match has, or a multiple: no match is larger.
        let size = &mut self.queues[session.queue].size;
        if position > 0 {
            *size = Some(size.unwrap_or(usize::MAX).min(needed));
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
        match session.state {
            State::Asked { resumes: true } => {
                self.endings.gone -= 1;
                self.resumed += 1;
            }
            State::Asked { resumes: false } => self.queued += 1,
            State::Silent | State::GameStarting | State::Unbounded => {}
        }
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
            ready_at: session.ready_at,
            placed_at: (session.state == State::Silent).then_some(session.placed_at),
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

    fn note_stalls(&mut self, now: Duration, waiting: &[(usize, u32)]) {
        for (index, (count, someone)) in waiting.iter().enumerate() {
            let queue = &mut self.queues[index];
            let is_stalled = queue.size.is_some_and(|size| *count >= size);
            let is_new = is_stalled && !queue.is_stalled;
            queue.is_stalled = is_stalled;
            if is_new && let Some(session) = self.sessions.get(someone).copied() {
                let text = format!(
                    "{count} players of queue {} hear nothing, enough for a match; {}",
                    self.queues[index].name,
                    self.story(*someone, &session)
                );
                self.violated(now, "no silent wait", text);
            }
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

    /// Remembers when it became known that somebody was assigned who came later.
    fn note_overtaken(&mut self, now: Duration, queue: &Queue) {
        if !self.is_asked() && self.overtaken.is_none() {
            let later = queue.newest_assigned.filter(|(ready, _)| *ready > self.placed_at);
            self.overtaken = later.map(|(_, by)| (now, by));
        }
    }

    /// What the player has waited for in vain.
    fn complaint(&self, is_late: impl Fn(Duration) -> bool) -> Option<String> {
        if self.is_asked() {
            return is_late(self.word_at).then(|| "READY was not answered".to_owned());
        }
        if let Some(leave) = self.leave_at.filter(|leave| is_late(*leave)) {
            return Some(format!("LEAVE at {} was not answered", seconds(leave)));
        }
        let (since, by) = self.overtaken?;
        let since_text = seconds(since);
        is_late(since.max(self.word_at))
            .then(|| format!("p{by}, who came later, was assigned before {since_text}"))
    }
}

/// Whether Muster closes the connection after an error.
fn ends_connection(number: u16) -> bool {
    ErrorCode::ALL.into_iter().any(|code| code.number() == number && code.closes())
}

pub(crate) fn seconds(at: Duration) -> String {
    format!("{:.3} s", at.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Tells the oracle what Muster said, as a line.
    fn hear(oracle: &mut Oracle, at: u64, player: u32, line: &str) {
        let reply = Reply::parse(line.as_bytes()).unwrap();
        oracle.handle(ms(at), player, Event::Heard(&reply));
    }

    fn ready(oracle: &mut Oracle, at: u64, player: u32) {
        oracle.handle(ms(at), player, Event::ReadySaid { queue: "duel", resumes: false });
    }

    fn queued(oracle: &mut Oracle, at: u64, player: u32) {
        hear(oracle, at, player, "QUEUED queue=duel position=1 needed=2 resume=k");
    }

    /// READY, and QUEUED a millisecond later.
    fn join(oracle: &mut Oracle, at: u64, player: u32) {
        ready(oracle, at, player);
        queued(oracle, at + 1, player);
    }

    fn assign(oracle: &mut Oracle, at: u64, player: u32, match_id: u64, slot: usize) {
        let port = 20_000 + match_id;
        let line = format!(
            "ASSIGN match={match_id} host=h port={port} slot={slot} players=2 token=t transport=plain"
        );
        hear(oracle, at, player, &line);
    }

    /// What was broken, after the end of the run.
    fn broken(mut oracle: Oracle, at: u64) -> Vec<String> {
        oracle.handle_timeout(ms(at));
        oracle.finish(ms(at));
        assert_eq!(oracle.queued(), oracle.endings().total());
        let texts = oracle.violations().0.iter();
        texts.map(|violation| format!("{}: {}", violation.promise, violation.evidence)).collect()
    }

    fn assert_broken(oracle: Oracle, at: u64, promise: &str, evidence: &str) {
        let broken = broken(oracle, at);
        assert_eq!(broken.len(), 1, "{broken:?}");
        assert!(broken[0].starts_with(promise) && broken[0].contains(evidence), "{broken:?}");
    }

    fn oracle() -> Oracle {
        Oracle::new(PATIENCE)
    }

    #[test]
    fn every_way_to_end_is_counted_and_breaks_nothing() {
        let mut oracle = oracle();
        for player in 0..9 {
            join(&mut oracle, u64::from(player) * 10, player);
        }
        assign(&mut oracle, 100, 0, 1, 0);
        assign(&mut oracle, 101, 1, 1, 1);
        oracle.handle(ms(102), 2, Event::LeaveSaid);
        hear(&mut oracle, 103, 2, "LEFT");
        hear(&mut oracle, 104, 3, "ERR 421 DRAINING going down");
        hear(&mut oracle, 105, 4, "BYE reason=shutdown");
        hear(&mut oracle, 106, 5, "EVICTED reason=declined");
        oracle.handle(ms(107), 6, Event::Gone);
        hear(&mut oracle, 108, 7, "BYE reason=quit");
        // Refused before it was queued: it counts nowhere.
        ready(&mut oracle, 109, 20);
        hear(&mut oracle, 110, 20, "ERR 452 QUEUE_FULL full");
        // The connections end after that.
        (0..8).for_each(|player| oracle.handle(ms(120), player, Event::HungUp));
        oracle.finish(ms(130));
        let endings = Endings {
            assigned: 2,
            left: 1,
            refused: 2,
            evicted: 1,
            gone: 2,
            still_queued: 1,
            lost: 0,
        };
        assert_eq!((oracle.endings(), oracle.queued()), (endings, 9));
        assert_eq!(oracle.violations(), (&[][..], 0));
    }

    #[test]
    fn a_connection_that_ends_without_a_word_loses_its_player() {
        let mut oracle = oracle();
        join(&mut oracle, 0, 7);
        oracle.handle(ms(5), 7, Event::HungUp);
        assert_eq!(oracle.endings().lost, 1);
        assert_broken(oracle, 6, "nothing lost", "p7");
    }

    #[test]
    fn nobody_is_assigned_twice_or_after_leaving_or_without_having_queued() {
        let mut twice = oracle();
        join(&mut twice, 0, 1);
        assign(&mut twice, 5, 1, 1, 0);
        assign(&mut twice, 6, 1, 2, 0);
        assert_broken(twice, 7, "one match", "p1 was assigned to match 2");

        let mut left = oracle();
        join(&mut left, 0, 1);
        left.handle(ms(2), 1, Event::LeaveSaid);
        hear(&mut left, 3, 1, "LEFT");
        assign(&mut left, 4, 1, 1, 0);
        assert_broken(left, 7, "one match", "was not queued");

        let mut again = oracle();
        queued(&mut again, 0, 1);
        assert_broken(again, 1, "one match", "had not said READY");

        let mut unasked = oracle();
        join(&mut unasked, 0, 1);
        hear(&mut unasked, 3, 1, "LEFT");
        assert_broken(unasked, 4, "nothing lost", "without having said LEAVE");
    }

    #[test]
    fn a_match_has_one_place_for_each_player_of_one_queue() {
        let mut oracle = oracle();
        (1..=3).for_each(|player| join(&mut oracle, 0, player));
        assign(&mut oracle, 5, 1, 1, 0);
        assign(&mut oracle, 5, 2, 1, 1);
        assign(&mut oracle, 6, 3, 1, 1);
        oracle.handle(ms(7), 4, Event::ReadySaid { queue: "arena", resumes: false });
        hear(&mut oracle, 8, 4, "QUEUED queue=arena position=1 needed=4 resume=k");
        assign(&mut oracle, 9, 4, 1, 0);
        let broken = broken(oracle, 10);
        assert!(broken[0].contains("slot is taken"), "{broken:?}");
        assert!(broken.iter().any(|text| text.contains("another queue's")), "{broken:?}");
    }

    #[test]
    fn who_was_queued_before_another_came_is_in_no_later_match() {
        let mut overtaken = oracle();
        (0..4).for_each(|player| join(&mut overtaken, u64::from(player) * 10, player));
        assign(&mut overtaken, 50, 0, 2, 0);
        assign(&mut overtaken, 50, 1, 1, 0);
        assign(&mut overtaken, 50, 2, 1, 1);
        assert_broken(overtaken, 60, "in order", "p0 had its place");

        // The same, but all said READY before anybody was told QUEUED: nothing is certain.
        let mut crossing = oracle();
        (0..4).for_each(|player| ready(&mut crossing, u64::from(player), player));
        (0..4).for_each(|player| queued(&mut crossing, 10, player));
        assign(&mut crossing, 50, 0, 2, 0);
        assign(&mut crossing, 50, 1, 1, 0);
        assert!(broken(crossing, 60).is_empty());
    }

    #[test]
    fn who_waited_in_a_match_may_be_in_one_that_was_formed_anew() {
        let told = |who: u32, reason: &str| {
            let mut oracle = oracle();
            (0..4).for_each(|player| join(&mut oracle, u64::from(player) * 10, player));
            hear(&mut oracle, 45, who, &format!("WAITING queue=duel reason={reason}"));
            assign(&mut oracle, 50, 1, 1, 0);
            assign(&mut oracle, 50, 2, 1, 1);
            assign(&mut oracle, 50, 0, 2, 0);
            broken(oracle, 60)
        };
        assert!(told(0, "game-starting").is_empty());
        assert_eq!(told(3, "game-starting").len(), 1, "another one waited");
        assert!(told(3, "game-failing").is_empty(), "the queue's games fail");
    }

    #[test]
    fn who_went_back_may_be_in_a_later_match_than_who_came_meanwhile_but_not_than_who_came_after() {
        let back = |ready_at: u64| {
            let mut oracle = oracle();
            join(&mut oracle, 0, 0);
            // Its match came to nothing; meanwhile another one was formed.
            hear(&mut oracle, 30, 0, "REQUEUED queue=duel position=1");
            join(&mut oracle, ready_at, 1);
            assign(&mut oracle, 50, 1, 2, 0);
            assign(&mut oracle, 60, 0, 3, 0);
            broken(oracle, 70)
        };
        assert!(back(10).is_empty());
        assert!(back(40)[0].starts_with("in order"), "{:?}", back(40));
    }

    #[test]
    fn no_match_is_older_than_one_that_was_heard_of_before() {
        let mut oracle = oracle();
        join(&mut oracle, 0, 1);
        assign(&mut oracle, 5, 1, 9, 0);
        join(&mut oracle, 10, 2);
        assign(&mut oracle, 15, 2, 8, 0);
        let broken = broken(oracle, 20);
        assert!(broken.iter().any(|text| text.contains("match 9 had been heard of")), "{broken:?}");
    }

    #[test]
    fn ready_and_leave_are_answered_in_time() {
        let mut oracle = oracle();
        ready(&mut oracle, 0, 1);
        oracle.handle_timeout(PATIENCE);
        assert_eq!(oracle.violations().1, 0, "not too late");
        assert_broken(oracle, 10_001, "no silent wait", "READY was not answered");
        let mut oracle = Oracle::new(PATIENCE);
        join(&mut oracle, 0, 1);
        oracle.handle(ms(5), 1, Event::LeaveSaid);
        assert_broken(oracle, 10_006, "no silent wait", "LEAVE at 0.005 s was not answered");
    }

    #[test]
    fn who_comes_back_late_is_answered_in_time_from_then_on() {
        let mut oracle = oracle();
        join(&mut oracle, 0, 1);
        oracle.handle(ms(9_000), 1, Event::Gone);
        oracle.handle(ms(10_500), 1, Event::ReadySaid { queue: "duel", resumes: true });
        oracle.handle_timeout(ms(20_500));
        assert_eq!(oracle.violations(), (&[][..], 0), "it has waited for no longer than that");
        assert_broken(oracle, 20_501, "no silent wait", "READY was not answered");
    }

    #[test]
    fn enough_for_a_match_do_not_wait_in_silence() {
        let mut alone = oracle();
        join(&mut alone, 0, 1);
        assert!(broken(alone, 1_000_000).is_empty(), "one waits for another");

        let mut two = oracle();
        join(&mut two, 0, 1);
        join(&mut two, 10, 2);
        two.handle_timeout(ms(10_010));
        assert_eq!(two.violations().1, 0, "the second has not waited for too long");
        two.handle_timeout(ms(10_012));
        assert_eq!(two.violations().1, 1);
        two.handle_timeout(ms(20_000));
        assert_eq!(two.violations().1, 1, "told once");
        assert_broken(two, 20_001, "no silent wait", "2 players of queue duel hear nothing");
    }

    #[test]
    fn a_wait_for_a_port_has_no_bound_and_one_for_a_game_that_starts_has() {
        for (reason, is_bounded) in
            [("no-port", false), ("game-failing", false), ("game-starting", true)]
        {
            let mut oracle = oracle();
            for player in [1, 2] {
                join(&mut oracle, 0, player);
                hear(&mut oracle, 10, player, &format!("WAITING queue=duel reason={reason}"));
            }
            assert_eq!(broken(oracle, 30_000).len(), usize::from(is_bounded), "{reason}");
        }
        // Who is far back in the line is not told when the ports run short after all, or while others are served.
        for (player, line) in [
            (3, "WAITING queue=duel reason=no-port".to_owned()),
            (4, "ASSIGN match=1 host=h port=1 slot=0 players=2 token=t transport=plain".to_owned()),
        ] {
            let mut oracle = oracle();
            for player in 1..=4 {
                join(&mut oracle, 0, player);
                hear(&mut oracle, 10, player, "WAITING queue=duel reason=game-starting");
            }
            hear(&mut oracle, 25_000, player, &line);
            assert!(broken(oracle, 30_000).is_empty(), "{line}");
        }
    }

    #[test]
    fn whoever_was_overtaken_hears_more_or_is_forgotten() {
        let told = |oracle: &mut Oracle, reason: Option<&str>| {
            join(oracle, 0, 0);
            if let Some(reason) = reason {
                hear(oracle, 5, 0, &format!("WAITING queue=duel reason={reason}"));
            }
            join(oracle, 10, 1);
            join(oracle, 20, 2);
            assign(oracle, 30, 1, 1, 0);
            assign(oracle, 30, 2, 1, 1);
            oracle.handle_timeout(ms(40));
            assert_eq!(oracle.violations().1, 0, "its own match may be on its way");
        };
        for reason in [None, Some("no-port")] {
            let mut forgotten = oracle();
            told(&mut forgotten, reason);
            assert_broken(forgotten, 10_100, "no silent wait", "who came later, was assigned");
        }
        let mut went_back = oracle();
        told(&mut went_back, None);
        hear(&mut went_back, 5000, 0, "REQUEUED queue=duel position=1");
        assert!(broken(went_back, 60_000).is_empty());
    }

    #[test]
    fn a_session_that_is_taken_up_again_is_the_same_one() {
        let mut oracle = oracle();
        join(&mut oracle, 0, 1);
        oracle.handle(ms(5), 1, Event::Gone);
        assert_eq!((oracle.endings().gone, oracle.queued()), (1, 1));
        oracle.handle(ms(9), 1, Event::ReadySaid { queue: "duel", resumes: true });
        queued(&mut oracle, 10, 1);
        assert_eq!((oracle.endings().gone, oracle.queued(), oracle.resumed()), (0, 1, 1));
        // And once more, to hear of the assignment that it missed: formed long before it came back.
        oracle.handle(ms(11), 1, Event::Gone);
        join(&mut oracle, 12, 2);
        assign(&mut oracle, 13, 2, 5, 0);
        oracle.handle(ms(20), 1, Event::ReadySaid { queue: "duel", resumes: true });
        assign(&mut oracle, 21, 1, 4, 0);
        assert_eq!((oracle.endings().assigned, oracle.queued()), (2, 2));
        assert!(broken(oracle, 30).is_empty());
    }

    #[test]
    fn where_no_place_is_kept_the_player_begins_anew() {
        let mut oracle = oracle();
        join(&mut oracle, 0, 1);
        oracle.handle(ms(5), 1, Event::Gone);
        oracle.handle(ms(9), 1, Event::ReadySaid { queue: "duel", resumes: true });
        hear(&mut oracle, 10, 1, "ERR 505 BAD_RESUME unknown");
        join(&mut oracle, 11, 1);
        assign(&mut oracle, 12, 1, 1, 0);
        let Endings { assigned, gone, .. } = oracle.endings();
        assert_eq!((assigned, gone, oracle.queued()), (1, 1, 2));
        assert!(broken(oracle, 30).is_empty());
    }

    #[test]
    fn matches_without_a_number_are_counted_and_not_judged() {
        let mut oracle = oracle();
        for player in [1, 2] {
            join(&mut oracle, 0, player);
            let line = "ASSIGN match=blue host=h port=1 slot=0 players=2 token=t transport=plain";
            hear(&mut oracle, 5, player, line);
        }
        assert_eq!(oracle.unordered(), 2);
        assert!(broken(oracle, 30).is_empty());
    }
}
