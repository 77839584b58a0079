//! How the daemon is at a moment: what the loop hands over when it is asked.

use std::time::Duration;

use matchmaker::{GameStage, PortPlace, Totals};

use super::{Counts, ModeCounts};

/// The games that a snapshot tells of one by one; beyond that they are only counted.
pub(crate) const GAMES_MAX: usize = 200;

/// Everything that is shown, in numbers. A copy: nothing of it is the loop's any more.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) uptime: Duration,
    /// Whether players are taken in.
    pub(crate) is_serving: bool,
    pub(crate) clients: usize,
    pub(crate) clients_max: usize,
    /// Whether there is a process that makes games.
    pub(crate) has_launcher: bool,
    pub(crate) counts: Counts,
    pub(crate) totals: Totals,
    /// By their places, those that were removed included; see [`Self::shown`].
    pub(crate) modes: Vec<ModeNow>,
    /// Their places, as the operator has ordered them, and then those that were removed.
    pub(crate) order: Vec<usize>,
    pub(crate) first_port: u16,
    /// The ring, from its first port on.
    pub(crate) ports: Vec<PortPlace>,
    /// The newest games, newest first, at most [`GAMES_MAX`].
    pub(crate) games: Vec<GameNow>,
}

/// How a mode is.
#[derive(Debug, Clone)]
pub(crate) struct ModeNow {
    pub(crate) name: String,
    /// Whether it was removed.
    pub(crate) is_closed: bool,
    /// Players in a match.
    pub(crate) players: usize,
    /// Whether its games are forked from a template.
    pub(crate) is_template: bool,
    pub(crate) waiting: usize,
    /// Players whose connection is lost and whose place is kept.
    pub(crate) away: usize,
    /// How long the one waits who has waited longest, of those who were not sent to a game yet.
    pub(crate) oldest_wait: Option<Duration>,
    pub(crate) matches_waiting: usize,
    pub(crate) is_failing: bool,
    /// In the order of [`GameStage::ALL`].
    pub(crate) games: [usize; GameStage::ALL.len()],
}

/// A game that is not gone.
#[derive(Debug, Clone)]
pub(crate) struct GameNow {
    pub(crate) id: u64,
    /// By its place in [`Snapshot::modes`].
    pub(crate) mode: usize,
    pub(crate) port: u16,
    pub(crate) stage: GameStage,
    pub(crate) players: usize,
    /// Since the order to launch it.
    pub(crate) age: Duration,
}

impl ModeNow {
    /// Whether anybody may want to know of it: one that was removed is there for as long as somebody waits or plays.
    fn is_shown(&self) -> bool {
        !self.is_closed || self.waiting > 0 || self.games.iter().any(|count| *count > 0)
    }
}

impl Snapshot {
    /// The modes that are shown, with what was counted of them.
    pub(crate) fn shown(&self) -> impl Iterator<Item = (&ModeNow, &ModeCounts)> {
        let at = |place: &usize| Some((self.modes.get(*place)?, self.counts.modes.get(*place)?));
        self.order.iter().filter_map(at).filter(|(mode, _)| mode.is_shown())
    }

    /// How many ports are in a place.
    pub(crate) fn ports_in(&self, place: PortPlace) -> usize {
        self.ports.iter().filter(|it| **it == place).count()
    }
}
