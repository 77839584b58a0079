//! `muster-play`: a player of Muster at a terminal, or a bot that plays by itself.

#![forbid(unsafe_code)]

mod arena;
mod args;
mod console;
mod echo;
mod join;
mod limits;
mod lobby;
mod tictactoe;
mod view;

use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use client::{Assignment, ClientError, Playing};

use crate::arena::ArenaView;
use crate::args::{Args, Game};
use crate::console::Console;
use crate::join::Joined;
use crate::lobby::WaitingRoom;
use crate::tictactoe::TicTacToeView;

/// The exit code for an address that cannot be reached, as in `sysexits.h`.
const UNAVAILABLE: u8 = 69;

/// Why a game was not played to its end.
#[derive(Debug, thiserror::Error)]
enum PlayError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot use the terminal: {0}")]
    Console(#[from] std::io::Error),
    #[error("cannot play the game of match {0}; --bot --game echo can test it")]
    OtherGame(String),
    #[error("{0} sends more than {1} lines in a second, so it is not Muster")]
    Chatter(String, u32),
    #[error("the game returned {0} of {1} messages")]
    Echo(u32, u32),
}

fn main() -> ExitCode {
    if let Some(date) = manual::wanted() {
        let printed = manual::print(Args::command(), &date);
        return printed.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let args = Args::parse();
    match play(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "muster-play: {error}");
            let is_unreachable = matches!(&error, PlayError::Client(client) if client.is_connect());
            ExitCode::from(if is_unreachable { UNAVAILABLE } else { 1 })
        }
    }
}

/// From the connection to the end of the game. Leaving on the way is not an error.
fn play(args: &Args) -> Result<(), PlayError> {
    let mut console = Console::open(!args.bot)?;
    let mut lobby = WaitingRoom::enter(&mut console, args)?;
    let Some(mut assignment) = lobby.wait(&mut console)? else { return Ok(()) };
    loop {
        let lost = match play_match(&mut console, args, &assignment) {
            Err(PlayError::Client(error)) if error.is_lost_game() => error,
            played => return played,
        };
        console.say(&lost);
        assignment = match lobby.ask_again(&mut console)? {
            Some(assignment) => assignment,
            None => return Err(lost.into()),
        };
    }
}

fn play_match(
    console: &mut Console,
    args: &Args,
    assignment: &Assignment,
) -> Result<(), PlayError> {
    if args.game == Some(Game::Echo) {
        return echo::play(
            console,
            client::GameSocket::enter(assignment, limits::ECHO_ANSWER_MAX)?,
        );
    }
    match join::join(console, args, assignment)? {
        Joined::TicTacToe(game, words) => {
            let game = join::continue_with(game, &words, Playing::on);
            view::play(&mut TicTacToeView::new(console, args, assignment, game))
        }
        Joined::Arena(game, words) => {
            let game = join::continue_with(game, &words, Playing::on);
            view::play(&mut ArenaView::new(console, args, assignment, game)?)
        }
        Joined::Other(game) if args.bot => echo::play(console, game),
        Joined::Other(mut game) => {
            game.bye(limits::ECHO_ANSWER_MAX)?;
            Err(PlayError::OtherGame(protocol::Visible(&assignment.match_id).to_string()))
        }
        Joined::Left => Ok(()),
    }
}
