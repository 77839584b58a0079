//! Messages to players as lines of `muster/1`: the only place with their verbs, error numbers and sentences.

use std::time::Duration;

use crate::message::{Assignment, Notice, Refusal};
use crate::{ErrorCode, ModeId, Reply};

/// The line for a notice; `queue_name` gives a mode's name. `None` for an assignment and a refusal, for which the front has
/// more to say: see [`assignment`] and [`Refusal::code`].
pub fn line<'a>(notice: &Notice, queue_name: impl Fn(ModeId) -> &'a str) -> Option<Reply> {
    let queue = |mode: &ModeId| queue_name(*mode).to_owned();
    Some(match notice {
        Notice::Queued { mode, position, needed, resume_key } => Reply::Queued {
            queue: queue(mode),
            position: *position,
            needed: *needed,
            resume: resume_key.to_string(),
        },
        Notice::Left => Reply::Left,
        Notice::Requeued { mode, position } => {
            Reply::Requeued { queue: queue(mode), position: *position }
        }
        Notice::Waiting { mode, reason, ahead } => {
            Reply::Waiting { queue: queue(mode), reason: *reason, ahead: *ahead }
        }
        Notice::Found { match_id, accept_within } => {
            Reply::Found { match_id: match_id.to_string(), accept_ms: millis(*accept_within) }
        }
        Notice::Accepted { count, of } => Reply::Accepted { count: *count, of: *of },
        Notice::Evicted { reason } => Reply::Evicted { reason: reason.word().into() },
        Notice::Expired { waited, round, rounds } => {
            Reply::Expired { waited_ms: millis(*waited), round: *round, rounds: *rounds }
        }
        Notice::Party { code, size } => Reply::Party { code: code.clone(), size: *size },
        Notice::Replaced => Reply::Bye { reason: "replaced".into() },
        Notice::Assigned(_) | Notice::Refused(_) => return None,
    })
}

impl Notice {
    /// Whether it is the last line of its connection, which closes after it.
    pub const fn closes(&self) -> bool {
        match self {
            Self::Replaced | Self::Assigned(_) => true,
            Self::Refused(refusal) => refusal.code().closes(),
            _ => false,
        }
    }
}

/// The last line of a connection: where to play.
pub fn assignment(to: &Assignment, host: &str, transport: &str, token: String) -> Reply {
    Reply::Assign {
        match_id: to.match_id.to_string(),
        host: host.to_owned(),
        port: to.port,
        slot: to.slot,
        players: to.players,
        token,
        transport: transport.to_owned(),
    }
}

impl Refusal {
    /// The error that clients are sent.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::AlreadyQueued
            | Self::NotQueued
            | Self::NothingToAnswer
            | Self::InParty
            | Self::AlreadyInParty
            | Self::NoPartyToQueue
            | Self::NoPartyToLeave
            | Self::NotPartyLeader
            | Self::PartyChanged
            | Self::MemberQueued => ErrorCode::BadState,
            Self::Draining => ErrorCode::Draining,
            Self::UnknownQueue => ErrorCode::NoSuchQueue,
            Self::QueueFull => ErrorCode::QueueFull,
            Self::Paused { .. } | Self::TooManyParties { .. } | Self::TooManyGuesses { .. } => {
                ErrorCode::TooMany
            }
            Self::UnknownSession | Self::MatchOver | Self::NoRejoin => ErrorCode::BadResume,
            Self::CodeTaken
            | Self::NoPartyModes
            | Self::UnknownParty
            | Self::PartyFull
            | Self::PartyTooLarge => ErrorCode::BadParty,
        }
    }

    /// The sentence for people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::AlreadyQueued => "you are queued; LEAVE comes first",
            Self::NotQueued => "you are not queued",
            Self::NothingToAnswer => "no match waits for your answer",
            Self::Draining => "the server is shutting down",
            Self::UnknownQueue => "STATUS lists the queues",
            Self::QueueFull => "the queue is full",
            Self::Paused { .. } => {
                "players of your address did not come into their games, or declined too many matches; wait"
            }
            Self::UnknownSession => "the key is unknown or expired",
            Self::MatchOver => "your match is over",
            Self::NoRejoin => "your game lets no player rejoin",
            Self::InParty => "you are in a party; say READY party, or PARTY leave",
            Self::AlreadyInParty => "you are in a party; PARTY leave comes first",
            Self::NoPartyToQueue => "you are in no party; PARTY create, or PARTY join CODE",
            Self::NoPartyToLeave => "you are in no party",
            Self::NotPartyLeader => "the first of the party says READY for all",
            Self::PartyChanged => "the party has just changed",
            Self::MemberQueued => "one of the party is queued still; LEAVE comes first",
            Self::CodeTaken => "the code is taken; try again",
            Self::NoPartyModes => "no queue here takes parties; say READY alone",
            Self::TooManyParties { .. } => "too many parties of your address",
            Self::TooManyGuesses { .. } => "too many wrong codes from your address",
            Self::UnknownParty => "there is no such party",
            Self::PartyFull => "the party is full",
            Self::PartyTooLarge => "the party is too large for this queue",
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_a_line() {
        let requeued = Notice::Requeued { mode: ModeId(0), position: 4 };
        let reply = line(&requeued, |_| "duel").unwrap();
        assert_eq!(reply.to_string(), "REQUEUED queue=duel position=4");
        assert!(!requeued.closes());
        let bye = line(&Notice::Replaced, |_| "duel").unwrap();
        assert_eq!(bye.to_string(), "BYE reason=replaced");
        assert!(Notice::Replaced.closes() && Notice::Refused(Refusal::Draining).closes());
        assert_eq!(line(&Notice::Refused(Refusal::QueueFull), |_| "duel"), None);
    }

    #[test]
    fn a_refusal_that_says_when_to_retry_is_one_to_retry() {
        let retry_after = Duration::from_secs(3);
        for refusal in [Refusal::Paused { retry_after }, Refusal::TooManyGuesses { retry_after }] {
            assert_eq!(refusal.retry_after(), Some(retry_after));
            assert!(refusal.code().number() < 500, "{refusal:?}");
        }
    }
}
