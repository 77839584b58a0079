//! Events that the brain reports to operators, and how launches, games and matches end.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::placement::GameSource;
use crate::{Account, EvictReason, GameId, MatchId, ModeId, PlayerId};

/// Something worth telling the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A player's connection is lost; its place is kept.
    PlayerAway {
        /// The player.
        player: PlayerId,
        /// Its mode.
        mode: ModeId,
        /// How long its place is kept.
        window: Duration,
    },
    /// A player who was away, or on another connection, is here.
    PlayerReturned {
        /// The player.
        player: PlayerId,
        /// Its mode.
        mode: ModeId,
    },
    /// A player was away for too long.
    PlayerExpired {
        /// The player.
        player: PlayerId,
        /// Its mode.
        mode: ModeId,
    },
    /// A player has waited for others for as long as its mode lets it.
    PlayerTimedOut {
        /// The player.
        player: PlayerId,
        /// Its mode.
        mode: ModeId,
        /// How long.
        waited: Duration,
    },
    /// A player has lost its place because of what it did, or did not do.
    PlayerEvicted {
        /// The player.
        player: PlayerId,
        /// Its mode.
        mode: ModeId,
        /// Why.
        reason: EvictReason,
    },
    /// A player was told where to play for the first time.
    PlayerAssigned {
        /// The player.
        player: PlayerId,
        /// Its mode.
        mode: ModeId,
        /// How long the player waited since joining the queue.
        waited: Duration,
    },
    /// The players of an account are passed over for a while: seats that it was given were not taken, or matches that were
    /// offered to it came to nothing because of it.
    AccountPaused {
        /// Which.
        account: Account,
        /// For how long.
        pause: Duration,
    },
    /// A match was formed.
    MatchFormed {
        /// The match.
        match_id: MatchId,
        /// Its mode.
        mode: ModeId,
        /// Its players, in the order of their tickets.
        players: Vec<PlayerId>,
    },
    /// A match came to nothing; its players stand where they stood.
    MatchDissolved {
        /// The match.
        match_id: MatchId,
        /// Its mode.
        mode: ModeId,
        /// The first who went, or its last player, who makes room for one who came before.
        player: PlayerId,
    },
    /// A match's players were told where to play.
    MatchAssigned {
        /// The match.
        match_id: MatchId,
        /// Its mode.
        mode: ModeId,
        /// Its game.
        game: GameId,
        /// The game's port.
        port: u16,
        /// How long the match waited for its game.
        waited: Duration,
        /// Where the game comes from.
        source: GameSource,
    },
    /// Others come into a running match, in the place of players who went.
    MatchBackfilled {
        /// The match.
        match_id: MatchId,
        /// Its mode.
        mode: ModeId,
        /// Its game.
        game: GameId,
        /// The slots.
        slots: Vec<usize>,
        /// The players who join.
        players: Vec<PlayerId>,
    },
    /// A player came into the game.
    PlayerJoined {
        /// The match.
        match_id: MatchId,
        /// The player's slot.
        slot: usize,
    },
    /// A player left the game.
    PlayerLeft {
        /// The match.
        match_id: MatchId,
        /// The player's slot.
        slot: usize,
    },
    /// A match has a result.
    MatchResult {
        /// The match.
        match_id: MatchId,
        /// Its mode.
        mode: ModeId,
        /// Its game.
        game: GameId,
        /// The result's own fields, as JSON.
        result: String,
    },
    /// A match is over.
    MatchEnded {
        /// The match.
        match_id: MatchId,
        /// Its mode.
        mode: ModeId,
        /// Its game.
        game: GameId,
        /// How.
        end: MatchEnd,
        /// How long it lasted since its players were told.
        lasted: Duration,
    },
    /// A game is warm.
    GameWarm {
        /// The game.
        game: GameId,
        /// Its mode.
        mode: ModeId,
    },
    /// A game failed before its players were told of it.
    GameFailed {
        /// The game.
        game: GameId,
        /// Its mode.
        mode: ModeId,
        /// The fault.
        fault: GameFault,
        /// The pause before the mode's next try.
        retry_in: Duration,
    },
    /// A game is asked to end.
    GameStopping {
        /// The game.
        game: GameId,
        /// Why.
        reason: StopReason,
    },
    /// A game is gone. Reported once for every game whose process existed, after the end of its match.
    GameEnded {
        /// The game.
        game: GameId,
        /// Its mode.
        mode: ModeId,
        /// The match that was played there, if its players were told of the game.
        match_id: Option<MatchId>,
        /// How it ended.
        exit: Exit,
        /// How long it lived, counted from the order to launch it.
        lived: Duration,
        /// The players who came into the game, by slot, in their order, each once.
        joined: Vec<usize>,
    },
    /// Something outside Muster sits on a port of the ring.
    PortBusy {
        /// The port.
        port: u16,
        /// How long Muster leaves it alone.
        rest: Duration,
        /// Whether it was not told for a while.
        is_news: bool,
    },
    /// A port came back from a game.
    PortReturned {
        /// The port.
        port: u16,
        /// How long it rests.
        rest: Duration,
    },
    /// The drain began.
    Draining {
        /// Games with players.
        games: usize,
        /// How long they may go on.
        timeout: Duration,
    },
}

