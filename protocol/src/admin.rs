//! The admin contract: requests of operators and the daemon's answers, one JSON object per line in both directions, on
//! a Unix socket that only the daemon's user and root may open.
//!
//! Unknown fields are ignored. A request that cannot be served is answered with `{"error":"..."}` ([`Refusal`]).

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use crate::report::GamePhase;

/// Reports in an answer when the request names no number.
pub const LAST_DEFAULT: usize = 20;

/// Larger than every id, and still a number that JSON readers represent exactly: 2^53 - 1.
pub const ID_END: u64 = (1 << 53) - 1;

/// The longest request, in bytes.
pub const REQUEST_MAX: usize = 4096;

/// A request: `{"request":"games","last":20}`, `{"request":"status"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// The living games, and the last ones that ended.
    Games {
        /// Reports of ended games, at most.
        #[serde(default = "last_default")]
        last: usize,
        /// Only reports with a lower number.
        #[serde(default = "newest")]
        before: u64,
        /// Only living games from this id on.
        #[serde(default)]
        from: u64,
    },
    /// One game, living or ended.
    Game {
        /// Its id.
        game: u64,
    },
    /// The waiting players.
    Players {
        /// Only players from this id on.
        #[serde(default)]
        from: u64,
    },
    /// The daemon's state.
    Status {
        /// Reset the longest iteration of the loop.
        #[serde(default)]
        reset_turns: bool,
        /// Include the state of every port and the last log lines.
        #[serde(default)]
        watch: bool,
    },
    /// Set the log level.
    Log {
        /// A level, as in the key `log.level`.
        level: String,
    },
    /// The matchmaker's state, without secrets.
    Dump,
    /// Refuse new players, and exit when the games have ended.
    Drain,
    /// Cancel a drain.
    Undrain,
    /// Reload the configuration.
    Reload,
    /// Remove a waiting player.
    Kick {
        /// Their id.
        player: u64,
    },
    /// End a game.
    Kill {
        /// Its id.
        game: u64,
        /// Skip the grace period.
        #[serde(default)]
        now: bool,
    },
    /// Exit, and leave games, queue positions and the listener to the next daemon. Answered when it is done or refused.
    Handover,
    /// Replace the program in place. Answered by the new program, or when it is refused.
    Upgrade {
        /// The program; by default the one that the daemon was started as, looked up again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        binary: Option<PathBuf>,
    },
}

/// A page of the answer to `games`. `R` is a [`Report`], owned or borrowed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Games<R> {
    /// In the order of their launch.
    pub living: Vec<LivingGame>,
    /// The newest first.
    pub ended: Vec<R>,
    /// The request for the next page, if there is one.
    pub next: Option<Request>,
}

/// A game that has not ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct LivingGame {
    /// Its id.
    pub game: String,
    /// The name of its mode.
    pub mode: String,
    /// The id of its match.
    #[serde(rename = "match")]
    pub match_id: Option<String>,
    /// Its phase.
    pub phase: GamePhase,
    /// The pid of its process, once it exists.
    pub pid: Option<i32>,
    /// Its UDP port.
    pub port: u16,
    /// Milliseconds since the launch was ordered.
    pub age_ms: u64,
    /// The players' names, by slot.
    pub players: Vec<String>,
}

/// The state of a UDP port: free, used by a game in one of its phases, quarantined, or held by another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortState {
    /// No game has it.
    Free,
    /// A game has it.
    Leased(GamePhase),
    /// Its last game ended a short time ago.
    Quarantined,
    /// Another program holds it.
    Busy,
}

impl PortState {
    /// All states, in the order in which a port passes through them.
    pub const ALL: [Self; 8] = [
        Self::Free,
        Self::Leased(GamePhase::Launching),
        Self::Leased(GamePhase::Warm),
        Self::Leased(GamePhase::Starting),
        Self::Leased(GamePhase::Running),
        Self::Leased(GamePhase::Stopping),
        Self::Quarantined,
        Self::Busy,
    ];

