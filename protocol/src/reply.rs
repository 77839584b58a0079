//! Lines from Muster to players over TCP.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::error::{ErrorCode, LineError};
use crate::fields::{Line, encode, quote};
use crate::message::{EvictReason, WaitReason};

/// A line from Muster to a player. Its `Display` is the line, without the line end.
///
/// Ids are text here: a client hands them back as they are and never computes with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The first line of a connection.
    Muster {
        /// The version of the protocol.
        version: u32,
        /// The longest line that a client may send, in bytes.
        line_max: usize,
        /// The queues' names; the first one is the default.
        queues: Vec<String>,
    },
    /// The player has a place in a queue.
    Queued {
        /// The queue.
        queue: String,
        /// The player's place, from 1.
        position: usize,
        /// How many players are in a match.
        needed: usize,
        /// The key that names this session.
        resume: String,
    },
    /// The player has left.
    Left,
    /// The answer to PING, with its text.
    Pong(String),
    /// How full a queue is.
    Status {
        /// The queue.
        queue: String,
        /// Players who wait, those whose match is formed but has no game yet included.
        waiting: usize,
        /// Game processes of this queue's mode.
        games: usize,
        /// Ports of the ring that are free, for all queues together.
        ports_free: usize,
    },
    /// A line of help.
    Help(Cow<'static, str>),
    /// The conversation is over.
    Bye {
        /// Why: `quit`, `replaced`, `shutdown`, `bad-lines`.
        reason: Cow<'static, str>,
    },
    /// The player's match came to nothing and the player stands where it stood.
    Requeued {
        /// The queue.
        queue: String,
        /// The player's place, from 1.
        position: usize,
    },
    /// A match was found, which the player has to accept.
    Found {
        /// The match.
        match_id: String,
        /// How long the player may take, in milliseconds.
        accept_ms: u64,
    },
    /// How many have accepted the match that was found.
    Accepted {
        /// How many have.
        count: usize,
        /// How many have to.
        of: usize,
    },
    /// The player is out: it has lost its place, and may say READY again.
    Evicted {
        /// Why: the [word](EvictReason::word) of a reason, or one of a later version.
        reason: Cow<'static, str>,
    },
    /// A round is over in which no match was found. After the last round the player is no longer queued.
    Expired {
        /// How long the player has waited in all, in milliseconds.
        waited_ms: u64,
        /// Which round it was, from 1.
        round: u32,
        /// How many there are.
        rounds: u32,
    },
    /// The player's party.
    Party {
        /// The code by which others join it.
        code: String,
        /// How many are in it.
        size: usize,
    },
    /// The player's match is formed and waits.
    Waiting {
        /// The queue.
        queue: String,
        /// For what.
        reason: WaitReason,
        /// How many matches wait before it, where it waits for a port.
        ahead: Option<usize>,
    },
    /// Where to play: the last line of a connection.
    Assign {
        /// The match.
        match_id: String,
        /// The host that the game is on.
        host: String,
        /// The game's UDP port.
        port: u16,
        /// The player's place in the match, from 0.
        slot: usize,
        /// Players in the match.
        players: usize,
        /// The secret that lets this player into the game.
        token: String,
        /// How the game speaks over UDP: `plain`.
        transport: String,
    },
    /// A request was declined.
    Error {
        /// The number that says what.
        number: u16,
        /// For people: the error's name and a sentence.
        text: String,
        /// When to try again, in milliseconds; sent with 4xx.
        retry_ms: Option<u64>,
    },
    /// A line that this version does not know; to be ignored.
    Other(String),
}

impl EvictReason {
    /// Every reason there is.
    pub const ALL: [Self; 6] = [
        Self::Declined,
        Self::Timeout,
        Self::Party,
        Self::Kicked,
        Self::ModeRemoved,
        Self::Displaced,
    ];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Declined => "declined",
            Self::Timeout => "timeout",
            Self::Party => "party",
            Self::Kicked => "kicked",
            Self::ModeRemoved => "mode-removed",
            Self::Displaced => "displaced",
        }
    }
}

impl WaitReason {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoPort => "no-port",
            Self::GameStarting => "game-starting",
            Self::GameFailing => "game-failing",
        }
    }
}

impl FromStr for WaitReason {
    type Err = LineError;

    fn from_str(word: &str) -> Result<Self, LineError> {
        [Self::NoPort, Self::GameStarting, Self::GameFailing]
            .into_iter()
            .find(|reason| reason.word() == word)
            .ok_or(LineError::BadValue("reason", "no-port, game-starting or game-failing"))
    }
}

impl Reply {
    /// An error reply with its standard number and name.
    pub fn error(code: ErrorCode, text: impl fmt::Display, retry_ms: Option<u64>) -> Self {
        Self::Error { number: code.number(), text: format!("{} {text}", code.name()), retry_ms }
    }

