//! Inputs and actions of the brain.

use std::time::Duration;

use hosting::SeatedMatch;
use protocol::report::{Event, Exit, LaunchFault};
use protocol::{Account, ConnectionId, GameId, MatchId, ModeId, Notice, PlayerId, Seat, Secret};
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
        /// The player's skill, if it is known.
        skill: Option<i32>,
        /// The key that will name the session.
        resume_key: Secret,
        /// The token that will let the player into its game.
        token: Secret,
        /// The account that it is charged to.
        account: Account,
    },
    /// The first of a party wants all of it to join a queue, on one ticket.
    ReadyParty {
        /// The player's connection.
        connection: ConnectionId,
        /// The queue's name; `None` is the default queue.
        queue: Option<String>,
        /// For each of the party a resume key and a token, as many as [`party_size`](crate::Brain::party_size)
        /// says.
        keys: Vec<(Secret, Secret)>,
    },
    /// A player gathers a party.
    CreateParty {
        /// The player's connection.
        connection: ConnectionId,
        /// The code by which others join it, drawn by the body.
        code: String,
        /// The player's name; `None` gets one.
        name: Option<String>,
        /// The player's skill, if it is known.
        skill: Option<i32>,
        /// The account that it is charged to.
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
        /// The player's skill, if it is known.
        skill: Option<i32>,
        /// The account that it is charged to.
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
        /// The key of the session; `None` does not have the form of a key.
        key: Option<Secret>,
        /// The token that will let the player into its game again, if it comes to that.
        token: Secret,
        /// The account that it is charged to from now on.
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
        /// The player's slot.
        slot: usize,
    },
    /// A game said `left`.
    GameLeft {
        /// The game.
        game: GameId,
        /// The player's slot.
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
        /// The violation, for the log.
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
    /// [`Brain::may_reconfigure`](crate::Brain::may_reconfigure).
    Reconfigure(Box<Config>),
    /// Take nobody in, let running games end, then stop.
    Drain,
    /// Take players in again, unless no game was left already. Games that were told to end do so.
    Undrain,
    /// Stop now.
    Stop,
}

/// Which part of the brain an input is for.
pub(crate) enum Recipient {
    /// The matchmaker.
    Matchmaker(matchmaker::Input),
    /// Hosting.
    Hosting(hosting::Input),
    /// Both.
    Both(Command),
}

/// An operator's command to both halves.
pub(crate) enum Command {
    Reconfigure(Config),
    Drain,
    Undrain,
    Stop,
}

impl Input {
    /// The half that the input is for, and its form there.
    pub(crate) fn recipient(self) -> Recipient {
        use hosting::Input as Game;
        use matchmaker::Input as Player;
        Recipient::Matchmaker(match self {
            Self::Ready { connection, queue, name, skill, resume_key, token, account } => {
                Player::Ready { connection, queue, name, skill, resume_key, token, account }
            }
            Self::ReadyParty { connection, queue, keys } => {
                Player::ReadyParty { connection, queue, keys }
            }
            Self::CreateParty { connection, code, name, skill, account } => {
                Player::CreateParty { connection, code, name, skill, account }
            }
            Self::JoinParty { connection, code, name, skill, account } => {
                Player::JoinParty { connection, code, name, skill, account }
            }
            Self::LeaveParty { connection } => Player::LeaveParty { connection },
            Self::Resume { connection, key, token, account } => {
                Player::Resume { connection, key, token, account }
            }
            Self::Leave { connection } => Player::Leave { connection },
            Self::Quit { connection } => Player::Quit { connection },
            Self::Answer { connection, accepts } => Player::Answer { connection, accepts },
            Self::Lost { connection } => Player::Lost { connection },
            Self::Kick { player } => Player::Kick { player },
            Self::Reconfigure(config) => return Recipient::Both(Command::Reconfigure(*config)),
            Self::Drain => return Recipient::Both(Command::Drain),
            Self::Undrain => return Recipient::Both(Command::Undrain),
            Self::Stop => return Recipient::Both(Command::Stop),
            game => {
                return Recipient::Hosting(match game {
                    Self::Launched { game } => Game::Launched { game },
                    Self::LaunchFailed { game, fault } => Game::LaunchFailed { game, fault },
                    Self::GameReady { game } => Game::Ready { game },
                    Self::GameStarted { game } => Game::Started { game },
                    Self::GameJoined { game, slot } => Game::Joined { game, slot },
                    Self::GameLeft { game, slot } => Game::Left { game, slot },
                    Self::GameBackfill { game, slots } => Game::Backfill { game, slots },
                    Self::GameAlive { game } => Game::Alive { game },
                    Self::GameResult { game, result } => Game::Result { game, result },
                    Self::GameBroken { game, what } => Game::Broken { game, what },
                    Self::GameExited { game, exit } => Game::Exited { game, exit },
                    Self::PortTaken { game } => Game::PortTaken { game },
                    Self::EndGame { game, now } => Game::End { game, now },
                    _ => unreachable!("an input of the matchmaker or of both halves"),
                });
            }
        })
    }
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
        /// The player's slot and new token.
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

impl From<hosting::Action> for Action {
    fn from(action: hosting::Action) -> Self {
        use hosting::Action as Game;
        match action {
            Game::Launch { game, mode, port, seated } => Self::Launch { game, mode, port, seated },
            Game::Start { game, mode, match_id, seats } => {
                Self::Start { game, mode, match_id, seats }
            }
            Game::Fill { game, seats } => Self::Fill { game, seats },
            Game::Rejoin { game, seat } => Self::Rejoin { game, seat },
            Game::Stop { game, grace } => Self::Stop { game, grace },
            Game::Terminate { game } => Self::Terminate { game },
            Game::Kill { game } => Self::Kill { game },
            Game::Report(event) => Self::Report(event),
            Game::Drained => Self::Drained,
        }
    }
}
