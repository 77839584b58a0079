//! The daemon's state as operators see it: taken once by the loop, a copy, and rendered as the admin socket's status, as
//! metrics, and as the data of the web page.

use std::time::Duration;

use brain::Totals;
use protocol::admin::{
    GamePhase, LoopStats, PortState, PortStatus, QueueStatus, ReportStatus, Status, TemplateStatus,
    Watch,
};

use super::metrics::{Counts, ModeCounts};
use crate::{logging, units};

/// Games that a view lists one by one; others are only counted.
pub(crate) const GAMES_LISTED_MAX: usize = 200;

/// The daemon's state at a moment.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// The time since the daemon's start.
    pub(crate) uptime: Duration,
    /// Whether new players are accepted.
    pub(crate) is_serving: bool,
    pub(crate) clients: usize,
    pub(crate) clients_max: usize,
    /// The launcher's pid; none while it restarts.
    pub(crate) launcher: Option<i32>,
    /// The living templates: mode and pid.
    pub(crate) templates: Vec<(usize, i32)>,
    pub(crate) reports: ReportStatus,
    pub(crate) loop_stats: LoopStats,
    pub(crate) counts: Counts,
    pub(crate) totals: Totals,
    /// By index, removed ones included; see [`Self::shown`].
    pub(crate) modes: Vec<ModeView>,
    /// Their indices in the order of the configuration, then the removed ones.
    pub(crate) order: Vec<usize>,
    pub(crate) first_port: u16,
    /// The state of each port, from the first on.
    pub(crate) ports: Vec<PortState>,
    /// The newest games, newest first, at most [`GAMES_LISTED_MAX`].
    pub(crate) games: Vec<GameView>,
}

/// The state of a mode.
#[derive(Debug, Clone)]
pub(crate) struct ModeView {
    pub(crate) name: String,
    /// Whether it was removed from the configuration.
    pub(crate) is_closed: bool,
    /// Players in a match.
    pub(crate) players: usize,
    /// Whether its games are forked from a template.
    pub(crate) is_template: bool,
    pub(crate) waiting: usize,
    /// Absent players whose session is kept.
    pub(crate) away: usize,
    /// The waiting time of the first player in the queue.
    pub(crate) oldest_wait: Option<Duration>,
    pub(crate) matches_waiting: usize,
    pub(crate) is_failing: bool,
    /// The last failure, while its games keep failing.
    pub(crate) failure: Option<String>,
    /// Games as the matchmaker counts them for STATUS.
    pub(crate) games: usize,
    /// Games by phase, in the order of [`GamePhase::ALL`].
    pub(crate) games_by_phase: [usize; GamePhase::ALL.len()],
}

/// A game that has not ended.
#[derive(Debug, Clone)]
pub(crate) struct GameView {
    pub(crate) id: u64,
    /// The index of its mode.
    pub(crate) mode: usize,
    pub(crate) port: u16,
    pub(crate) phase: GamePhase,
    pub(crate) players: usize,
    /// The time since the launch was ordered.
    pub(crate) age: Duration,
}

impl ModeView {
    /// Games in a phase.
    pub(crate) fn games_in(&self, phase: GamePhase) -> usize {
        self.games_by_phase[phase as usize]
    }

    /// Whether it is shown: a removed mode is, until no player waits and no game is left.
    fn is_shown(&self) -> bool {
        !self.is_closed || self.waiting > 0 || self.games_by_phase.iter().any(|count| *count > 0)
    }

    fn status(&self) -> QueueStatus {
        QueueStatus {
            queue: self.name.clone(),
            waiting: self.waiting,
            games: self.games,
            away: self.away,
            oldest_ms: self.oldest_wait.map(units::millis),
            failing: self.is_failing,
            reason: self.failure.clone(),
            removed: self.is_closed,
        }
    }
}

impl View {
    /// The modes that are shown, with their counts.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&ModeView, &ModeCounts)> {
        let at = |index: &usize| Some((self.modes.get(*index)?, self.counts.modes.get(*index)?));
        self.order.iter().filter_map(at).filter(|(mode, _)| mode.is_shown())
    }

    /// The name of a mode.
    pub(crate) fn mode_name(&self, mode: usize) -> &str {
        self.modes.get(mode).map_or("", |mode| mode.name.as_str())
    }

    /// The number of free ports.
    pub(crate) fn ports_free(&self) -> usize {
        self.ports_in(|state| state == PortState::Free)
    }

    /// The number of ports that games have.
    pub(crate) fn ports_leased(&self) -> usize {
        self.ports_in(|state| matches!(state, PortState::Leased(_)))
    }

    /// The number of ports in some states.
    pub(crate) fn ports_in(&self, is_counted: impl Fn(PortState) -> bool) -> usize {
        self.ports.iter().filter(|state| is_counted(**state)).count()
    }

    /// A letter for each port.
    pub(crate) fn port_letters(&self) -> String {
        self.ports.iter().map(|state| state.letter()).collect()
    }

    /// The answer to the request `status`; with `watch`, with every port and the last log lines.
    pub(crate) fn status(&self, watch: bool) -> Status {
        let template = |&(mode, pid): &(usize, i32)| TemplateStatus {
            mode: self.mode_name(mode).to_owned(),
            pid,
        };
        let ring = u16::try_from(self.ports.len().saturating_sub(1)).unwrap_or(u16::MAX);
        Status {
            pid: std::process::id(),
            uptime_ms: units::millis(self.uptime),
            serving: self.is_serving,
            queues: self.shown().map(|(mode, _)| mode.status()).collect(),
            ports: PortStatus {
                first: self.first_port,
                last: self.first_port.saturating_add(ring),
                free: self.ports_free(),
            },
            launcher: self.launcher,
            templates: self.templates.iter().map(template).collect(),
            reports: self.reports,
            turns: self.loop_stats,
            matches_assigned: self.counts.modes.iter().map(|mode| mode.matches_assigned).sum(),
            watch: watch.then(|| Watch { ports: self.port_letters(), events: logging::recent() }),
        }
    }
}