    /// Reads a line without its line end.
    ///
    /// # Errors
    /// [`LineError`] when a verb that this version knows lacks a field or holds a bad one.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let line = Line::parse(line)?;
        let fields = Fields::of(&line);
        Ok(match line.verb {
            "MUSTER" => parse_muster(&line)?,
            "QUEUED" => {
                let fields = fields?;
                Self::Queued {
                    queue: fields.text("queue")?,
                    position: fields.number("position")?,
                    needed: fields.number("needed")?,
                    resume: fields.text("resume")?,
                }
            }
            "LEFT" => Self::Left,
            "PONG" => Self::Pong(line.rest.to_owned()),
            "STATUS" => {
                let fields = fields?;
                Self::Status {
                    queue: fields.text("queue")?,
                    waiting: fields.number("waiting")?,
                    games: fields.number("games")?,
                    ports_free: fields.number("ports_free")?,
                }
            }
            "HELP" => Self::Help(line.rest.to_owned().into()),
            "BYE" => Self::Bye { reason: fields?.text("reason")?.into() },
            "REQUEUED" => {
                let fields = fields?;
                Self::Requeued {
                    queue: fields.text("queue")?,
                    position: fields.number("position")?,
                }
            }
            "FOUND" => {
                let fields = fields?;
                Self::Found {
                    match_id: fields.text("match")?,
                    accept_ms: fields.number("accept_ms")?,
                }
            }
            "ACCEPTED" => {
                let fields = fields?;
                Self::Accepted { count: fields.number("count")?, of: fields.number("of")? }
            }
            "EXPIRED" => {
                let fields = fields?;
                Self::Expired {
                    waited_ms: fields.number("waited_ms")?,
                    round: fields.number("round")?,
                    rounds: fields.number("rounds")?,
                }
            }
            "PARTY" => {
                let fields = fields?;
                Self::Party { code: fields.text("code")?, size: fields.number("size")? }
            }
            "EVICTED" => Self::Evicted { reason: fields?.text("reason")?.into() },
            "WAITING" => {
                let fields = fields?;
                Self::Waiting {
                    queue: fields.text("queue")?,
                    reason: fields.text("reason")?.parse()?,
                    ahead: fields.get("ahead").ok().and_then(|ahead| ahead.parse().ok()),
                }
            }
            "ASSIGN" => parse_assign(&fields?)?,
            "ERR" => parse_error(&line)?,
            _ => Self::Other(format!("{} {}", line.verb, line.rest)),
        })
    }
}

/// `MUSTER <version> key=value …`
fn parse_muster(line: &Line<'_>) -> Result<Reply, LineError> {
    let (version, rest) = line.rest.split_once(' ').unwrap_or((line.rest, ""));
    let fields = Fields::of(&Line { verb: line.verb, rest })?;
    Ok(Reply::Muster {
        version: version.parse().map_err(|_| LineError::BadValue("version", "a number"))?,
        line_max: fields.number("line_max")?,
        queues: fields.text("queues")?.split(',').map(Into::into).collect(),
    })
}

fn parse_assign(fields: &Fields<'_>) -> Result<Reply, LineError> {
    Ok(Reply::Assign {
        match_id: fields.text("match")?,
        host: fields.text("host")?,
        port: fields.number("port")?,
        slot: fields.number("slot")?,
        players: fields.number("players")?,
        token: fields.text("token")?,
        transport: fields.text("transport")?,
    })
}

/// `ERR <number> <NAME> <text>`; a word `retry_ms=…` says when to try again, and is no part of the text.
fn parse_error(line: &Line<'_>) -> Result<Reply, LineError> {
    let (number, text) = line.rest.split_once(' ').unwrap_or((line.rest, ""));
    let number = number.parse().map_err(|_| LineError::NotAField(quote(number)))?;
    let retry_of = |word: &str| word.strip_prefix("retry_ms=")?.parse::<u64>().ok();
    let mut words: Vec<&str> = text.split(' ').collect();
    // The last one counts: those before it may be a quote of what the client wrote.
    let retry = words.iter().rposition(|word| retry_of(word).is_some());
    let retry_ms = retry.and_then(|index| retry_of(words.remove(index)));
    Ok(Reply::Error { number, text: words.join(" "), retry_ms })
}

