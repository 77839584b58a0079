//! Counting what happens.

use std::time::Duration;

use brain::{Action, Event, GameAction, GameId, GameSource, MatchEnd, ModeId};

use super::Server;
use crate::operators::metrics::{ExitCause, fault_index};

impl Server {
    /// Counts an action.
    pub(super) fn count(&mut self, action: &Action) {
        match action {
            Action::Game(GameAction::Launch { mode, .. }) => self.counts.mode(*mode).launches += 1,
            Action::Report(event) => self.count_event(event),
            _ => {}
        }
    }

    fn count_event(&mut self, event: &Event) {
        match event {
            Event::PlayerAssigned { mode, waited, .. } => {
                self.counts.mode(*mode).player_waits.observe(*waited);
            }
            Event::PlayerAway { mode, .. } => self.counts.mode(*mode).players_away += 1,
            Event::PlayerReturned { mode, .. } => self.counts.mode(*mode).players_returned += 1,
            Event::PlayerEvicted { mode, reason, .. } => self.counts.note_eviction(*mode, *reason),
            Event::MatchFormed { mode, .. } => self.counts.mode(*mode).matches_formed += 1,
            Event::MatchDissolved { mode, .. } => self.counts.mode(*mode).matches_dissolved += 1,
            Event::MatchAssigned { mode, game, waited, source, .. } => {
                if *source == GameSource::Launched {
                    self.count_ready_time(*mode, *game);
                }
                let counts = self.counts.mode(*mode);
                counts.matches_assigned += 1;
                counts.game_waits[*source as usize].observe(*waited);
            }
            Event::MatchEnded { mode, end, .. } => match end {
                MatchEnd::Finished(_) => self.counts.mode(*mode).matches_finished += 1,
                MatchEnd::Stopped(_) => self.counts.mode(*mode).matches_stopped += 1,
            },
            Event::GameWarm { game, mode } => self.count_ready_time(*mode, *game),
            Event::GameFailed { mode, fault, .. } => {
                self.counts.mode(*mode).games_failed[fault_index(fault)] += 1;
            }
            Event::GameEnded { mode, exit, .. } => {
                self.counts.mode(*mode).exits[ExitCause::of(*exit) as usize] += 1;
            }
            Event::PortBusy { .. } => self.counts.ports_busy += 1,
            _ => {}
        }
    }

    /// A timer fired late by this much.
    pub(super) fn count_lag(&mut self, late: Duration) {
        self.counts.lag.observe(late);
    }

    /// Observes the time from the launch of a game until it was ready, or had started with its players.
    fn count_ready_time(&mut self, mode: ModeId, game: GameId) {
        if let Some(record) = self.games.record(game) {
            let took = self.now.saturating_duration_since(record.ordered);
            self.counts.mode(mode).ready_times.observe(took);
        }
    }
}
