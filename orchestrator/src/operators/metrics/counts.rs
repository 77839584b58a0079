//! Counters of events, which only the loop's thread changes.

use std::time::Duration;

use brain::{Exit, GameFault, GameSource, LaunchFault, ModeId};
use protocol::{ErrorCode, EvictReason};

use super::Histogram;
use crate::players::connection::Traffic;

/// Counts since the daemon's start.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    /// By [`ModeId`].
    pub(crate) modes: Vec<ModeCounts>,
    /// Connections that were accepted.
    pub(crate) connections_taken_in: u64,
    /// Connections that exceeded a limit.
    pub(crate) connections_refused: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    /// Errors sent to clients, in the order of [`ErrorCode::ALL`].
    pub(crate) errors: [u64; ErrorCode::ALL.len()],
    /// Launches that found another program using their port.
    pub(crate) ports_busy: u64,
    /// Launchers that replaced another one.
    pub(crate) launcher_restarts: u64,
    /// Upgrades in place, and the pause of the last one.
    pub(crate) upgrades: u64,
    pub(crate) upgrade_pause: Duration,
    /// The durations of the loop's iterations.
    pub(crate) turns: Histogram,
    /// How late the loop handled deadlines.
    pub(crate) lag: Histogram,
}

/// Counts of one mode.
#[derive(Debug, Clone)]
pub(crate) struct ModeCounts {
    pub(crate) matches_formed: u64,
    pub(crate) matches_dissolved: u64,
    pub(crate) matches_assigned: u64,
    /// Matches whose game exited by itself.
    pub(crate) matches_finished: u64,
    /// Matches whose game was stopped.
    pub(crate) matches_stopped: u64,
    /// Time from READY to ASSIGN, by player.
    pub(crate) player_waits: Histogram,
    /// Time from a match's forming to its assignment, by [`GameSource`].
    pub(crate) game_waits: [Histogram; GameSource::ALL.len()],
    /// Players whose connection was lost, and who returned.
    pub(crate) players_away: u64,
    pub(crate) players_returned: u64,
    /// In the order of [`EVICTIONS`].
    pub(crate) players_evicted: [u64; EVICTIONS.len()],
    /// Launches that were ordered.
    pub(crate) launches: u64,
    /// Time from the order to the process.
    pub(crate) launch_times: Histogram,
    /// Time from the order until the game is ready.
    pub(crate) ready_times: Histogram,
    /// By [`FailedLaunch`].
    pub(crate) launches_failed: [u64; FailedLaunch::ALL.len()],
    /// By [`fault_index`].
    pub(crate) games_failed: [u64; FAULTS.len()],
    /// By [`ExitCause`].
    pub(crate) exits: [u64; ExitCause::ALL.len()],
    pub(crate) templates_started: u64,
    pub(crate) templates_ended: u64,
}

/// Why a launch failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailedLaunch {
    PortBusy,
    Interrupted,
    Other,
}

/// How a game's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCause {
    /// With exit status 0.
    Success,
    /// With another exit status.
    Status,
    /// By SIGTERM, which Muster sends to games that do not stop.
    Terminated,
    /// By SIGKILL, which Muster sends to games that do not exit then.
    Killed,
    /// By another signal.
    Signal,
    /// While no daemon was running.
    Unknown,
}

/// Faults of games that cost them their match, in the order of [`fault_index`].
pub(crate) const FAULTS: [&str; 6] =
    ["not_launched", "not_ready", "not_started", "ended", "broken", "ended_soon"];

/// Why players are removed from a queue.
pub(crate) const EVICTIONS: [EvictReason; EvictReason::ALL.len()] = EvictReason::ALL;

/// signal(7): the same on every machine.
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

impl Default for Counts {
    fn default() -> Self {
        Self {
            modes: Vec::new(),
            connections_taken_in: 0,
            connections_refused: 0,
            bytes_received: 0,
            bytes_sent: 0,
            errors: [0; ErrorCode::ALL.len()],
            ports_busy: 0,
            launcher_restarts: 0,
            upgrades: 0,
            upgrade_pause: Duration::ZERO,
            turns: Histogram::of_turns(),
            lag: Histogram::of_turns(),
        }
    }
}