    /// The letter that stands for it, one per port: in [`Watch::ports`] and on the web page.
    pub const fn letter(self) -> char {
        match self {
            Self::Free => '.',
            Self::Leased(GamePhase::Launching) => 'l',
            Self::Leased(GamePhase::Warm) => 'w',
            Self::Leased(GamePhase::Starting) => 's',
            Self::Leased(GamePhase::Running) => 'r',
            Self::Leased(GamePhase::Stopping) => 'e',
            Self::Quarantined => 'q',
            Self::Busy => 'b',
        }
    }

    /// The name for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Leased(phase) => phase.word(),
            Self::Quarantined => "quarantined",
            Self::Busy => "busy",
        }
    }
}

/// The answer to `status`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's pid.
    pub pid: u32,
    /// Milliseconds since the daemon's start.
    pub uptime_ms: u64,
    /// Whether new players are accepted; if not, the daemon drains.
    pub serving: bool,
    /// By mode, in the order of the configuration.
    pub queues: Vec<QueueStatus>,
    /// The port ring.
    pub ports: PortStatus,
    /// The launcher's pid; none while it restarts.
    pub launcher: Option<i32>,
    /// The living templates.
    pub templates: Vec<TemplateStatus>,
    /// The reports of ended games.
    pub reports: ReportStatus,
    /// The loop's iterations.
    pub turns: LoopStats,
    /// Matches whose players were sent their game's address.
    #[serde(default)]
    pub matches_assigned: u64,
    /// Present if the request asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
}

/// The details of a status that only a live view shows.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Watch {
    /// The letter of each port's [`PortState`], from the first port on.
    pub ports: String,
    /// The last lines of the log.
    pub events: Vec<String>,
}

/// The answer to `game`.
#[derive(Debug, Serialize, Deserialize)]
pub struct OneGame<R> {
    /// Present if it has not ended.
    pub living: Option<LivingGame>,
    /// Present if its report is kept.
    pub ended: Option<R>,
}

/// A page of the answer to `players`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Players {
    /// In the order in which they joined.
    pub players: Vec<WaitingPlayer>,
    /// The request for the next page, if there is one.
    pub next: Option<Request>,
}

/// A waiting player.
#[derive(Debug, Serialize, Deserialize)]
pub struct WaitingPlayer {
    /// The id.
    pub player: String,
    /// The name.
    pub name: String,
    /// The name of the mode.
    pub queue: String,
    /// The id of the match, while its game is not running.
    #[serde(rename = "match")]
    pub match_id: Option<String>,
    /// Milliseconds since the player joined.
    pub waited_ms: u64,
    /// Whether the player is connected; if not, the position is kept for the resume window.
    pub here: bool,
}

/// The answer to a request that changes something.
#[derive(Debug, Serialize, Deserialize)]
pub struct Done {
    /// The result, for people.
    pub done: String,
    /// Warnings about the result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The state of a mode's queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct QueueStatus {
    /// The name of the mode.
    pub queue: String,
    /// Waiting players who are connected.
    pub waiting: usize,
    /// Living games.
    pub games: usize,
    /// Waiting players who are not connected.
    #[serde(default)]
    pub away: usize,
    /// Milliseconds that the first player in the queue has waited.
    #[serde(default)]
    pub oldest_ms: Option<u64>,
    /// Whether the mode's games keep failing.
    #[serde(default)]
    pub failing: bool,
    /// The last failure, while they keep failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the mode was removed from the configuration. It is listed until no player waits and no game is left.
    #[serde(default)]
    pub removed: bool,
}

/// The port ring.
#[derive(Debug, Serialize, Deserialize)]
pub struct PortStatus {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
    /// Free ports.
    pub free: usize,
}

/// A living template.
#[derive(Debug, Serialize, Deserialize)]
pub struct TemplateStatus {
    /// The name of its mode.
    pub mode: String,
    /// Its pid.
    pub pid: i32,
}

/// The reports of ended games, in numbers.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ReportStatus {
    /// Games that have ended.
    pub ended: u64,
    /// Reports that are kept.
    pub kept: usize,
    /// Bytes that they take.
    pub bytes: usize,
}

/// Iterations of the daemon's loop. While one lasts, everything else waits.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct LoopStats {
    /// Since the start, or since the last reset.
    pub count: u64,
    /// The longest, in microseconds.
    pub longest_us: u64,
}

