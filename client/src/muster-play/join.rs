//! Joining the game, up to its first message, which identifies the game.

use std::os::fd::AsFd;
use std::time::Instant;

use client::{Assignment, ClientError, GameSocket, Link, LinkEvent, Machine};
use protocol::Visible;

use crate::PlayError;
use crate::args::Args;
use crate::console::Console;
use crate::limits::{BYE_MAX, FIRST_WORDS_MAX};

/// The recognized game.
pub(crate) enum Joined {
    /// Tic-tac-toe, and its first message.
    TicTacToe(GameSocket<Link>, String),
    /// Arena, and its first message.
    Arena(GameSocket<Link>, String),
    /// A game that sent the welcome, and then no message that this program knows.
    Other(GameSocket<Link>),
    /// None: the person left.
    Left,
}

/// Sends the hello, and waits until the game is known.
pub(crate) fn join(
    console: &mut Console,
    args: &Args,
    assignment: &Assignment,
) -> Result<Joined, PlayError> {
    let mut game = GameSocket::open(assignment, Link::new(assignment))?;
    let mut other_at = None;
    loop {
        game.turn()?;
        while let Some(event) = game.poll_event() {
            match event {
                LinkEvent::Welcome { slot, players } => {
                    let match_id = Visible(&assignment.match_id);
                    console
                        .say(format_args!("welcome: match {match_id}, slot {slot} of {players}"));
                    let is_unknown = args.game.is_none();
                    other_at = Some(Instant::now() + FIRST_WORDS_MAX).filter(|_| is_unknown);
                }
                LinkEvent::Words(words) => match words.split(' ').next() {
                    Some("STATE") => return Ok(Joined::TicTacToe(game, words)),
                    Some("ARENA" | "SNAP") => return Ok(Joined::Arena(game, words)),
                    _ => {}
                },
                LinkEvent::Pong(_) => {}
            }
        }
        if let Some(closed) = game.closed() {
            return Err(ClientError::Game { address: game.address().to_owned(), closed }.into());
        }
        if other_at.is_some_and(|at| Instant::now() >= at) {
            return Ok(Joined::Other(game));
        }
        let until = [game.next_deadline(), other_at];
        console.wait(game.as_fd(), until.into_iter().flatten().min())?;
        // Lines that were typed before there was a game.
        while console.next_line().is_some() {}
        if console.wants_out() {
            game.bye(BYE_MAX)?;
            console.say("\nleft the game");
            return Ok(Joined::Left);
        }
    }
}

/// Continues with the machine of a game, which also handles the game's first message.
pub(crate) fn continue_with<M: Machine>(
    game: GameSocket<Link>,
    first_words: &str,
    machine: impl FnOnce(Link) -> M,
) -> GameSocket<M> {
    let mut game = game.map(machine);
    game.with(|machine, now| machine.handle_words(now, first_words));
    game
}
