//! What can be wrong with a line, and the numbers with which clients are told.

use std::fmt;

/// The errors that a client can be told, with their numbers.
///
/// 4xx: try again later; 5xx: the same line will fail again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Nothing said within the handshake time, or a line not finished.
    Timeout,
    /// Muster is going down and takes nobody in.
    Draining,
    /// Too many connections, from this address or in all, or lines too fast.
    TooMany,
    /// The queue's cap is reached.
    QueueFull,
    /// A line of more than 512 bytes.
    LineTooLong,
    /// Not UTF-8, control characters, a field that is no `key=value`.
    BadLine,
    /// A verb that is not of this protocol.
    UnknownVerb,
    /// A verb that does not fit what the player is doing.
    BadState,
    /// A queue that does not exist.
    NoSuchQueue,
    /// A resume key that is unknown or expired.
    BadResume,
    /// A party that does not exist, is full, or is too large for the queue.
    BadParty,
}

impl ErrorCode {
    /// Every error there is, by number.
    pub const ALL: [Self; 11] = [
        Self::Timeout,
        Self::Draining,
        Self::TooMany,
        Self::QueueFull,
        Self::LineTooLong,
        Self::BadLine,
        Self::UnknownVerb,
        Self::BadState,
        Self::NoSuchQueue,
        Self::BadResume,
        Self::BadParty,
    ];

    /// The number that clients parse.
    pub const fn number(self) -> u16 {
        match self {
            Self::Timeout => 408,
            Self::Draining => 421,
            Self::TooMany => 429,
            Self::QueueFull => 452,
            Self::LineTooLong => 500,
            Self::BadLine => 501,
            Self::UnknownVerb => 502,
            Self::BadState => 503,
            Self::NoSuchQueue => 504,
            Self::BadResume => 505,
            Self::BadParty => 506,
        }
    }

    /// The name that people read.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "TIMEOUT",
            Self::Draining => "DRAINING",
            Self::TooMany => "TOO_MANY",
            Self::QueueFull => "QUEUE_FULL",
            Self::LineTooLong => "LINE_TOO_LONG",
            Self::BadLine => "BAD_LINE",
            Self::UnknownVerb => "UNKNOWN_VERB",
            Self::BadState => "BAD_STATE",
            Self::NoSuchQueue => "NO_SUCH_QUEUE",
            Self::BadResume => "BAD_RESUME",
            Self::BadParty => "BAD_PARTY",
        }
    }

    /// Whether Muster closes the connection after telling it.
    pub const fn closes(self) -> bool {
        matches!(self, Self::Timeout | Self::Draining | Self::TooMany | Self::LineTooLong)
    }

    /// The error of a number, where there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

/// Why a line could not be understood. The texts are for people and hold no control character.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line is not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// The line holds a control character, NUL and a lone CR included.
    #[error("the line holds a control character; percent-encode it")]
    ControlCharacter,
    /// The verb is not of this protocol. Holds the verb, cut and escaped.
    #[error("unknown verb {0}; HELP lists the verbs")]
    UnknownVerb(String),
    /// A field is not `key=value`. Holds the field, cut and escaped.
    #[error("{0} is not key=value")]
    NotAField(String),
    /// A field was given twice. Holds its key.
    #[error("{0} is given twice")]
    GivenTwice(&'static str),
    /// A field is missing. Holds its key.
    #[error("{0}= is missing")]
    Missing(&'static str),
    /// A value is not what its key needs. Holds the key and what it needs.
    #[error("{0}= needs {1}")]
    BadValue(&'static str, &'static str),
}

impl LineError {
    /// The error that a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownVerb(_) => ErrorCode::UnknownVerb,
            Self::NotUtf8
            | Self::ControlCharacter
            | Self::NotAField(_)
            | Self::GivenTwice(_)
            | Self::Missing(_)
            | Self::BadValue(..) => ErrorCode::BadLine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_errors_are_one_to_one() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ErrorCode::from_number(200), None);
    }
}
