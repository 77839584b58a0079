//! Into the game, as far as its first words: they tell which game it is.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use client::{Assignment, ClientError, GameSocket, Heard, Link, Machine};
use protocol::Visible;

use crate::PlayError;
use crate::args::Args;
use crate::console::Console;

/// How long a game may keep its first words back before it is taken for one that has none. The games that have
/// some say them with the welcome, and again and again.
const FIRST_WORDS_MAX: Duration = Duration::from_secs(1);

/// How long a goodbye may take.
pub(crate) const BYE_MAX: Duration = Duration::from_secs(2);

/// What is behind the door.
pub(crate) enum Entered {
    /// Tic-tac-toe, and its first words.
    TicTacToe(GameSocket<Link>, String),
    /// Arena, and its first words.
    Arena(GameSocket<Link>, String),
    /// A game that let the player in, and then said nothing that this program knows.
    Other(GameSocket<Link>),
    /// Nothing: the person has had enough.
    Left,
}

/// Says hello, and waits until the game is known.
pub(crate) fn enter(
    console: &mut Console,
    args: &Args,
    assignment: &Assignment,
) -> Result<Entered, PlayError> {
    let mut game = GameSocket::open(assignment, Link::new(assignment))?;
    let mut other_at = None;
    loop {
        game.turn()?;
        while let Some(heard) = game.poll_event() {
            match heard {
                Heard::Welcome { slot, players } => {
                    let match_id = Visible(&assignment.match_id);
                    console
                        .say(format_args!("welcome: match {match_id}, slot {slot} of {players}"));
                    let is_unknown = args.game.is_none();
                    other_at = Some(Instant::now() + FIRST_WORDS_MAX).filter(|_| is_unknown);
                }
                Heard::Words(words) => match words.split(' ').next() {
                    Some("STATE") => return Ok(Entered::TicTacToe(game, words)),
                    Some("ARENA" | "SNAP") => return Ok(Entered::Arena(game, words)),
                    _ => {}
                },
                Heard::Pong(_) => {}
            }
        }
        if let Some(closed) = game.closed() {
            return Err(ClientError::Game { address: game.address().to_owned(), closed }.into());
        }
        if other_at.is_some_and(|at| Instant::now() >= at) {
            return Ok(Entered::Other(game));
        }
        let until = [game.next_deadline(), other_at];
        console.wait(game.as_fd(), until.into_iter().flatten().min())?;
        // Typed before there was anything to answer.
        while console.next_line().is_some() {}
        if console.wants_out() {
            game.bye(BYE_MAX)?;
            console.say("\nleft the game");
            return Ok(Entered::Left);
        }
    }
}

/// Goes on as the machine of a game, which hears the game's first words, too.
pub(crate) fn go_on<M: Machine>(
    game: GameSocket<Link>,
    first_words: &str,
    machine: impl FnOnce(Link) -> M,
) -> GameSocket<M> {
    let mut game = game.map(machine);
    game.with(|machine, now| machine.handle_words(now, first_words));
    game
}
