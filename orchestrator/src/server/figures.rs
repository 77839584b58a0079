//! Counting what happens.

use std::time::Duration;

use brain::{Action, Event, GameStage, MatchEnd};

use super::Server;
use crate::games::record::GameRecord;
use crate::operators::metrics::{ExitCause, GameSource, fault_index};

impl Server {
    /// Counts an action, before the record of its game changes.
    pub(super) fn count(&mut self, action: &Action) {
        match action {
            Action::Launch { mode, .. } => self.counts.mode(*mode).launches += 1,
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
            Event::MatchAssigned { mode, game, waited, .. } => {
                // A game that was launched for its match is never sent a start.
                let (source, ready_in) = match self.games.record(*game) {
                    Some(record) if record.stage == GameStage::Launching => {
                        (GameSource::Launched, Some(self.since_order(record)))
                    }
                    _ => (GameSource::Warm, None),
                };
                let counts = self.counts.mode(*mode);
                counts.matches_assigned += 1;
                counts.game_waits[source as usize].observe(*waited);
                ready_in.into_iter().for_each(|took| counts.ready_times.observe(took));
            }
            Event::MatchEnded { mode, end, .. } => match end {
                MatchEnd::Finished(_) => self.counts.mode(*mode).matches_finished += 1,
                MatchEnd::Stopped(_) => self.counts.mode(*mode).matches_stopped += 1,
            },
            Event::GameWarm { game, mode } => {
                if let Some(took) = self.games.record(*game).map(|record| self.since_order(record))
                {
                    self.counts.mode(*mode).ready_times.observe(took);
                }
            }
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

    fn since_order(&self, record: &GameRecord) -> Duration {
        self.now.saturating_duration_since(record.ordered)
    }
}
