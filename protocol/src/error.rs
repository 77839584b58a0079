//! Errors in lines, and the error numbers that clients receive.

use std::fmt;

/// The errors that a client can receive.
///
/// 4xx: try again later; 5xx: the same line will fail again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// No line within the handshake time, or an incomplete line.
    Timeout,
    /// Muster is draining and accepts no players.
    Draining,
    /// Too many connections, from this address or in total, or too many lines.
    TooMany,
    /// The queue is full.
    QueueFull,
    /// A line of more than 512 bytes.
    LineTooLong,
    /// Not UTF-8, control characters, or a field that is not `key=value`.
    BadLine,
    /// An unknown verb.
    UnknownVerb,
    /// A verb that is not allowed in the player's state.
    BadState,
    /// A queue that does not exist.
    NoSuchQueue,
    /// A resume key that is unknown or expired.
    BadResume,
    /// A party that does not exist, is full, or is too large for the queue.
    BadParty,
}

impl ErrorCode {
    /// All errors, by number.
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

    /// The name, for people.
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

    /// Whether Muster closes the connection after this error.
    pub const fn closes(self) -> bool {
        matches!(self, Self::Timeout | Self::Draining | Self::TooMany | Self::LineTooLong)
    }

    /// The error with this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == number)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.name())
    }
}

/// The reason why a line could not be parsed. The texts are for people and contain no control characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The line is not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// The line contains a control character, such as NUL or a lone CR.
    #[error("the line contains a control character; percent-encode it")]
    ControlCharacter,
    /// The verb is unknown. Holds the verb, truncated and escaped.
    #[error("unknown verb {0}; HELP lists the verbs")]
    UnknownVerb(String),
    /// A field is not `key=value`. Holds the field, truncated and escaped.
    #[error("{0} is not key=value")]
    NotAField(String),
    /// A field was given twice. Holds its key.
    #[error("{0} is given twice")]
    GivenTwice(&'static str),
    /// A field is missing. Holds its key.
    #[error("{0}= is missing")]
    Missing(&'static str),
    /// A value is invalid. Holds the key and a description of valid values.
    #[error("{0}= needs {1}")]
    BadValue(&'static str, &'static str),
}

impl LineError {
    /// The error that the client receives.
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