impl LoopStats {
    /// Counts an iteration.
    pub fn note(&mut self, took: std::time::Duration) {
        self.count += 1;
        self.longest_us = self.longest_us.max(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

/// The answer to `upgrade`, from the new program.
#[derive(Debug, Serialize, Deserialize)]
pub struct Upgraded {
    /// The version of the program before.
    pub from: String,
    /// The version of this program.
    pub to: String,
    /// The pid, which has not changed.
    pub pid: u32,
    /// The pause in service, in microseconds.
    pub gap_us: u64,
}

/// The answer to a request that cannot be served.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Why, for people.
    pub error: String,
}

/// The report of an ended game.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Counts the ended games, from 1.
    pub number: u64,
    /// When the game ended: RFC 3339, in UTC.
    pub ended_at: String,
    /// Its id.
    pub game: String,
    /// The name of its mode.
    pub mode: String,
    /// The id of its match, if the players were sent to it.
    #[serde(rename = "match")]
    pub match_id: Option<String>,
    /// The pid of its process.
    pub pid: i32,
    /// Its UDP port.
    pub port: u16,
    /// How the process ended.
    pub exit: ExitWord,
    /// The configuration key of the limit that ended it, if one did and is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Milliseconds from the order to launch it to its end.
    pub lived_ms: u64,
    /// CPU time in user mode in microseconds, reaped children included.
    pub cpu_user_us: u64,
    /// CPU time in the kernel in microseconds, reaped children included.
    pub cpu_system_us: u64,
    /// The highest resident memory, in KiB.
    pub memory_peak_kib: u64,
    /// By slot.
    pub players: Vec<ReportedPlayer>,
    /// Whether the game reports which players joined. One with `contract = "plain"` does not.
    #[serde(default = "yes")]
    pub joined_known: bool,
    /// The fields of the game's result, as the game sent them.
    pub result: Option<Box<RawValue>>,
}

/// A player in a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedPlayer {
    /// The slot in the match.
    pub slot: usize,
    /// The name.
    pub name: String,
    /// Whether the game reported that the player joined.
    pub joined: bool,
}

/// How a process ended: `{"status":0}`, `{"signal":9}` or `"unknown"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitWord {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
    /// It ended while no daemon ran.
    Unknown,
}

impl fmt::Display for ExitWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("unknown exit status"),
        }
    }
}

impl Report {
    /// Its size in memory, in bytes, approximately.
    pub fn bytes(&self) -> usize {
        let player = |it: &ReportedPlayer| it.name.len() + size_of::<ReportedPlayer>();
        let result = self.result.as_ref().map_or(0, |result| result.get().len());
        let players: usize = self.players.iter().map(player).sum();
        size_of::<Self>() + players + result + self.mode.len()
    }
}

const fn last_default() -> usize {
    LAST_DEFAULT
}

const fn newest() -> u64 {
    ID_END
}

/// For reports by a daemon that did not know the field.
const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_defaults_and_unknown_ones_are_refused() {
        let parse = |text: &str| serde_json::from_str::<Request>(text);
        let all = Request::Games { last: LAST_DEFAULT, before: ID_END, from: 0 };
        assert_eq!(parse(r#"{"request":"games"}"#).unwrap(), all);
        let few = Request::Games { last: 3, before: ID_END, from: 0 };
        assert_eq!(parse(r#"{"request":"games","last":3,"new":true}"#).unwrap(), few);
        let status = Request::Status { reset_turns: false, watch: false };
        assert_eq!(parse(r#"{"request":"status"}"#).unwrap(), status);
        let error = parse(r#"{"request":"magic"}"#).unwrap_err().to_string();
        assert!(
            error.contains("unknown variant `magic`, expected one of `games`, `game`"),
            "{error}"
        );
    }

    #[test]
    fn every_port_state_has_a_letter_of_its_own() {
        let letters: std::collections::BTreeSet<char> =
            PortState::ALL.iter().map(|state| state.letter()).collect();
        assert_eq!(letters.len(), PortState::ALL.len());
    }
}
