//! Taking the view of the daemon's state.

use brain::{ModeId, PortState as HostPort};
use protocol::admin::{GamePhase, PortState, ReportStatus};

use super::Server;
use crate::operators::view::{GAMES_LISTED_MAX, GameView, ModeView, View};

impl Server {
    /// The HTTP thread asks for a view.
    pub(super) fn send_view(&self) {
        if let Some(http) = &self.http {
            http.send(self.view());
        }
    }

    /// The daemon's state. Takes time in proportion to games and ports: some microseconds for hundreds.
    pub(super) fn view(&self) -> View {
        let now = self.brain_now();
        let mut modes: Vec<ModeView> =
            (0..self.config.modes.len()).map(|mode| self.mode_view(ModeId(mode))).collect();
        let first_port = *self.config.ports.range.start();
        let mut ports = vec![PortState::Free; self.config.ports.range.len()];
        let mut set = |port: u16, state: PortState| {
            if let Some(slot) = ports.get_mut(usize::from(port.saturating_sub(first_port))) {
                *slot = state;
            }
        };
        for (port, place) in self.brain.ports_taken() {
            match place {
                HostPort::Free => {}
                // Until its game is found below.
                HostPort::Leased => set(port, PortState::Leased(GamePhase::Launching)),
                HostPort::Resting => set(port, PortState::Quarantined),
                HostPort::Busy => set(port, PortState::Busy),
            }
        }
        let mut games = Vec::new();
        for game in self.brain.games_figures() {
            let phase = game.phase;
            modes[game.mode.0].games_by_phase[phase as usize] += 1;
            set(game.port, PortState::Leased(phase));
            games.push(game);
        }
        let game_view = |game: &brain::GameFigures| GameView {
            id: game.game.0,
            mode: game.mode.0,
            port: game.port,
            phase: game.phase,
            players: game.players,
            age: now.saturating_sub(game.since),
        };
        let (kept, bytes) = self.games.reports().kept();
        View {
            uptime: now,
            is_serving: self.brain.is_serving(),
            clients: self.players.len(),
            clients_max: self.config.limits.clients,
            launcher: self.games.launcher().pid(),
            templates: self
                .games
                .templates()
                .living()
                .into_iter()
                .map(|(mode, pid)| (mode.0, pid))
                .collect(),
            reports: ReportStatus { ended: self.games.reports().ended(), kept, bytes },
            loop_stats: self.loop_stats,
            counts: self.counts.clone(),
            totals: self.brain.totals(),
            modes,
            order: self.config.all_in_order().map(|mode| mode.0).collect(),
            first_port,
            ports,
            games: games.iter().rev().take(GAMES_LISTED_MAX).map(game_view).collect(),
        }
    }

    fn mode_view(&self, mode: ModeId) -> ModeView {
        let figures = self.brain.mode_figures(mode);
        let config = self.mode(mode);
        ModeView {
            name: config.name.clone(),
            is_closed: config.is_closed,
            players: config.players(),
            is_template: config.template,
            waiting: figures.waiting,
            away: figures.away,
            oldest_wait: figures.oldest_since.map(|since| self.brain_now().saturating_sub(since)),
            matches_waiting: figures.matches_waiting,
            is_failing: figures.is_failing,
            failure: self.games.why_failing(mode, &self.brain),
            games: self.brain.mode_status(mode).games,
            games_by_phase: [0; GamePhase::ALL.len()],
        }
    }
}