impl Default for ModeCounts {
    fn default() -> Self {
        Self {
            matches_formed: 0,
            matches_dissolved: 0,
            matches_assigned: 0,
            matches_finished: 0,
            matches_stopped: 0,
            player_waits: Histogram::of_waits(),
            game_waits: [Histogram::of_waits(), Histogram::of_waits()],
            players_away: 0,
            players_returned: 0,
            players_evicted: [0; EVICTIONS.len()],
            launches: 0,
            launch_times: Histogram::of_starts(),
            ready_times: Histogram::of_starts(),
            launches_failed: [0; FailedLaunch::ALL.len()],
            games_failed: [0; FAULTS.len()],
            exits: [0; ExitCause::ALL.len()],
            templates_started: 0,
            templates_ended: 0,
        }
    }
}

impl Counts {
    /// Counts for this number of modes.
    pub(crate) fn new(modes: usize) -> Self {
        Self { modes: vec![ModeCounts::default(); modes], ..Self::default() }
    }

    /// Makes room for at least this number of modes.
    pub(crate) fn fit(&mut self, modes: usize) {
        self.modes.resize_with(modes.max(self.modes.len()), ModeCounts::default);
    }

    /// The counts of a mode.
    pub(crate) fn mode(&mut self, mode: ModeId) -> &mut ModeCounts {
        self.fit(mode.0 + 1);
        &mut self.modes[mode.0]
    }

    /// Counts bytes from and to clients.
    pub(crate) fn note_traffic(&mut self, traffic: Traffic) {
        self.bytes_received += traffic.received as u64;
        self.bytes_sent += traffic.sent as u64;
    }

    /// Counts an eviction.
    pub(crate) fn note_eviction(&mut self, mode: ModeId, reason: EvictReason) {
        if let Some(place) = EVICTIONS.iter().position(|it| *it == reason) {
            self.mode(mode).players_evicted[place] += 1;
        }
    }

    /// Counts an error that was sent to a client.
    pub(crate) fn note_error(&mut self, code: ErrorCode) {
        if let Some(place) = ErrorCode::ALL.iter().position(|it| *it == code) {
            self.errors[place] += 1;
        }
    }
}

impl FailedLaunch {
    pub(crate) const ALL: [Self; 3] = [Self::PortBusy, Self::Interrupted, Self::Other];

    pub(crate) fn of(fault: &LaunchFault) -> Self {
        match fault {
            LaunchFault::PortBusy => Self::PortBusy,
            LaunchFault::Interrupted => Self::Interrupted,
            LaunchFault::Other(_) => Self::Other,
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::PortBusy => "port_busy",
            Self::Interrupted => "interrupted",
            Self::Other => "other",
        }
    }
}

impl ExitCause {
    pub(crate) const ALL: [Self; 6] =
        [Self::Success, Self::Status, Self::Terminated, Self::Killed, Self::Signal, Self::Unknown];

    pub(crate) fn of(exit: Exit) -> Self {
        match exit {
            Exit::Status(0) => Self::Success,
            Exit::Status(_) => Self::Status,
            Exit::Signal(SIGTERM) => Self::Terminated,
            Exit::Signal(SIGKILL) => Self::Killed,
            Exit::Signal(_) => Self::Signal,
            Exit::Unknown => Self::Unknown,
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Status => "status",
            Self::Terminated => "terminated",
            Self::Killed => "killed",
            Self::Signal => "signal",
            Self::Unknown => "unknown",
        }
    }
}

/// The index of a fault in [`FAULTS`].
pub(crate) const fn fault_index(fault: &GameFault) -> usize {
    match fault {
        GameFault::NotLaunched(_) => 0,
        GameFault::NotReady => 1,
        GameFault::NotStarted => 2,
        GameFault::Ended(_) => 3,
        GameFault::Broken(_) => 4,
        GameFault::EndedSoon { .. } => 5,
    }
}
