//! The promise that no player waits in silence.
//!
//! Within `patience`, READY and LEAVE are answered; the players who wait without a message are fewer than a match
//! needs; and a player who was overtaken by an assigned one receives another message. A player who received `WAITING`
//! for a game that is starting does not wait on while no player of the queue is assigned, unless ports ran short in
//! this run: only the first matches are notified of that. A player whom Muster disconnected has the position again
//! within that time. A wait for a port, or for games that keep failing, has no limit.

use std::time::Duration;

use super::{Oracle, Queue, Session, State, seconds};

impl Oracle {
    /// Finds players who wait too long; to be called about every second.
    pub(crate) fn handle_timeout(&mut self, now: Duration) {
        let mut waiting: Vec<(usize, u32)> = vec![(0, 0); self.queues.len()];
        let mut complaints = Vec::new();
        for (player, session) in &mut self.sessions {
            let queue = &self.queues[session.queue];
            session.note_overtaken(now, queue);
            let is_late = |since: Duration| now.saturating_sub(since) > self.patience;
            if !session.is_reported
                && let Some(complaint) = session.complaint(is_late)
            {
                session.is_reported = true;
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
        for (player, session) in &mut self.away {
            let is_late = |since: Duration| now.saturating_sub(since) > self.patience;
            if session.owed_since.is_some_and(is_late) && !session.is_reported {
                session.is_reported = true;
                complaints.push((
                    *player,
                    *session,
                    "then disconnected, and not admitted again".to_owned(),
                ));
            }
        }
        for (player, session, complaint) in complaints {
            let text = format!("{}; {complaint}", self.story(player, &session));
            self.violated(now, "no silent wait", text);
        }
        self.note_stalls(now, &waiting);
    }

    fn note_stalls(&mut self, now: Duration, waiting: &[(usize, u32)]) {
        for (index, (count, someone)) in waiting.iter().enumerate() {
            let queue = &mut self.queues[index];
            let is_stalled = queue.size.is_some_and(|size| *count >= size);
            let is_new = is_stalled && !queue.is_stalled;
            queue.is_stalled = is_stalled;
            if is_new && let Some(session) = self.sessions.get(someone).copied() {
                let text = format!(
                    "{count} players of queue {} receive nothing, enough for a match; {}",
                    self.queues[index].name,
                    self.story(*someone, &session)
                );
                self.violated(now, "no silent wait", text);
            }
        }
    }
}

impl Session {
    /// Records when it became known that a later player was assigned.
    fn note_overtaken(&mut self, now: Duration, queue: &Queue) {
        if !self.is_asked() && self.overtaken.is_none() {
            let later = queue.newest_assigned.filter(|(ready, _)| *ready > self.placed_at);
            self.overtaken = later.map(|(_, by)| (now, by));
        }
    }

    /// The message that the player should have received.
    fn complaint(&self, is_late: impl Fn(Duration) -> bool) -> Option<String> {
        if self.is_asked() {
            let since = self.owed_since.unwrap_or(self.word_at);
            return is_late(since).then(|| "READY was not answered".to_owned());
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
