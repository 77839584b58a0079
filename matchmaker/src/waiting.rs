//! Notices to players whose match waits for a game.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::placement::GameSource;
use protocol::{MatchId, ModeId, Notice, WaitReason};

use crate::deadlines::Owner;
use crate::limits;
use crate::matches::{Match, MatchPhase};
use crate::matchmaker::Matchmaker;
use crate::queue::Ticket;

impl Matchmaker {
    /// Tells players whose match is formed what it waits for, where that is new to them.
    pub(crate) fn tell_waiting(&mut self, mode: ModeId) {
        let capacity = self.placements.mode(mode);
        let (starting, failing) = (capacity.launching, capacity.is_failing);
        let state = &mut self.modes[mode.0];
        let untold = std::mem::take(&mut state.untold);
        // Only the first matches in the line change between waiting for a port and waiting for a game, so the
        // rest of a long line is left alone; all of it hears when the mode begins to fail, or recovers.
        let looked_at = match failing == state.told_failing {
            true => starting.max(state.told_starting) + untold.len(),
            false => usize::MAX,
        };
        let front: Vec<MatchId> = state.waiting.values().take(looked_at).copied().collect();
        state.told_starting = starting;
        state.told_failing = failing;
        let otherwise = self.reason_without_game(failing);
        for (index, match_id) in front.iter().copied().enumerate() {
            let reason = if index < starting { WaitReason::GameStarting } else { otherwise };
            self.tell_match(match_id, reason);
        }
        // Who came to wait in the front was told already.
        let told: BTreeSet<MatchId> = match untold.is_empty() {
            true => BTreeSet::new(),
            false => front.into_iter().collect(),
        };
        for match_id in untold {
            let waits = |found: &Match| found.phase() == MatchPhase::Placing;
            if !told.contains(&match_id) && self.matches.get(&match_id).is_some_and(waits) {
                self.tell_match(match_id, otherwise);
            }
        }
        self.tell_what_was_held_back(mode);
        self.tell_how_many_are_ahead(mode);
        let state = &self.modes[mode.0];
        let held_back = state.held_back.first().map(|&(at, _)| at);
        let next = held_back.into_iter().chain(state.looks_ahead_at).min();
        self.deadlines.set(Owner::Telling(mode), next);
    }

    /// Tells players what changed while they were told nothing, unless it is again as they were told.
    fn tell_what_was_held_back(&mut self, mode: ModeId) {
        while let Some(&(at, match_id)) = self.modes[mode.0].held_back.first()
            && at <= self.now
        {
            self.modes[mode.0].held_back.pop_first();
            let Some(found) = self.matches.get(&match_id) else { continue };
            let waits = match found.phase() {
                MatchPhase::Placing => true,
                MatchPhase::Starting { source } => source == Some(GameSource::Launched),
                MatchPhase::Offered { .. } | MatchPhase::Assigned { .. } => false,
            };
            if let Some(reason) = found.untold.filter(|_| waits) {
                self.tell_now(match_id, reason);
            }
        }
    }

    /// Tells players who wait for a port that there are noticeably fewer ahead of them than they were told.
    fn tell_how_many_are_ahead(&mut self, mode: ModeId) {
        if self.modes[mode.0].looks_ahead_at.is_none_or(|at| at > self.now) {
            return;
        }
        let others: Vec<ModeId> = self.mode_ids().filter(|other| *other != mode).collect();
        let launching = self.placements.mode(mode).launching;
        let mut fewer = Vec::new();
        let mut is_to_look = false;
        let line = self.modes[mode.0].waiting.iter().take(limits::AHEAD_COUNTED_MAX);
        for (index, (&ticket, &match_id)) in line.enumerate() {
            let found = &self.matches[&match_id];
            let Some(told) = found.told_ahead.filter(|_| found.told == Some(WaitReason::NoPort))
            else {
                continue;
            };
            is_to_look = true;
            let before = |other: &ModeId| self.waiting_before(*other, ticket);
            let ahead = index.saturating_sub(launching) + others.iter().map(before).sum::<usize>();
            if found.untold.is_none() && ahead < told && 4 * ahead <= 3 * told {
                fewer.push((match_id, ahead));
            }
        }
        self.modes[mode.0].looks_ahead_at = is_to_look.then(|| self.after(limits::AHEAD_PAUSE));
        for (match_id, ahead) in fewer {
            self.match_mut(match_id).told_ahead = Some(ahead);
            self.say_waiting(match_id, WaitReason::NoPort, Some(ahead));
        }
    }

    fn reason_without_game(&self, failing: bool) -> WaitReason {
        if failing {
            WaitReason::GameFailing
        } else if self.placements.free_ports() == 0 {
            WaitReason::NoPort
        } else {
            WaitReason::GameStarting
        }
    }

    /// How many matches of a mode wait before a ticket without a launching game.
    fn waiting_before(&self, mode: ModeId, ticket: Ticket) -> usize {
        self.modes[mode.0]
            .waiting_before(ticket)
            .saturating_sub(self.placements.mode(mode).launching)
    }

    /// Tells players what their match waits for, if they were not told that last. What flips is told when it has lasted for a
    /// moment.
    pub(crate) fn tell_match(&mut self, match_id: MatchId, reason: WaitReason) {
        let now = self.now;
        let waiting = self.match_mut(match_id);
        if waiting.told == Some(reason) {
            waiting.untold = None;
            return;
        }
        let (mode, due) = (waiting.mode, waiting.told_at.saturating_add(waiting.told_pause));
        if waiting.told.is_none() || due <= now {
            return self.tell_now(match_id, reason);
        }
        waiting.untold = Some(reason);
        self.modes[mode.0].held_back.insert((due, match_id));
    }

    fn tell_now(&mut self, match_id: MatchId, reason: WaitReason) {
        let (now, look_at) = (self.now, self.after(limits::AHEAD_PAUSE));
        let ticket = self.matches[&match_id].ticket;
        let before = |mode: ModeId| self.waiting_before(mode, ticket);
        let ahead =
            (reason == WaitReason::NoPort).then(|| self.mode_ids().map(before).sum::<usize>());
        let waiting = self.match_mut(match_id);
        let pause = waiting.told_pause.saturating_mul(2);
        waiting.told_pause = match waiting.told.replace(reason) {
            // The first change is told at once.
            None => Duration::ZERO,
            Some(_) => pause.clamp(limits::TELL_PAUSE_MIN, limits::TELL_PAUSE_MAX),
        };
        (waiting.told_at, waiting.told_ahead, waiting.untold) = (now, ahead, None);
        let mode = waiting.mode;
        if ahead.is_some() {
            self.modes[mode.0].looks_ahead_at.get_or_insert(look_at);
        }
        self.say_waiting(match_id, reason, ahead);
    }

    fn say_waiting(&mut self, match_id: MatchId, reason: WaitReason, ahead: Option<usize>) {
        let mode = self.matches[&match_id].mode;
        for connection in self.connections_of(match_id) {
            self.send(connection, Notice::Waiting { mode, reason, ahead });
        }
    }
}
