//! The messages in datagrams after a player has joined.

use std::fmt;
use std::str::FromStr;

use super::board::{BadBoard, Board, Cell, Mark};
use protocol::fields::{Line, encode};

/// A message of a player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromSide {
    /// `MOVE <number> <cell>`: a move in the state with this number. Repeated until a later state arrives, which
    /// acknowledges it.
    Move {
        /// The number of the state that the move answers.
        number: u8,
        /// The cell.
        cell: Cell,
    },
    /// `ACK <number>`: the state with this number has arrived.
    Ack {
        /// The state's number.
        number: u8,
    },
}

impl FromSide {
    /// Parses a player's message.
    ///
    /// # Errors
    /// The refusal to answer with.
    pub fn parse(words: &str) -> Result<Self, Refusal> {
        let mut parts = words.split_ascii_whitespace();
        let (verb, number, cell) = (parts.next(), parts.next(), parts.next());
        let number = number.and_then(|text| text.parse().ok());
        match (verb, number, cell, parts.next()) {
            (Some("MOVE"), Some(number), Some(cell), None) => match cell.parse() {
                Ok(cell) => Ok(Self::Move { number, cell }),
                Err(BadBoard) => Err(Refusal::NoSuchCell),
            },
            (Some("ACK"), Some(number), None, None) => Ok(Self::Ack { number }),
            _ => Err(Refusal::UnknownWords),
        }
    }
}

impl fmt::Display for FromSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Move { number, cell } => write!(f, "MOVE {number} {cell}"),
            Self::Ack { number } => write!(f, "ACK {number}"),
        }
    }
}

/// A message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromServer {
    /// `STATE …`: the whole state. Repeated until it is acknowledged.
    State(State),
    /// `NO <number> <cell> <reason>`: this move was refused. Or `NO 0 0 <reason>`: the message was not understood.
    No {
        /// The refused move, if the message was one.
        refused: Option<(u8, Cell)>,
        /// The reason.
        reason: Refusal,
    },
}

impl FromServer {
    /// Parses a server's message; `None` if it is unknown, and to be ignored.
    pub fn parse(words: &str) -> Option<Self> {
        let line = Line::parse(words.as_bytes()).ok()?;
        match line.verb {
            "STATE" => State::parse(line.rest).map(Self::State),
            "NO" => {
                let mut parts = line.rest.split_ascii_whitespace();
                let (number, cell) = (parts.next()?.parse().ok()?, parts.next()?);
                let reason = parts.next()?.parse().ok()?;
                let refused = cell.parse().ok().map(|cell| (number, cell));
                Some(Self::No { refused, reason })
            }
            _ => None,
        }
    }
}

impl fmt::Display for FromServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => write!(f, "STATE {state}"),
            Self::No { refused: Some((number, cell)), reason } => {
                write!(f, "NO {number} {cell} {reason}")
            }
            Self::No { refused: None, reason } => write!(f, "NO 0 0 {reason}"),
        }
    }
}

/// Why a player's message had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The cell has a mark.
    #[error("taken")]
    Taken,
    /// The other side moves.
    #[error("not-your-turn")]
    NotYourTurn,
    /// The state with that number was answered already, with another move.
    #[error("too-late")]
    TooLate,
    /// There is no state with that number yet.
    #[error("too-early")]
    TooEarly,
    /// The game is over.
    #[error("over")]
    Over,
    /// Cells are 1 to 9.
    #[error("no-such-cell")]
    NoSuchCell,
    /// Not a message of this game.
    #[error("unknown-words")]
    UnknownWords,
}

impl Refusal {
    const ALL: [Self; 7] = [
        Self::Taken,
        Self::NotYourTurn,
        Self::TooLate,
        Self::TooEarly,
        Self::Over,
        Self::NoSuchCell,
        Self::UnknownWords,
    ];
}

impl FromStr for Refusal {
    type Err = BadBoard;

    fn from_str(text: &str) -> Result<Self, BadBoard> {
        Self::ALL.into_iter().find(|reason| reason.to_string() == text).ok_or(BadBoard)
    }
}

