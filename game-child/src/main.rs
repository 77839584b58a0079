//! `muster-game`: the reference games as processes of Muster.

#![forbid(unsafe_code)]

mod args;

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use args::{Command, USAGE_EXIT_CODE};
use game_child::arena::Arena;
use game_child::echo::Echo;
use game_child::tictactoe::TicTacToe;
use game_child::{Options, RunError, run};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let played = match args::parse(&arguments) {
        Ok(Command::Help(text)) => return print(text),
        Ok(Command::Version) => return print(concat!("muster-game ", env!("CARGO_PKG_VERSION"))),
        Ok(Command::Echo(options)) => play_echo(&options),
        Ok(Command::TicTacToe(options)) => run(&options, TicTacToe::new),
        Ok(Command::Arena(options, rules)) => run(&options, |setup| Arena::new(setup, rules)),
        Err(error) => {
            let _ = writeln!(stderr(), "muster-game: {error}\nTry `muster-game --help`.");
            return ExitCode::from(USAGE_EXIT_CODE);
        }
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "muster-game: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn play_echo(options: &Options) -> Result<(), RunError> {
    run(options, |setup| Ok(Echo::new(setup)))
}

/// Prints what was asked for. A reader that went away is not worth an error.
fn print(text: &str) -> ExitCode {
    let _ = writeln!(stdout(), "{text}");
    ExitCode::SUCCESS
}