/// Why a game is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// An operator ends it, with its grace.
    Operator,
    /// An operator kills it.
    OperatorKill,
    /// The daemon shuts down.
    Shutdown,
    /// The drain has lasted as long as it may.
    DrainTimeout(Duration),
    /// A match of another mode waits for its port.
    PortNeeded,
    /// More games are warm than are wanted.
    Surplus,
    /// Its mode was closed, or runs another program.
    ModeChanged,
    /// Its match has lasted as long as it may.
    MaxDuration(Duration),
    /// It sent no heartbeat for this long.
    AliveTimeout(Duration),
    /// It broke the contract, in this way.
    BrokeContract(String),
    /// It is still there some time after SIGKILL, which is sent again.
    OutlivedKill,
}

/// Why a process could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LaunchFault {
    /// Something outside Muster holds the port.
    PortBusy,
    /// The launcher died with this order. It says nothing about the mode, and the port is free.
    Interrupted,
    /// Anything else, for the log.
    Other(String),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
    /// Nobody saw how: the body was not there.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exit status {status}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("an end that nobody saw"),
        }
    }
}

/// A fault by which a game lost its match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GameFault {
    /// Its process could not be made.
    NotLaunched(String),
    /// It did not say `ready` in time.
    NotReady,
    /// It did not say `started` in time.
    NotStarted,
    /// It ended.
    Ended(Exit),
    /// It broke the contract.
    Broken(String),
    /// It ended so soon after its players were sent there, as others of its mode did before.
    EndedSoon {
        /// How.
        exit: Exit,
        /// How soon.
        lasted: Duration,
    },
}

impl fmt::Display for GameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLaunched(why) => write!(f, "could not be launched: {why}"),
            Self::NotReady => f.write_str("did not say ready in time"),
            Self::NotStarted => f.write_str("did not say started in time"),
            Self::Ended(exit) => write!(f, "ended with {exit} before it had started"),
            Self::Broken(what) => write!(f, "broke the contract: {what}"),
            Self::EndedSoon { exit, lasted } => {
                write!(
                    f,
                    "ended with {exit} {} ms after its players were sent there, as did those before it",
                    lasted.as_millis()
                )
            }
        }
    }
}

/// How a match ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchEnd {
    /// Its game ended by itself.
    Finished(Exit),
    /// Its game was stopped, and ended so.
    Stopped(Exit),
}

/// The phase of a game that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GamePhase {
    /// The process is being made, or loads.
    Launching,
    /// The game waits for players.
    Warm,
    /// The game has its players, who are not notified yet.
    Starting,
    /// The players are notified.
    Running,
    /// The game is being stopped.
    Stopping,
}

impl GamePhase {
    /// All phases, in the order in which a game passes through them.
    pub const ALL: [Self; 5] =
        [Self::Launching, Self::Warm, Self::Starting, Self::Running, Self::Stopping];

    /// The name, as in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Launching => "launching",
            Self::Warm => "warm",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
        }
    }
}