/// The state as it is sent to one player, e.g. `STATE 4 X.O.X.... you=O turn=O last=5 x=ada o=bob` or
/// `STATE 6 XXXOO.... you=O end=won winner=X last=3 x=ada o=bob`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Grows by one with every change, from 1: the number of moves plus one, and one more for an end that was not
    /// caused by a move.
    pub number: u8,
    /// The board.
    pub board: Board,
    /// The receiver's side.
    pub you: Mark,
    /// The state of the game.
    pub standing: Standing,
    /// The last move.
    pub last: Option<Cell>,
    /// The players' names, X first: any UTF-8, to be escaped wherever they are shown.
    pub names: [String; 2],
}

/// The state of a game.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// This side moves next.
    Turn(Mark),
    /// This side has three in a line.
    Won(Mark),
    /// The board is full, and no side has won.
    Draw,
    /// The other side left, and this one has won.
    Forfeit(Mark),
    /// The game was ended from outside.
    Abandoned,
}

impl Standing {
    /// Whether the state is final.
    pub const fn is_end(self) -> bool {
        !matches!(self, Self::Turn(_))
    }

    /// The side that won.
    pub const fn winner(self) -> Option<Mark> {
        match self {
            Self::Won(mark) | Self::Forfeit(mark) => Some(mark),
            Self::Turn(_) | Self::Draw | Self::Abandoned => None,
        }
    }

    /// The name of the end, on the wire and in the result; `None` while the game is being played.
    pub const fn end(self) -> Option<&'static str> {
        match self {
            Self::Turn(_) => None,
            Self::Won(_) => Some("won"),
            Self::Draw => Some("draw"),
            Self::Forfeit(_) => Some("forfeit"),
            Self::Abandoned => Some("abandoned"),
        }
    }

    fn parse(turn: Option<Mark>, end: Option<&str>, winner: Option<Mark>) -> Option<Self> {
        match (turn, end, winner) {
            (Some(mark), None, None) => Some(Self::Turn(mark)),
            (None, Some("won"), Some(mark)) => Some(Self::Won(mark)),
            (None, Some("draw"), None) => Some(Self::Draw),
            (None, Some("forfeit"), Some(mark)) => Some(Self::Forfeit(mark)),
            (None, Some("abandoned"), None) => Some(Self::Abandoned),
            _ => None,
        }
    }
}

impl State {
    /// Parses the text after `STATE`. Unknown fields are ignored, known ones can be in any order.
    fn parse(rest: &str) -> Option<Self> {
        let (number, rest) = rest.split_once(' ')?;
        let (board, rest) = rest.split_once(' ')?;
        let (mut you, mut turn, mut end, mut winner) = (None, None, None, None);
        let (mut last, mut x, mut o) = (None, None, None);
        for field in (Line { verb: "STATE", rest }).fields() {
            let (key, value) = field.ok()?;
            match key {
                "you" => you = Some(value.parse().ok()?),
                "turn" => turn = Some(value.parse().ok()?),
                "end" => end = Some(value),
                "winner" => winner = Some(value.parse().ok()?),
                "last" => last = Some(value.parse().ok()?),
                "x" => x = Some(value.into_owned()),
                "o" => o = Some(value.into_owned()),
                _ => {}
            }
        }
        Some(Self {
            number: number.parse().ok()?,
            board: board.parse().ok()?,
            you: you?,
            standing: Standing::parse(turn, end.as_deref(), winner)?,
            last,
            names: [x.unwrap_or_default(), o.unwrap_or_default()],
        })
    }
}

