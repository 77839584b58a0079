//! What operators ask of a running daemon, and the answers: one JSON object per line, both ways, on a Unix socket that
//! only the daemon's own user and root may open.
//!
//! Here is the shape of both; [`socket`] is the daemon's end, and [`ask`] that of `muster games` and
//! `muster status`, which [`tables`] shows to people. Unknown fields are ignored; a request that cannot be served
//! is answered with `{"error":"…"}`.

pub(crate) mod ask;
pub(crate) mod socket;
pub(crate) mod tables;

use std::path::PathBuf;

use matchmaker::GameStage;
use serde::{Deserialize, Serialize};

/// The reports in an answer when nobody says how many.
pub(crate) const LAST_DEFAULT: usize = 20;

/// After every number that there will be, and still a number that all readers of JSON know to the last digit.
pub(crate) const END: u64 = (1 << 53) - 1;

/// The longest request, in bytes.
pub(crate) const REQUEST_MAX: usize = 4096;

/// A request: `{"request":"games","last":20}`, `{"request":"status"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub(crate) enum Request {
    /// The living games, and the last ones that ended.
    Games {
        /// So many reports at most.
        #[serde(default = "last_default")]
        last: usize,
        /// Only of games that ended before the one with this number.
        #[serde(default = "newest")]
        before: u64,
        /// Only living games from this one on.
        #[serde(default)]
        from: u64,
    },
    /// One game, living or not.
    Game {
        /// Which.
        game: u64,
    },
    /// Who waits.
    Players {
        /// Only players from this one on.
        #[serde(default)]
        from: u64,
    },
    /// How the daemon is.
    Status {
        /// Whether the longest turn is to be measured anew from here on.
        #[serde(default)]
        reset_turns: bool,
        /// Whether every port is told, and what happened last.
        #[serde(default)]
        watch: bool,
    },
    /// Log so much from here on.
    Log {
        /// A level, as log.level has it.
        level: String,
    },
    /// What the brain knows, without secrets.
    Dump,
    /// Take nobody in, and end when the games have.
    Drain,
    /// Take players in again.
    Undrain,
    /// Go on with the configuration as it is now.
    Reload,
    /// Send a player out who waits.
    Kick {
        /// Which.
        player: u64,
    },
    /// End a game.
    Kill {
        /// Which.
        game: u64,
        /// Whether without its grace.
        #[serde(default)]
        now: bool,
    },
    /// End, and leave games, places and the listening socket to the next daemon. Answered when it is done, or is refused.
    Handover,
    /// Go on as another program, in the same process. Answered when it has taken over, or is refused.
    Upgrade {
        /// The program; as a default what the daemon was started as, looked up anew.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        binary: Option<PathBuf>,
    },
}

/// The answer to `games`: a page of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Games<R> {
    /// In the order of their launch.
    pub(crate) living: Vec<LivingGame>,
    /// The newest first.
    pub(crate) ended: Vec<R>,
    /// The request that gets the next page, if there is one.
    pub(crate) next: Option<Request>,
}

/// A game that has not ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LivingGame {
    pub(crate) game: String,
    pub(crate) mode: String,
    #[serde(rename = "match")]
    pub(crate) match_id: Option<String>,
    pub(crate) phase: GameStage,
    /// As soon as there is a process.
    pub(crate) pid: Option<i32>,
    pub(crate) port: u16,
    /// Since the order to launch it.
    pub(crate) age_ms: u64,
    /// Their names, by slot.
    pub(crate) players: Vec<String>,
}

/// The answer to `status`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) pid: u32,
    pub(crate) uptime_ms: u64,
    /// Whether players are taken in; if not, the daemon drains.
    pub(crate) serving: bool,
    pub(crate) queues: Vec<QueueStatus>,
    pub(crate) ports: PortStatus,
    /// The pid of the process that makes the games; none while it is started anew.
    pub(crate) launcher: Option<i32>,
    pub(crate) templates: Vec<TemplateStatus>,
    pub(crate) reports: ReportStatus,
    pub(crate) turns: Turns,
    /// Matches whose players were told where to play.
    #[serde(default)]
    pub(crate) matches_assigned: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) watch: Option<Watch>,
}

