//! How the daemon is at a moment: what the loop hands over when it is asked.

use std::time::Duration;

use matchmaker::{GameStage, PortPlace, Totals};

use super::Counts;

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
    /// In the order of the configuration.
    pub(crate) modes: Vec<ModeNow>,
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

impl Snapshot {
    /// How many ports are in a place.
    pub(crate) fn ports_in(&self, place: PortPlace) -> usize {
        self.ports.iter().filter(|it| **it == place).count()
    }
}
