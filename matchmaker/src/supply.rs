//! Supply and demand: which game is launched on which port, for whom, and what those who wait are told.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::{Notice, WaitReason};

use crate::deadlines::Owner;
use crate::games::Game;
use crate::io::{Action, StopReason};
use crate::limits;
use crate::matches::{Match, MatchPhase};
use crate::matchmaker::Matchmaker;
use crate::modes::ModeState;
use protocol::{GameId, MatchId, ModeId};

impl Matchmaker {
    /// Gives a mode's warm games to the matches that wait for them, first to first.
    pub(crate) fn serve_from_warm(&mut self, mode: ModeId) {
        loop {
            let state = &self.modes[mode.0];
            if state.waiting.is_empty() || state.warm.is_empty() {
                return;
            }
            self.order_line(mode);
            let state = &mut self.modes[mode.0];
            let game = state.warm.first().copied();
            let first = state.waiting.pop_first();
            let (Some(game), Some((_, match_id))) = (game, first) else { return };
            self.start_match(match_id, game);
        }
    }

    /// Launches games for matches that wait, in their order over all modes.
    pub(crate) fn supply_games(&mut self) {
        while self.launching < self.config.launching_max {
            self.order_lines_to_seat();
            let Some(mode) = self.first_mode_in_need() else { break };
            match self.lease_port(mode) {
                Some((game, port)) => self.launch_seated(game, mode, port),
                None => return self.reclaim_warm_games(),
            }
        }
    }

    /// The match that is seated at launch has to be the first in its line. Without a port none is seated, and the lines are left alone.
    fn order_lines_to_seat(&mut self) {
        if self.ports.free_count() == 0 {
            return;
        }
        for mode in self.mode_ids() {
            let state = &self.modes[mode.0];
            let is_in_need = state.may_launch() && state.unmet() > 0;
            if is_in_need {
                self.order_line(mode);
            }
        }
    }

    /// The mode of the first match for which no game is launching, among modes that may launch.
    fn first_mode_in_need(&self) -> Option<ModeId> {
        let in_need = |mode: ModeId| {
            let state = &self.modes[mode.0];
            let ticket = state.may_launch().then(|| state.first_unmet()).flatten()?;
            Some((ticket, mode))
        };
        self.mode_ids().filter_map(in_need).min().map(|(_, mode)| mode)
    }

    /// Draws the id of a new game and leases a port for it, if one is free. Without a port no id is drawn: waiting for a
    /// port leaves no trace.
    fn lease_port(&mut self, mode: ModeId) -> Option<(GameId, u16)> {
        if self.ports.free_count() == 0 {
            return None;
        }
        let game = self.next_game_id();
        let port = self.ports.lease(game)?;
        self.modes[mode.0].games += 1;
        Some((game, port))
    }

    /// Launches a game that will be warm, if a port is free.
    pub(crate) fn launch_warm(&mut self, mode: ModeId) -> bool {
        let Some((game, port)) = self.lease_port(mode) else { return false };
        self.games.insert(game, Game::new(mode, port, self.now));
        self.refills_ordered += 1;
        self.launching += 1;
        self.modes[mode.0].launching += 1;
        let deadline = self.after(self.mode(mode).ready_timeout);
        self.deadlines.set(Owner::Game(game), Some(deadline));
        self.act(Action::Launch { game, mode, port, seated: None });
        true
    }

    /// Ports are short: stops warm games of modes nobody waits for, as many as the matches in need have no
    /// port on its way back to them. A port that is busy is on no way: whoever holds it may never go.
    fn reclaim_warm_games(&mut self) {
        let needed: usize =
            self.modes.iter().filter(|state| state.may_launch()).map(|state| state.unmet()).sum();
        let coming = self.ports.resting_count() + self.stopping;
        for _ in coming..needed {
            let Some(game) = self.warm_game_to_spare() else { return };
            self.stop(game, StopReason::PortNeeded);
        }
    }

    /// The oldest warm game of the mode that has the most. A mode with warm games has no match that waits.
    fn warm_game_to_spare(&self) -> Option<GameId> {
        let fullest = self.modes.iter().rev().max_by_key(|state| state.warm.len())?;
        fullest.warm.first().copied()
    }

    // ---- What those who wait are told ----

    /// Tells players whose match is formed what it waits for, where that is new to them.
    pub(crate) fn tell_waiting(&mut self, mode: ModeId) {
        let state = &mut self.modes[mode.0];
        let untold = std::mem::take(&mut state.untold);
        let starting = state.launching;
        let failing = state.is_failing();
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
            let waits = |found: &Match| found.phase() == MatchPhase::Waiting;
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
                MatchPhase::Waiting => true,
                MatchPhase::Starting(game) => self.games[&game].is_launching_seated(),
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
        let launching = self.modes[mode.0].launching;
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
            let before = |other: &ModeId| self.modes[other.0].waiting_before(ticket);
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
        } else if self.ports.free_count() == 0 {
            WaitReason::NoPort
        } else {
            WaitReason::GameStarting
        }
    }

    /// Tells players whose match was just taken out of its line, to be seated in a game that is launched.
    pub(crate) fn tell_game_starting(&mut self, match_id: MatchId) {
        self.tell_match(match_id, WaitReason::GameStarting);
    }

    /// Tells players what their match waits for, if they were not told that last. What flips is told when it has lasted for a
    /// moment.
    fn tell_match(&mut self, match_id: MatchId, reason: WaitReason) {
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
        let before = |state: &ModeState| state.waiting_before(ticket);
        let ahead =
            (reason == WaitReason::NoPort).then(|| self.modes.iter().map(before).sum::<usize>());
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
