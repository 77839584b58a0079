//! What is counted as it happens, and what is handed over to be shown.

use std::time::Duration;

use matchmaker::{Action, Event, GameId, GameStage, LaunchFault, MatchEnd, ModeId, PortPlace};

use super::Server;
use crate::games::reports::Draft;
use crate::operators::metrics::{
    ExitCause, FailedLaunch, GAMES_MAX, GameNow, GameSource, ModeNow, Snapshot, fault_index,
};

impl Server {
    /// Counts what is about to be done, before it is recorded.
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
                // Who was launched for its match never was sent a start.
                let (source, ready_in) = match self.draft(*game) {
                    Some(draft) if draft.phase == GameStage::Launching => {
                        (GameSource::Launched, Some(self.since_order(draft)))
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
                if let Some(took) = self.draft(*game).map(|draft| self.since_order(draft)) {
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

    /// A game's process exists.
    pub(super) fn count_launched(&mut self, game: GameId, mode: ModeId) {
        if let Some(took) = self.draft(game).map(|draft| self.since_order(draft)) {
            self.counts.mode(mode).launch_times.observe(took);
        }
    }

    /// A game's process could not be made; its draft is still there.
    pub(super) fn count_launch_failed(&mut self, game: GameId, fault: &LaunchFault) {
        if let Some(mode) = self.draft(game).map(|draft| draft.mode) {
            self.counts.mode(mode).launches_failed[FailedLaunch::of(fault) as usize] += 1;
        }
    }

    /// The loop woke up for what was due then.
    pub(super) fn count_lag(&mut self, late: Duration) {
        self.counts.lag.observe(late);
    }

    fn draft(&self, game: GameId) -> Option<&Draft> {
        let first = self.reports.living(game).next();
        first.filter(|(id, _)| *id == game).map(|(_, draft)| draft)
    }

    fn since_order(&self, draft: &Draft) -> Duration {
        self.now.saturating_duration_since(draft.ordered)
    }

    /// Somebody wants to know how things are.
    pub(super) fn tell_figures(&self) {
        if let Some(http) = &self.http {
            http.tell(self.snapshot());
        }
    }

    /// How things are. It takes as long as there are games and ports: some microseconds for hundreds.
    fn snapshot(&self) -> Snapshot {
        let now = self.brain_now();
        let mut modes: Vec<ModeNow> =
            (0..self.config.modes.len()).map(|mode| self.mode_now(ModeId(mode))).collect();
        let mut games = Vec::new();
        for game in self.brain.games_figures() {
            modes[game.mode.0].games[game.stage as usize] += 1;
            games.push(game);
        }
        let game_now = |game: &matchmaker::GameFigures| GameNow {
            id: game.game.0,
            mode: game.mode.0,
            port: game.port,
            stage: game.stage,
            players: game.players,
            age: now.saturating_sub(game.since),
        };
        let first_port = *self.config.ports.range.start();
        let mut ports = vec![PortPlace::Free; self.config.ports.range.len()];
        for (port, place) in self.brain.ports_taken() {
            if let Some(slot) = ports.get_mut(usize::from(port.saturating_sub(first_port))) {
                *slot = place;
            }
        }
        Snapshot {
            uptime: now,
            is_serving: self.brain.is_serving(),
            clients: self.clients.len(),
            clients_max: self.config.limits.clients,
            has_launcher: self.launcher.pid().is_some(),
            counts: self.counts.clone(),
            totals: self.brain.totals(),
            modes,
            order: self.config.all_in_order().map(|mode| mode.0).collect(),
            first_port,
            ports,
            games: games.iter().rev().take(GAMES_MAX).map(game_now).collect(),
        }
    }

    fn mode_now(&self, mode: ModeId) -> ModeNow {
        let figures = self.brain.mode_figures(mode);
        let config = self.mode(mode);
        ModeNow {
            name: config.name.clone(),
            is_closed: config.is_closed,
            players: config.players(),
            is_template: config.template,
            waiting: figures.waiting,
            away: figures.away,
            oldest_wait: figures.oldest_since.map(|since| self.brain_now().saturating_sub(since)),
            matches_waiting: figures.matches_waiting,
            is_failing: figures.is_failing,
            games: [0; GameStage::ALL.len()],
        }
    }
}