/// What only who watches wants to know.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Watch {
    /// A letter for each port, from the first on; see [`PORT_LETTERS`].
    pub(crate) ports: String,
    /// The last lines of the log.
    pub(crate) events: Vec<String>,
}

/// What a letter means for a port, in the order in which a port passes through it.
pub(crate) const PORT_LETTERS: [(char, &str); 8] = [
    ('.', "free"),
    ('l', "launching"),
    ('w', "warm"),
    ('s', "starting"),
    ('r', "running"),
    ('e', "stopping"),
    ('q', "quarantined"),
    ('b', "busy"),
];

/// The answer to `game`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OneGame<R> {
    pub(crate) living: Option<LivingGame>,
    pub(crate) ended: Option<R>,
}

/// The answer to `players`: a page of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Players {
    /// In the order in which they came.
    pub(crate) players: Vec<WaitingPlayer>,
    /// The request that gets the next page, if there is one.
    pub(crate) next: Option<Request>,
}

/// A player who waits.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WaitingPlayer {
    pub(crate) player: String,
    pub(crate) name: String,
    pub(crate) queue: String,
    /// Its match, which has no game that plays yet.
    #[serde(rename = "match")]
    pub(crate) match_id: Option<String>,
    pub(crate) waited_ms: u64,
    /// Whether it is connected; if not, its place is kept for a while.
    pub(crate) here: bool,
}

/// The answer to what changes something.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// What was done, for people.
    pub(crate) done: String,
    /// What the operator should know about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

/// A queue, as STATUS tells it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct QueueStatus {
    pub(crate) queue: String,
    pub(crate) waiting: usize,
    pub(crate) games: usize,
    #[serde(default)]
    pub(crate) away: usize,
    /// How long the one waits who joined first.
    #[serde(default)]
    pub(crate) oldest_ms: Option<u64>,
    /// Whether its games keep failing.
    #[serde(default)]
    pub(crate) failing: bool,
    /// What the last one did that failed, while they keep failing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Whether its mode was removed; it is told of as long as somebody waits or plays.
    #[serde(default)]
    pub(crate) removed: bool,
}

/// The ring of ports.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PortStatus {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) free: usize,
}

/// A template that lives.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TemplateStatus {
    pub(crate) mode: String,
    pub(crate) pid: i32,
}

/// The reports of games that ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReportStatus {
    /// Games that have ended.
    pub(crate) ended: u64,
    /// Reports of them that can be asked for.
    pub(crate) kept: usize,
    /// What these take, in bytes.
    pub(crate) bytes: usize,
}

/// How long the loop was busy between two looks at the kernel: so long everybody else had to wait.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Turns {
    /// Since the start, or since they were last reset.
    pub(crate) count: u64,
    /// The longest of these, in microseconds.
    pub(crate) longest_us: u64,
}

/// The answer to `upgrade`, from the new program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Upgraded {
    /// The version before.
    pub(crate) from: String,
    pub(crate) to: String,
    /// The same as before.
    pub(crate) pid: u32,
    /// For so long nobody was served, in microseconds.
    pub(crate) gap_us: u64,
}

/// The answer to what cannot be served.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) error: String,
}

impl Turns {
    /// A turn is over.
    pub(crate) fn note(&mut self, took: std::time::Duration) {
        self.count += 1;
        self.longest_us = self.longest_us.max(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

const fn last_default() -> usize {
    LAST_DEFAULT
}

const fn newest() -> u64 {
    END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_operators_write() {
        let parse = |text: &str| serde_json::from_str::<Request>(text);
        let all = Request::Games { last: LAST_DEFAULT, before: END, from: 0 };
        assert_eq!(parse(r#"{"request":"games"}"#).unwrap(), all);
        let few = Request::Games { last: 3, before: END, from: 0 };
        assert_eq!(parse(r#"{"request":"games","last":3,"new":true}"#).unwrap(), few);
        let status = Request::Status { reset_turns: false, watch: false };
        assert_eq!(parse(r#"{"request":"status"}"#).unwrap(), status);
        let error = parse(r#"{"request":"magic"}"#).unwrap_err().to_string();
        assert!(
            error.contains("unknown variant `magic`, expected one of `games`, `game`"),
            "{error}"
        );
    }
}
