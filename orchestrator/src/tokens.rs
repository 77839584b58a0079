//! What an event of the poll is about: a kind in the two highest bits, and an id below.

use brain::{ConnectionId, GameId};
use mio::Token;

use crate::operators::socket::CONVERSATIONS_MAX;

const KIND_SHIFT: u32 = 62;
const ID_MASK: u64 = (1 << KIND_SHIFT) - 1;
const GENERATION_SHIFT: u32 = 32;

/// The highest generation of a slot; after it they start again at zero.
pub(crate) const GENERATION_MAX: u32 = (1 << (KIND_SHIFT - GENERATION_SHIFT)) - 1;

/// Ids fill a token: the daemon needs a machine whose words have 64 bits.
const _: () = assert!(usize::BITS == 64);

/// Whose event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The listening socket.
    Listener,
    /// The signal descriptor.
    Signals,
    /// The launcher has answered, or has room for orders.
    Launcher,
    /// The admin socket.
    Admin,
    /// A thread has something to say.
    Waker,
    /// An operator's connection, by its place.
    Operator(usize),
    /// The output of a template, by its number.
    Template(u64),
    /// The end of a game that is another process's child.
    Process(GameId),
    /// A client's socket.
    Client(ConnectionId),
    /// A game's control channel.
    Control(GameId),
    /// A game's output.
    Output(GameId),
}

pub(crate) const LISTENER: Token = Token(0);
pub(crate) const SIGNALS: Token = Token(1);
pub(crate) const LAUNCHER: Token = Token(2);
pub(crate) const ADMIN: Token = Token(3);
pub(crate) const WAKER: Token = Token(5);

/// The first of the tokens that stand for operators.
const OPERATORS: usize = 16;
const _: () = assert!(OPERATORS + CONVERSATIONS_MAX <= TEMPLATES as usize);

/// The first of the tokens that stand for templates, in the order of their numbers.
const TEMPLATES: u64 = 1024;

pub(crate) fn operator(place: usize) -> Token {
    Token(OPERATORS + place)
}

pub(crate) fn template(number: u64) -> Token {
    of_kind(0, TEMPLATES + number)
}

/// Set in the tokens of games' processes, and in no number of a template.
const PROCESS: u64 = 1 << 61;

pub(crate) fn process(game: GameId) -> Token {
    of_kind(0, PROCESS | game.0)
}

pub(crate) fn client(id: ConnectionId) -> Token {
    of_kind(1, id.number)
}

pub(crate) fn control(game: GameId) -> Token {
    of_kind(2, game.0)
}

pub(crate) fn output(game: GameId) -> Token {
    of_kind(3, game.0)
}

/// What a token stands for; the inverse of the functions above.
pub(crate) fn source(token: Token) -> Option<Source> {
    let id = token.0 as u64 & ID_MASK;
    Some(match (token.0 as u64 >> KIND_SHIFT, token) {
        (0, LISTENER) => Source::Listener,
        (0, SIGNALS) => Source::Signals,
        (0, LAUNCHER) => Source::Launcher,
        (0, ADMIN) => Source::Admin,
        (0, WAKER) => Source::Waker,
        (0, Token(place)) if (OPERATORS..OPERATORS + CONVERSATIONS_MAX).contains(&place) => {
            Source::Operator(place - OPERATORS)
        }
        (0, _) if id & PROCESS != 0 => Source::Process(GameId(id & !PROCESS)),
        (0, _) => Source::Template(id.checked_sub(TEMPLATES)?),
        (1, _) => Source::Client(ConnectionId::local(id)),
        (2, _) => Source::Control(GameId(id)),
        (3, _) => Source::Output(GameId(id)),
        _ => return None,
    })
}

fn of_kind(kind: u64, id: u64) -> Token {
    debug_assert!(id <= ID_MASK);
    Token((kind << KIND_SHIFT | id) as usize)
}

/// The id of the client in a slot.
pub(crate) fn connection_id(slot: usize, generation: u32) -> ConnectionId {
    debug_assert!(generation <= GENERATION_MAX && u32::try_from(slot).is_ok());
    ConnectionId::local(u64::from(generation) << GENERATION_SHIFT | slot as u64)
}

/// The slot of a client.
pub(crate) fn slot(id: ConnectionId) -> usize {
    (id.number & u64::from(u32::MAX)) as usize
}

/// The generation of a client's slot.
pub(crate) fn generation(id: ConnectionId) -> u32 {
    (id.number >> GENERATION_SHIFT) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_one_source_each() {
        let id = connection_id(19_999, GENERATION_MAX);
        assert_eq!((slot(id), generation(id)), (19_999, GENERATION_MAX));
        assert_eq!(source(client(id)), Some(Source::Client(id)));
        let game = GameId(ID_MASK);
        assert_eq!(source(control(game)), Some(Source::Control(game)));
        assert_eq!(source(output(game)), Some(Source::Output(game)));
        assert_eq!(source(SIGNALS), Some(Source::Signals));
        let last = CONVERSATIONS_MAX - 1;
        assert_eq!(source(operator(last)), Some(Source::Operator(last)));
        assert_eq!(source(ADMIN), Some(Source::Admin));
        assert_eq!(source(template(0)), Some(Source::Template(0)));
        assert_eq!(source(Token(77)), None);
    }
}
