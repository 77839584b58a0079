//! What goes into the brain and what comes out.

use std::fmt;
use std::time::Duration;

use protocol::{
    Account, ConnectionId, EvictReason, GameId, MatchId, ModeId, Notice, PlayerId, Seat, Secret,
};
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Something that happened. An input about a thing that is gone, or that comes too late, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A player wants to join a queue.
    Ready {
        /// The player's connection.
        connection: ConnectionId,
        /// The queue's name; `None` is the default queue.
        queue: Option<String>,
        /// The player's name; `None` gets one.
        name: Option<String>,
        /// What the player is able to, if that is known.
        skill: Option<i32>,
        /// The key that will name the session.
        resume_key: Secret,
        /// The token that will let the player into its game.
        token: Secret,
        /// Whom it is charged to.
        account: Account,
    },
    /// The first of a party wants all of it to join a queue, on one ticket.
    ReadyParty {
        /// The player's connection.
        connection: ConnectionId,
        /// The queue's name; `None` is the default queue.
        queue: Option<String>,
        /// For each of the party a resume key and a token, as many as [`party_size`](crate::Matchmaker::party_size)
        /// says.
        keys: Vec<(Secret, Secret)>,
    },
    /// A player gathers a party.
    CreateParty {
        /// The player's connection.
        connection: ConnectionId,
        /// What others join it by, drawn by the body.
        code: String,
        /// The player's name; `None` gets one.
        name: Option<String>,
        /// What the player is able to, if that is known.
        skill: Option<i32>,
        /// Whom it is charged to.
        account: Account,
    },
    /// A player wants to be in a party.
    JoinParty {
        /// The player's connection.
        connection: ConnectionId,
        /// The party's.
        code: String,
        /// The player's name; `None` gets one.
        name: Option<String>,
        /// What the player is able to, if that is known.
        skill: Option<i32>,
        /// Whom it is charged to.
        account: Account,
    },
    /// A player wants to be in its party no longer.
    LeaveParty {
        /// The player's connection.
        connection: ConnectionId,
    },
    /// A player wants to take up an earlier session.
    Resume {
        /// The player's connection.
        connection: ConnectionId,
        /// What it says is the key of the session; `None` has not even the form of one.
        key: Option<Secret>,
        /// The token that will let the player into its game again, if it comes to that.
        token: Secret,
        /// Whom it is charged to from now on.
        account: Account,
    },
    /// A player wants to leave.
    Leave {
        /// The player's connection.
        connection: ConnectionId,
    },
    /// A player goes for good.
    Quit {
        /// The player's connection.
        connection: ConnectionId,
    },
    /// A player answers a ready check.
    Answer {
        /// The player's connection.
        connection: ConnectionId,
        /// Whether it takes part in the match.
        accepts: bool,
    },
    /// A connection is gone, from whatever side.
    Lost {
        /// The connection.
        connection: ConnectionId,
    },
    /// A game's process exists.
    Launched {
        /// The game.
        game: GameId,
    },
    /// A game's process could not be made.
    LaunchFailed {
        /// The game.
        game: GameId,
        /// Why.
        fault: LaunchFault,
    },
    /// A game said `ready`.
    GameReady {
        /// The game.
        game: GameId,
    },
    /// A game said `started`.
    GameStarted {
        /// The game.
        game: GameId,
    },
    /// A game said `joined`.
    GameJoined {
        /// The game.
        game: GameId,
        /// Who, by slot.
        slot: usize,
    },
    /// A game said `left`.
    GameLeft {
        /// The game.
        game: GameId,
        /// Who, by slot.
        slot: usize,
    },
    /// A game said `backfill`.
    GameBackfill {
        /// The game.
        game: GameId,
        /// The slots that are open.
        slots: Vec<usize>,
    },
    /// A game said `alive`.
    GameAlive {
        /// The game.
        game: GameId,
    },
    /// A game said `result`.
    GameResult {
        /// The game.
        game: GameId,
        /// The result's own fields, as JSON.
        result: String,
    },
    /// A game broke the contract; nothing it says can be trusted any more.
    GameBroken {
        /// The game.
        game: GameId,
        /// What it did, for the log.
        what: String,
    },
    /// A game and all it left behind are dead, and its last words were heard.
    GameExited {
        /// The game.
        game: GameId,
        /// How.
        exit: Exit,
    },
    /// Nothing of a game is left, and something else holds its port, or a connection of its own that is not forgotten yet.
    /// `GameExited` follows.
    PortTaken {
        /// The game.
        game: GameId,
    },
    /// Send a player out who waits.
    Kick {
        /// The player.
        player: PlayerId,
    },
    /// End a game, whoever plays there.
    EndGame {
        /// The game.
        game: GameId,
        /// Whether it is killed at once, without its grace.
        now: bool,
    },
    /// Go on with another configuration; one that cannot be gone on with changes nothing, see
    /// [`Matchmaker::may_reconfigure`](crate::Matchmaker::may_reconfigure).
    Reconfigure(Box<Config>),
    /// Take nobody in, let running games end, then stop.
    Drain,
    /// Take players in again, unless no game was left already. Games that were told to end do so.
    Undrain,
    /// Stop now.
    Stop,
}

/// Something to do. Each carries all that is needed to do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a player a message.
    Send {
        /// The player's connection.
        to: ConnectionId,
        /// The message.
        notice: Notice,
    },
    /// Tell a running game who comes into its open slots.
    Fill {
        /// The game.
        game: GameId,
        /// The players, by slot.
        seats: Vec<Seat>,
    },
    /// Tell a running game that a player comes back, whose token is another one from now on.
    Rejoin {
        /// The game.
        game: GameId,
        /// Who, and the new token.
        seat: Seat,
    },
    /// Make a game's process; answered by `Launched` or `LaunchFailed`.
    Launch {
        /// The game.
        game: GameId,
        /// Its mode.
        mode: ModeId,
        /// Its port.
        port: u16,
        /// The match that it is launched for, where its mode seats players at launch. No `Start` follows.
        seated: Option<SeatedMatch>,
    },
    /// Send a game its players.
    Start {
        /// The game.
        game: GameId,
        /// Its mode.
        mode: ModeId,
        /// The match.
        match_id: MatchId,
        /// Its players, by slot.
        seats: Vec<Seat>,
    },
    /// Ask a game to end.
    Stop {
        /// The game.
        game: GameId,
        /// The time until SIGKILL.
        grace: Duration,
    },
    /// Send a game SIGTERM.
    Terminate {
        /// The game.
        game: GameId,
    },
    /// Send SIGKILL to a game, its process group, and all others that belong to it. Said again as long as the
    /// game is not gone.
    Kill {
        /// The game.
        game: GameId,
    },
    /// Write something into the log.
    Report(Event),
    /// The drain is over: no game is left.
    Drained,
}

/// A match whose players a game gets at birth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatedMatch {
    /// The match.
    pub match_id: MatchId,
    /// Its players, by slot.
    pub seats: Vec<Seat>,
}

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
        /// Who comes into them.
        players: Vec<PlayerId>,
    },
    /// A player came into the game.
    PlayerJoined {
        /// The match.
        match_id: MatchId,
        /// Who, by slot.
        slot: usize,
    },
    /// A player left the game.
    PlayerLeft {
        /// The match.
        match_id: MatchId,
        /// Who, by slot.
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
        /// What it did.
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
    /// Whoever makes processes died with this order. It says nothing about the mode, and the port is free.
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

/// What a game did that cost it its match.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchEnd {
    /// Its game ended by itself.
    Finished(Exit),
    /// Its game was stopped, and ended so.
    Stopped(Exit),
}
