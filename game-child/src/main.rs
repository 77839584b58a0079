//! `muster-game`: the reference games as processes of Muster.

#![forbid(unsafe_code)]

mod args;

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use args::{Command, USAGE_EXIT_CODE};
use game_child::arena::Arena;
use game_child::echo::Echo;
use game_child::tictactoe::TicTacToe;
use game_child::{BadStart, Game, Match, Options, RunError, run, template};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let command = match args::parse(arguments) {
        Ok(command) => command,
        Err(error) => {
            let _ = writeln!(stderr(), "muster-game: {error}\nTry `muster-game --help`.");
            return ExitCode::from(USAGE_EXIT_CODE);
        }
    };
    let played = match command {
        Command::Help(text) => return print(text),
        Command::Version => return print(concat!("muster-game ", env!("CARGO_PKG_VERSION"))),
        Command::Echo(options) => play(&options, |setup| Ok(Echo::new(setup))),
        Command::TicTacToe(options) => play(&options, TicTacToe::new),
        Command::Arena(options, rules) => play(&options, |setup| Arena::new(setup, rules)),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "muster-game: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Plays one match, in a process of its own or in a fork of a template. These games have nothing to load.
fn play<G: Game>(
    options: &Options,
    new_game: impl FnOnce(&Match) -> Result<G, BadStart>,
) -> Result<(), RunError> {
    template(|| Ok::<_, Infallible>(()))?;
    run(options, new_game)
}

/// Prints a text. If its reader is gone, that is not an error.
fn print(text: &str) -> ExitCode {
    let _ = writeln!(stdout(), "{text}");
    ExitCode::SUCCESS
}