/// The text after `STATE`.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} you={}", self.number, self.board, self.you)?;
        match self.standing {
            Standing::Turn(mark) => write!(f, " turn={mark}")?,
            Standing::Won(_) | Standing::Draw | Standing::Forfeit(_) | Standing::Abandoned => {
                write!(f, " end={}", self.standing.end().unwrap_or_default())?;
            }
        }
        if let Some(mark) = self.standing.winner() {
            write!(f, " winner={mark}")?;
        }
        if let Some(cell) = self.last {
            write!(f, " last={cell}")?;
        }
        write!(f, " x={} o={}", encode(&self.names[0]), encode(&self.names[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::NAME_MAX;
    use protocol::datagram::{DATAGRAM_MAX, FromPlayer};

    fn state(standing: Standing) -> State {
        State {
            number: 4,
            board: "X.O.X....".parse().unwrap(),
            you: Mark::O,
            standing,
            last: Some(Cell::ALL[4]),
            names: ["a d=%a\n\u{1b}[31m".into(), String::new()],
        }
    }

    #[test]
    fn the_servers_messages_survive_formatting() {
        for standing in [
            Standing::Turn(Mark::O),
            Standing::Won(Mark::X),
            Standing::Draw,
            Standing::Forfeit(Mark::O),
            Standing::Abandoned,
        ] {
            let words = FromServer::State(state(standing));
            let text = words.to_string();
            assert!(!text.chars().any(char::is_control), "{text}");
            assert_eq!(FromServer::parse(&text), Some(words), "{text}");
        }
        for reason in Refusal::ALL {
            for refused in [None, Some((3, Cell::ALL[8]))] {
                let words = FromServer::No { refused, reason };
                assert_eq!(FromServer::parse(&words.to_string()), Some(words));
            }
        }
    }

    #[test]
    fn the_messages_are_those_of_the_contract() {
        let mut state = state(Standing::Turn(Mark::O));
        state.names = ["ada".into(), "bob".into()];
        let text = FromServer::State(state.clone()).to_string();
        assert_eq!(text, "STATE 4 X.O.X.... you=O turn=O last=5 x=ada o=bob");
        let later = "STATE 4 X.O.X....  o=bob later=1 x=ada last=5 turn=O you=O";
        assert_eq!(FromServer::parse(later), Some(FromServer::State(state)));
    }

    #[test]
    fn the_longest_state_fits_a_datagram() {
        let mut state = state(Standing::Forfeit(Mark::O));
        state.names = ["\n".repeat(NAME_MAX), "\n".repeat(NAME_MAX)];
        assert!(FromServer::State(state).to_string().len() <= DATAGRAM_MAX);
    }

    #[test]
    fn malformed_messages_of_the_server_are_ignored() {
        for text in [
            "",
            "STATE",
            "STATE 4",
            "STATE 4 X.O.X....",
            "STATE 4 X.O.X.... you=O",
            "STATE 4 X.O.X.... you=O turn=O end=won winner=X",
            "STATE 4 X.O.X.... you=O end=won",
            "STATE 4 X.O.X.... you=O end=draw winner=X",
            "STATE 4 XXXXXXXXX you=O turn=O",
            "STATE 300 X.O.X.... you=O turn=O",
            "STATE 4 X.O.X.... you=Z turn=O",
            "STATE 4 X.O.X.... you=O turn=O last=0",
            "STATE 4 X.O.X.... you=O turn=O x=%f",
            "NO",
            "NO 1 5",
            "NO 1 5 because",
            "HELLO",
        ] {
            assert_eq!(FromServer::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_players_messages_survive_formatting_and_their_datagram() {
        for words in
            [FromSide::Move { number: 9, cell: Cell::ALL[0] }, FromSide::Ack { number: 10 }]
        {
            let text = words.to_string();
            assert_eq!(FromSide::parse(&text), Ok(words));
            let datagram = FromPlayer::parse(text.as_bytes());
            assert_eq!(datagram, Some(FromPlayer::Words(&text)));
        }
    }

    #[test]
    fn malformed_messages_of_a_player_are_refused_with_a_reason() {
        assert_eq!(FromSide::parse("MOVE 1 0"), Err(Refusal::NoSuchCell));
        assert_eq!(FromSide::parse("MOVE 1 b2"), Err(Refusal::NoSuchCell));
        for text in ["", "move 1 1", "MOVE", "MOVE 1", "MOVE 1 2 3", "MOVE 256 1", "ACK", "ACK -1"]
        {
            assert_eq!(FromSide::parse(text), Err(Refusal::UnknownWords), "{text}");
        }
    }
}
