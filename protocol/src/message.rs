//! Requests of players and messages to them, as types, without a wire: every front renders them in its own way. The lines
//! of `muster/1` are in [`text`](crate::text).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{GameId, MatchId, ModeId, Secret};

/// A request of a player. Its `Display` is its line of `muster/1`, without the line end.
///
/// ```
/// use protocol::Request;
/// let request = Request::parse(b"ready queue=duel name=ada%20l").unwrap().unwrap();
/// assert_eq!(request.to_string(), "READY queue=duel name=ada%20l");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Join a queue, or resume an earlier session by its key.
    Ready {
        /// The queue's name; `None` is the default queue.
        queue: Option<String>,
        /// The player's name, 1 to [`NAME_MAX`](crate::NAME_MAX) bytes of any UTF-8: escape it wherever it is shown.
        name: Option<String>,
        /// The player's skill, as reported by a front that Muster trusts.
        skill: Option<i32>,
        /// The key of the session to resume, as the client wrote it.
        resume: Option<ResumeKey>,
    },
    /// Join a queue with all of one's party, on one ticket.
    ReadyParty {
        /// The queue's name; `None` is the default queue.
        queue: Option<String>,
    },
    /// Create a party. Muster draws its code.
    CreateParty(Member),
    /// Join a party.
    JoinParty {
        /// The party's code.
        code: String,
        /// The player who joins it.
        member: Member,
    },
    /// Leave the party.
    LeaveParty,
    /// Leave the queue or the match that was formed.
    Leave,
    /// Take part in the match that was found.
    Accept,
    /// Do not take part in the match that was found.
    Decline,
    /// Request a PONG. Holds the text to be returned.
    Ping(String),
    /// Ask how full the queues are.
    Status,
    /// Ask for the verbs.
    Help,
    /// Close the connection.
    Quit,
}

/// The profile of a party member, as reported by them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    /// The player's name, as in READY.
    pub name: Option<String>,
    /// The player's skill, as in READY.
    pub skill: Option<i32>,
}

/// A resume key as a client wrote it. One that does not have the form of a key is treated as unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumeKey {
    /// A text with the form of a key.
    Key(Secret),
    /// Any other text.
    Malformed,
}

/// A message to a player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The player has a position in a queue.
    Queued {
        /// The queue.
        mode: ModeId,
        /// The position, from 1.
        position: usize,
        /// Players in a match.
        needed: usize,
        /// The key that names the session.
        resume_key: Secret,
    },
    /// The player has left the queue, the match or the party.
    Left,
    /// The player's match was dissolved; the player keeps their position.
    Requeued {
        /// The queue.
        mode: ModeId,
        /// The position, from 1.
        position: usize,
    },
    /// The player's match is formed and waits for a game.
    Waiting {
        /// The queue.
        mode: ModeId,
        /// Why it waits.
        reason: WaitReason,
        /// Matches ahead of it in all modes, where it waits for a port.
        ahead: Option<usize>,
    },
    /// A match was found, which the player has to accept.
    Found {
        /// The match.
        match_id: MatchId,
        /// How long the player may take.
        accept_within: Duration,
    },
    /// How many players have accepted the match that was found.
    Accepted {
        /// Players who have.
        count: usize,
        /// Players in the match.
        of: usize,
    },
    /// The player lost their position, and may queue again.
    Evicted {
        /// Why.
        reason: EvictReason,
    },
    /// A round is over in which no match was found. After the last round the player is no longer queued.
    Expired {
        /// How long the player has waited in all rounds.
        waited: Duration,
        /// The round, from 1.
        round: u32,
        /// How many rounds there are.
        rounds: u32,
    },
    /// The player's party has changed.
    Party {
        /// The code by which others join it.
        code: String,
        /// Players in it.
        size: usize,
    },
    /// Another connection resumed the player's session.
    Replaced,
    /// Where to play.
    Assigned(Assignment),
    /// A request was declined.
    Refused(Refusal),
}

/// Where a player plays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The mode.
    pub mode: ModeId,
    /// The match.
    pub match_id: MatchId,
    /// The game that it is played in.
    pub game: GameId,
    /// The game's port.
    pub port: u16,
    /// The player's slot in the match, from 0.
    pub slot: usize,
    /// Players in the match.
    pub players: usize,
    /// The secret that lets the player into the game.
    pub token: Secret,
}

/// Why a player lost their position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvictReason {
    /// The player declined a match that was found.
    Declined,
    /// The player neither accepted nor declined a match in time.
    Timeout,
    /// A member of the player's party lost their position.
    Party,
    /// An operator removed the player.
    Kicked,
    /// The mode is no longer played, or not with parties of that size.
    ModeRemoved,
    /// The player was away, and a connected player or a later one of the same address took the position.
    Displaced,
}

/// Why a match waits for its game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitReason {
    /// Every port of the ring is taken.
    NoPort,
    /// A game is being launched.
    GameStarting,
    /// The mode's games keep failing, and the next launch is delayed.
    GameFailing,
}

/// Why a request was declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The player is queued already.
    AlreadyQueued,
    /// The player is not queued.
    NotQueued,
    /// No match waits for the player's answer.
    NothingToAnswer,
    /// The daemon is draining and accepts no players.
    Draining,
    /// No queue has this name.
    UnknownQueue,
    /// The queue is full.
    QueueFull,
    /// The player's account pauses, since its players did not join their games or declined too many matches.
    Paused {
        /// How long it still pauses.
        retry_after: Duration,
    },
    /// No session has this resume key, or it has expired.
    UnknownSession,
    /// The session's match is over.
    MatchOver,
    /// The session's game lets no player rejoin.
    NoRejoin,
    /// A party member queued alone.
    InParty,
    /// The player is in a party already.
    AlreadyInParty,
    /// The player is in no party, and queued one.
    NoPartyToQueue,
    /// The player is in no party, and left one.
    NoPartyToLeave,
    /// The player is not the first of the party, who queues it.
    NotPartyLeader,
    /// The party has changed since the request was made.
    PartyChanged,
    /// A member of the party is still queued.
    MemberQueued,
    /// The code of the new party is taken.
    CodeTaken,
    /// No mode accepts parties.
    NoPartyModes,
    /// The account has as many parties as it may.
    TooManyParties {
        /// When to try again.
        retry_after: Duration,
    },
    /// The account tried too many codes of parties that do not exist.
    TooManyGuesses {
        /// When to try again.
        retry_after: Duration,
    },
    /// No party has this code.
    UnknownParty,
    /// The party is full.
    PartyFull,
    /// The party is too large for the queue.
    PartyTooLarge,
}

impl Refusal {
    /// When to try again, where that is known.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Paused { retry_after }
            | Self::TooManyParties { retry_after }
            | Self::TooManyGuesses { retry_after } => Some(retry_after),
            _ => None,
        }
    }
}