/// The fields of a reply, to be looked up by key.
struct Fields<'a>(Vec<(&'a str, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    fn of(line: &Line<'a>) -> Result<Self, LineError> {
        line.fields().collect::<Result<_, _>>().map(Self)
    }

    fn get(&self, key: &'static str) -> Result<&str, LineError> {
        let field = self.0.iter().find(|(name, _)| *name == key);
        field.map(|(_, value)| value.as_ref()).ok_or(LineError::Missing(key))
    }

    fn text(&self, key: &'static str) -> Result<String, LineError> {
        self.get(key).map(Into::into)
    }

    fn number<T: FromStr>(&self, key: &'static str) -> Result<T, LineError> {
        self.get(key)?.parse().map_err(|_| LineError::BadValue(key, "a number"))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Muster { version, line_max, queues } => {
                let queues: Vec<String> =
                    queues.iter().map(|name| encode(name).to_string()).collect();
                write!(f, "MUSTER {version} line_max={line_max} queues={}", queues.join(","))
            }
            Self::Queued { queue, position, needed, resume } => {
                let (queue, resume) = (encode(queue), encode(resume));
                write!(
                    f,
                    "QUEUED queue={queue} position={position} needed={needed} resume={resume}"
                )
            }
            Self::Left => f.write_str("LEFT"),
            Self::Pong(text) if text.is_empty() => f.write_str("PONG"),
            Self::Pong(text) => write!(f, "PONG {text}"),
            Self::Status { queue, waiting, games, ports_free } => {
                let queue = encode(queue);
                write!(
                    f,
                    "STATUS queue={queue} waiting={waiting} games={games} ports_free={ports_free}"
                )
            }
            Self::Help(text) => write!(f, "HELP {text}"),
            Self::Bye { reason } => write!(f, "BYE reason={}", encode(reason)),
            Self::Requeued { queue, position } => {
                write!(f, "REQUEUED queue={} position={position}", encode(queue))
            }
            Self::Found { match_id, accept_ms } => {
                write!(f, "FOUND match={} accept_ms={accept_ms}", encode(match_id))
            }
            Self::Accepted { count, of } => write!(f, "ACCEPTED count={count} of={of}"),
            Self::Expired { waited_ms, round, rounds } => {
                write!(f, "EXPIRED waited_ms={waited_ms} round={round} rounds={rounds}")
            }
            Self::Party { code, size } => write!(f, "PARTY code={} size={size}", encode(code)),
            Self::Evicted { reason } => write!(f, "EVICTED reason={}", encode(reason)),
            Self::Waiting { queue, reason, ahead } => {
                write!(f, "WAITING queue={} reason={}", encode(queue), reason.word())?;
                ahead.map_or(Ok(()), |ahead| write!(f, " ahead={ahead}"))
            }
            Self::Assign { match_id, host, port, slot, players, token, transport } => write!(
                f,
                "ASSIGN match={} host={} port={port} slot={slot} players={players} token={} \
                 transport={}",
                encode(match_id),
                encode(host),
                encode(token),
                encode(transport)
            ),
            Self::Error { number, text, retry_ms: Some(ms) } => {
                write!(f, "ERR {number} {text} retry_ms={ms}")
            }
            Self::Error { number, text, retry_ms: None } => write!(f, "ERR {number} {text}"),
            Self::Other(line) => f.write_str(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reply_survives_its_line() {
        let replies = [
            Reply::Muster {
                version: 1,
                line_max: 512,
                queues: vec!["duel".into(), "arena".into()],
            },
            Reply::Queued { queue: "a b".into(), position: 1, needed: 2, resume: "5f".into() },
            Reply::Left,
            Reply::Pong("a = b".into()),
            Reply::Status { queue: "duel".into(), waiting: 3, games: 2, ports_free: 98 },
            Reply::Help("READY joins a queue".into()),
            Reply::Bye { reason: "quit".into() },
            Reply::Requeued { queue: "duel".into(), position: 4 },
            Reply::Muster { version: 1, line_max: 512, queues: vec!["a b".into(), "%".into()] },
            Reply::Error { number: 501, text: "BAD_LINE no".into(), retry_ms: None },
            Reply::Error { number: 452, text: "QUEUE_FULL full".into(), retry_ms: Some(1000) },
            Reply::Found { match_id: "17".into(), accept_ms: 10_000 },
            Reply::Accepted { count: 1, of: 2 },
            Reply::Expired { waited_ms: 120_000, round: 1, rounds: 2 },
            Reply::Party { code: "K7Q2".into(), size: 3 },
            Reply::Evicted { reason: EvictReason::Timeout.word().into() },
            Reply::Waiting { queue: "duel".into(), reason: WaitReason::NoPort, ahead: None },
            Reply::Waiting { queue: "duel".into(), reason: WaitReason::NoPort, ahead: Some(3) },
            Reply::Assign {
                match_id: "17".into(),
                host: "127.0.0.1".into(),
                port: 20004,
                slot: 0,
                players: 2,
                token: "9b 2e".into(),
                transport: "plain".into(),
            },
        ];
        for reply in replies {
            assert_eq!(Reply::parse(reply.to_string().as_bytes()), Ok(reply));
        }
    }

    #[test]
    fn an_error_is_known_by_its_number_and_says_when_to_try_again() {
        let reply = Reply::error(ErrorCode::QueueFull, "duel holds 5 players", Some(1000));
        assert_eq!(reply.to_string(), "ERR 452 QUEUE_FULL duel holds 5 players retry_ms=1000");
        let Ok(Reply::Error { number, retry_ms, .. }) = Reply::parse(reply.to_string().as_bytes())
        else {
            panic!("not an error: {reply}");
        };
        assert_eq!((number, retry_ms), (452, Some(1000)));
    }

    #[test]
    fn what_a_later_version_says_is_no_error() {
        assert!(matches!(Reply::parse(b"APPLAUDED count=1 of=2"), Ok(Reply::Other(_))));
        let later = b"REQUEUED queue=duel position=1 later=yes";
        assert!(matches!(Reply::parse(later), Ok(Reply::Requeued { position: 1, .. })));
        assert_eq!(Reply::parse(b"REQUEUED queue=duel"), Err(LineError::Missing("position")));
    }
}
